"""``env.context`` from the option to the run directory: played, stored, measured, refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from candidate_cases import MAZE, MAZE_TOKENS

import sayso
from sayso.app.config import load_config
from sayso.data.datasets import write_games
from sayso.envs.registry import source
from sayso.envs.scripted import play_many, scripted
from sayso.errors import ConfigError, DataError
from sayso.evaluation.audit import audit
from sayso.runs.ledger import read_episodes
from sayso.runs.run import Run
from sayso.types import EndReason

TINY: dict[str, Any] = {
    "tiny": {"tokens": list(MAZE_TOKENS), "width": 16, "layers": 1, "heads": 2, "context": 40},
    "max_new_tokens": 1,
    "lr": 1e-3,
}
"""A context that holds an observation and a move, and no game."""


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def maze() -> Any:
    return source("sayso/Maze-v0", **MAZE)


def test_the_option_is_checked_and_reaches_the_rollout() -> None:
    def config(context: str) -> Any:
        table = {"env": {"id": "sayso/Maze-v0", "context": context}}
        return load_config(table, source="own.toml")

    assert config("turn").env.limits().context == "turn"
    with pytest.raises(ConfigError, match=r"env.context.*'last'.*episode, turn"):
        config("last")


def test_a_run_plays_keeps_and_measures_single_turns(tmp_path: Path) -> None:
    agent = sayso.PPO("tiny", maze(), context="turn", tasks_per_step=3, group_size=4, **TINY)
    agent.learn(24, run=tmp_path / "run", progress_bar=False)
    run = Run.open(tmp_path / "run")
    kept = [episode for _, episode in read_episodes(run.path / "episodes" / "episodes.jsonl")]
    assert {episode.context for episode in kept} == {"turn"}
    assert {episode.end for episode in kept} <= {EndReason.TERMINATED, EndReason.TRUNCATED}
    assert max(len(episode.turns) for episode in kept) == 6, "a game did not fit the context"
    chat = agent.lm.chat
    for episode in kept:
        for turn in episode.turns:
            assert turn.observation_ids == chat.prompt(turn.observation)
    report = agent.evaluate(split="train", num_episodes=12)
    assert not report.num_failed
    found = audit(agent.learner, maze(), split="train", num_prefixes=6, num_continuations=2,
                  seed=0, limits=agent.config.env.limits())  # fmt: skip
    assert len(found.values) == 6
    assert np.isfinite(found.values).all()


def test_stored_games_are_read_with_the_same_context_and_ledgers_must_have_it(
    tmp_path: Path,
) -> None:
    env = maze().open()
    act = scripted(env, "random").act
    write_games(tmp_path / "g.jsonl", play_many(env, act, split="train", num_games=20, seed=0))

    def made(context: str, data: Path, **more: Any) -> Any:
        return sayso.ILQL("tiny", maze(), context=context, data={"path": str(data), **more}, **TINY)

    agent = made("turn", tmp_path / "g.jsonl", batch_episodes=5)
    assert {episode.context for episode in agent.data.episodes} == {"turn"}
    assert max(len(episode.turns) for episode in agent.data.episodes) == 6
    whole = made("episode", tmp_path / "g.jsonl")
    assert max(len(episode.turns) for episode in whole.data.episodes) < 6
    agent.learn(10, run=tmp_path / "offline", progress_bar=False)
    player = sayso.RLOO("tiny", maze(), context="turn", tasks_per_step=3, group_size=4, **TINY)
    player.learn(12, run=tmp_path / "played", progress_bar=False)
    again = made("turn", tmp_path / "played")
    assert {episode.context for episode in again.data.episodes} == {"turn"}
    with pytest.raises(DataError, match=r"recorded with env.context = 'turn'.*'episode'"):
        made("episode", tmp_path / "played")
