"""The pages on Vision-v0 and Sound-v0: code that runs, transcripts and tables that are true."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from scenario_pages import bounds_of

from sayso.envs.registry import source
from sayso.envs.scripted import play

FOLDER = Path(__file__).parents[2] / "docs/scenarios"
PAGES = {name: (FOLDER / f"{name}.md").read_text(encoding="utf-8") for name in ("vision", "sound")}
SHOWN = {"vision": 0, "sound": 5}
"""Which held-out task the transcript is of."""


@pytest.mark.parametrize("name", PAGES)
def test_the_page_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if name == "vision":
        pytest.importorskip("PIL.Image")
    monkeypatch.chdir(tmp_path)
    (rows,) = re.findall(r"\n```\n(\{.*?)```", PAGES[name], re.DOTALL)
    (tmp_path / "rows.jsonl").write_text(rows)
    (block,) = re.findall(r"```python\n(.*?)```", PAGES[name], re.DOTALL)
    namespace: dict[str, Any] = {"__name__": name}
    exec(compile(block, f"{name}.md", "exec"), namespace)  # noqa: S102
    sizes = [len(namespace["env"].tasks(split)) for split in ("train", "held_out", "unseen")]
    assert (sum(sizes), sizes[2]) == (2, 1)


@pytest.mark.parametrize("name", PAGES)
def test_its_families_and_transcript_are_true(name: str) -> None:
    env = source(
        f"sayso/{name.title()}-v0", **({"families": "all"} if name == "sound" else {})
    ).open()
    told = re.findall(r"`(\w+)`", " ".join(re.findall(r"^\| (`\w+`[^|]*)\|", PAGES[name], re.M)))
    assert set(env.families) <= set(told)  # type: ignore[attr-defined]
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \| (\d\.\d\d) \|$", PAGES[name], re.MULTILINE)
    task = env.tasks("held_out")[SHOWN[name]]
    for player, text, reward in rows:
        game = play(env, task, env.scripted[player].act, seed=0)
        assert (game.moves[0].action, f"{game.return_:.2f}") == (text, reward)
    assert len(rows) == 3


@pytest.mark.medium
@pytest.mark.parametrize("name", PAGES)
def test_the_table_of_bounds_is_what_its_line_prints(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    told, printed = bounds_of(PAGES[name], capsys)
    assert told == printed
