"""docs/scenarios/recommend.md: its code runs, its transcript and its bounds are true."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sayso.app.refusals import refuse_unused
from sayso.cli import recipes
from sayso.envs.recommend import WEIGHTS, RecommendEnv
from sayso.envs.recommend_tasks import NUM_TASKS
from sayso.envs.scripted import bounds, play

PAGE = (Path(__file__).parents[2] / "docs/scenarios/recommend.md").read_text(encoding="utf-8")


@pytest.mark.medium
def test_its_code_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (block,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    namespace: dict[str, object] = {"__name__": "page"}
    exec(compile(block, "recommend.md", "exec"), namespace)  # noqa: S102
    assert max(namespace["report"].exploits.values()) == 0.0  # type: ignore[attr-defined]


def test_its_transcript_is_what_the_player_does() -> None:
    env = RecommendEnv()
    task = env.task_by_id("held_out-00001", "held_out")
    game = play(env, task, env.scripted["asking"].act, seed=0)
    shown = "\n".join(str(move.observation) for move in game.moves)
    (told,) = re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL)
    said = [line[2:].split("  ")[0] for line in told.splitlines() if line.startswith("> ")]
    assert said == [move.action for move in game.moves[: len(said)]]
    earned = [float(line.split()[-1]) for line in told.splitlines() if line.startswith("> ")]
    assert earned == [round(move.reward or 0.0, 3) for move in game.moves[: len(said)]]
    for line in told.splitlines():
        assert line.startswith(("> ", "  ...")) or line in shown, line


def test_its_weights_are_those_of_the_reward() -> None:
    told = re.findall(r"^\| `(\w+)` \| (0\.\d+) \|", PAGE, re.MULTILINE)
    assert {name: float(weight) for name, weight in told} == WEIGHTS


def test_its_recipe_trains_on_it() -> None:
    config = recipes.config("recommend", ["env.kwargs.catalogue=ml-100k"])
    assert config.env.id == "sayso/Recommend-v0"
    refuse_unused(config)


@pytest.mark.medium
@pytest.mark.parametrize("split", list(NUM_TASKS))
def test_its_bounds_are_those_of_its_players(split: str) -> None:
    found = bounds(RecommendEnv(), split=split, num_games=500)
    rows = re.findall(r"^\| `(\w+)`: [^|]*\| (.*?) \| (.*?) \| (.*?) \|$", PAGE, re.MULTILINE)
    told = {name: dict(zip(NUM_TASKS, cells, strict=True))[split] for name, *cells in rows}
    assert told == {name: str(interval) for name, interval in found.items()}
