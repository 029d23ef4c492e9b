"""The page about rewards is run, and its table is the library."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

import sayso
from sayso.rewards.library import LIBRARY

PAGE = (Path(__file__).parents[2] / "docs/rewards.md").read_text(encoding="utf-8")


def test_the_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    """Every block in order; models are named there and loaded only when a text is judged."""
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) == 6
    namespace: dict[str, object] = {"__name__": "rewards_page"}
    for number, block in enumerate(blocks):
        exec(compile(block, f"rewards.md block {number}", "exec"), namespace)  # noqa: S102
    assert capsys.readouterr().out.startswith("{'right': 1.0, 'brief': 0.2, 'gate': 0.0}")


def test_the_run_file_of_the_page_makes_its_environment() -> None:
    (recipe,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    env = tomllib.loads(recipe)["env"]
    made = sayso.PromptEnv(**env["kwargs"])
    _, info = made.reset(seed=0)
    capital = made._task.payload["capital"]  # type: ignore[union-attr]
    _, reward, _, _, info = made.step(capital)
    assert reward == pytest.approx(1.1)
    assert set(info["reward_parts"]) == {"right", "brief", "gate"}


def test_the_table_is_the_library() -> None:
    rows = re.findall(
        r"^\| `(\w+)` \| `(\w+)` \| .+ \| (\S+) to (\S+) \| (.+) \| (?:`(\w+)`)? ?\|$",
        PAGE,
        re.MULTILINE,
    )
    assert [
        (name, cls, float(low), float(high), extra) for name, cls, low, high, _, extra in rows
    ] == [
        (name, entry.home.partition(":")[2], _range(entry.home)[0], _range(entry.home)[1],
         entry.extra)
        for name, entry in LIBRARY.items()
    ]  # fmt: skip
    assert [row[4] for row in rows] == [entry.cost for entry in LIBRARY.values()]


def _range(home: str) -> tuple[float, float]:
    """Of the class, without importing torch."""
    if home.endswith(":ModelReward"):
        return (-5.0, 5.0)
    return (-1.0, 1.0) if home.endswith((":Judge", ":Verdict")) else (0.0, 1.0)


def test_every_extra_of_the_library_is_one_of_the_package() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    extras = {entry.extra for entry in LIBRARY.values()} - {""}
    assert extras <= set(project["optional-dependencies"])
