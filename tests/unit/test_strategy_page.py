"""The study's page: what is said of a pair is said of that pair, whichever was named first."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from compare_cases import plan, result

from sayso.app.config import load_config
from sayso.app.refusals import refuse_unused
from sayso.evaluation.comparison import summarise

STUDIES = Path(__file__).parents[2] / "studies"
GAINS = {"rloo": 0.1, "dqn": 0.0, "dqn_ensemble": 0.05}


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    monkeypatch.syspath_prepend(str(STUDIES))
    import strategy_page

    monkeypatch.setattr(strategy_page, "RESULTS", tmp_path)
    yield strategy_page
    for name in ("strategy_page", "strategy_cases"):
        sys.modules.pop(name, None)


def told(num_seeds: int) -> dict[str, Any]:
    """Eight seeds of arms that differ by 0.05 each, as ``studies/strategy.py`` keeps them."""
    asked = plan(list(GAINS), adapt=[0, 64])
    runs = [
        result(arm, seed, gain=gain, adapt=(0, 64))
        for arm, gain in GAINS.items()
        for seed in range(num_seeds)
    ]
    for each in (asked, *runs):
        for place in each.get("evals", ()):
            place["decode"] = "greedy"
        for point in each.get("adaptation", {}).get("points", ()):
            point["mean"] += 0.002 * (each["seed"] % 3) * len(each["arm"])  # seeds differ
    asked["decode"] = ["greedy"]
    report = summarise(asked, runs, command="python studies/strategy.py walks")
    return {"report": report, "named": report, "pair": report, "trials": 0}


def test_the_hypotheses_follow_the_verdicts_and_the_rest_of_the_page_stays(
    page: Any, tmp_path: Path
) -> None:
    (tmp_path / "strategy-a-or-b.md").write_text(f"# Before\n\n{page.MARK}\nwritten before\n")
    (tmp_path / "walks-online.json").write_text(json.dumps(told(9)))
    page.write(tmp_path)
    text = (tmp_path / "strategy-a-or-b.md").read_text()
    assert text.startswith("# Before\n")
    assert "written before" not in text
    lines = [line for line in text.splitlines() if line.startswith("| H")]
    assert [line.split(" | ")[-1] for line in lines] == [
        "holds |", "contradicted |", "contradicted |", "contradicted |",
        "dqn_ensemble is better |", "dqn_ensemble is worse |",
    ]  # fmt: skip
    assert "| rloo − dqn | train | 9 | 0.1" in lines[0]
    assert "| dqn − rloo | unseen | 9 | -0.1" in lines[2]
    assert "- RandomWalks-v0, online" not in text
    assert "- RandomWalks-v0, logged: `python studies/strategy.py walks --regimes logged`" in text
    assert "- Desk-v0, online (a 135 million model" in text
    rows = json.loads((tmp_path / "strategy-a-or-b.json").read_text())
    keys = {"env", "split", "algorithm", "metric", "seeds", "mean", "low", "high", "published"}
    assert all(keys | {"command"} <= set(row) for row in rows)


def test_three_seeds_tell_nothing(page: Any) -> None:
    lines = page.hypotheses(page.CASES["walks"], told(3))
    assert all("not enough seeds to tell" in line for line in lines)


def test_every_cell_names_arms_that_there_are(page: Any) -> None:
    for case in page.CASES.values():
        assert {case.a, case.b, case.ensemble} <= set(case.online)
        assert set(case.logged) == {"bc", "filtered_bc", "awr", "dqn", "soft_q", "offline_archer"}


def test_every_option_of_every_arm_counts(page: Any) -> None:
    """Cells that take days are not run here, but their options are read as they will be."""
    for case in page.CASES.values():
        for regime in page.REGIMES:
            for arm in getattr(case, regime):
                data = "games.jsonl" if regime == "logged" else ""
                table = case.options(regime, arm, model="tiny" if case.imitated else "", data=data)
                refuse_unused(load_config(table, source=f"{case.title}, {regime}, {arm}"))
