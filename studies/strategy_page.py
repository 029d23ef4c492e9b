"""The page and the rows of ``studies/strategy.py``, from whatever has been run."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from strategy_cases import CASES, REGIMES, Case

RESULTS = Path(__file__).parents[1] / "docs" / "results"
NAME = "strategy-a-or-b"
MARK = "<!-- Everything below this line is written by studies/strategy.py. -->"
HEAD = "greedy"
AREA = "adaptation, area under the curve"
FORGOT = "change on train by adapting"
DRIFT = "KL to the start, nats a token"
WORDS = {"better": "holds", "worse": "contradicted"}
Record = Mapping[str, Any]


def write(folder: Path) -> None:
    """``strategy-a-or-b.json`` and the lower part of the page; the hypotheses stay as they are."""
    cells = {
        (name, regime): json.loads(path.read_text())
        for name in CASES
        for regime in REGIMES
        if (path := folder / f"{name}-{regime}.json").is_file()
    }
    rows = [row for place, told in cells.items() for row in rows_of(*place, told)]
    (RESULTS / f"{NAME}.json").write_text(json.dumps(rows, indent=1) + "\n")
    page = RESULTS / f"{NAME}.md"
    kept = page.read_text().split(MARK)[0]
    parts = [f"{kept}{MARK}\n", "## What came out\n", *judged(cells)]
    for (name, regime), told in cells.items():
        parts += section(CASES[name], regime, told)
    parts += ["## Not run yet\n", *missing(cells)]
    page.write_text("\n".join(parts) + "\n")


def rows_of(name: str, regime: str, told: Record) -> list[dict[str, Any]]:
    """``env, split, algorithm, metric, seeds, mean, low, high, published, command``."""
    command = told["report"]["command"]
    every = [*told["report"]["rows"], *told.get("untrained", ()), *told.get("bounds", ())]
    return [
        {**row, "case": name, "regime": regime, "published": None, "command": command}
        for row in every
    ]


def judged(cells: Mapping[tuple[str, str], Record]) -> list[str]:
    """The four hypotheses on every environment that was played."""
    lines = [
        "| | " + " | ".join(("pair", "measured on", "seeds", "difference, 95 %", "verdict")) + " |"
    ]
    lines.append("|---|---|---|---|---|---|")
    for (name, regime), told in cells.items():
        if regime == "online":
            lines += [f"| {each} |" for each in hypotheses(CASES[name], told)]
    return ["### The hypotheses\n", *lines, ""] if len(lines) > 2 else ["Nothing yet.", ""]


def hypotheses(case: Case, told: Record) -> list[str]:
    """Rows of the table, one for each thing that was claimed of this environment."""
    named, pair, found = told["named"], told["pair"], []
    a, b, e = case.a, case.b, case.ensemble
    # Of the pair alone only where it has seeds of its own.
    report = pair if _num_seeds(pair) > _num_seeds(named) else named
    for claim, two, where in (("H1", (a, b), "train"), ("H2", (b, a), "held_out"),
                               ("H2", (b, a), "unseen")):  # fmt: skip
        found.append(_claim(claim, case, two, where, on_split(report, two, where)))
    found.append(_claim("H3", case, (b, a), "unseen, adapting", on_area(report, (b, a))))
    ensembled = ((e, b), (e, a))
    return [
        *found,
        *(_claim("H4", case, p, "unseen", on_split(named, p, "unseen")) for p in ensembled),
    ]


def on_split(report: Record, pair: tuple[str, str], split: str) -> Record | None:
    """What was said of a pair, greedily played; turned so that its first comes first."""
    for told in report["verdicts"]:
        place = (told["split"], told["decode"])
        if place == (split, HEAD) and {told["first"], told["second"]} == set(pair):
            return told if told["first"] == pair[0] else _turned(told)
    return None


def on_area(report: Record, pair: tuple[str, str]) -> Record | None:
    """The same of the area under the curve of adaptation."""
    from sayso.stats.verdict import judge

    areas = {one["algorithm"]: one["area"] for one in report["adaptation"]}
    if not set(pair) <= set(areas) or len({len(area) for area in areas.values()}) > 1:
        return None
    for told in judge(areas, seed=0):
        if {told.first, told.second} == set(pair):
            found = told.to_json()
            return found if told.first == pair[0] else _turned(found)
    return None


def _turned(told: Record) -> dict[str, Any]:
    d, other = told["difference"], {"better": "worse", "worse": "better"}
    difference = {
        "mean": -d["mean"],
        "low": _minus(d["high"]),
        "high": _minus(d["low"]),
        "n": d["n"],
    }
    verdict = other.get(told["verdict"], told["verdict"])
    return {**told, "difference": difference, "verdict": verdict,
            "first": told["second"], "second": told["first"]}  # fmt: skip


def _minus(value: float | None) -> float | None:
    return None if value is None else -value


def _claim(claim: str, case: Case, pair: tuple[str, str], where: str, told: Record | None) -> str:
    head = f"{claim}, {case.title} | {pair[0]} − {pair[1]} | {where}"
    if told is None:
        return f"{head} | 0 | – | not run"
    d, verdict = told["difference"], told["verdict"]
    if verdict not in WORDS and told["detectable"] is not None:
        verdict = f"{verdict}; they would have shown {told['detectable']:.2g}"
    elif verdict not in WORDS and d["n"] < told["least_seeds"]:
        verdict = f"{verdict}: {told['least_seeds']} are the least that can"
    said = WORDS.get(told["verdict"], verdict)
    if claim == "H4":
        said = f"{pair[0]} is {told['verdict']}" if told["verdict"] in WORDS else verdict
    return f"{head} | {d['n']} | {_interval(d)} | {said}"


def section(case: Case, regime: str, told: Record) -> list[str]:
    """One case in one regime: what every arm earned, and how it came about."""
    report = told["report"]
    axis, amount = report["budget"]["axis"], report["budget"]["amount"]
    searched = f"{told['trials']} sets of options were tried for each arm, with two seeds each."
    if not told["trials"] or regime == "ablations":
        searched = "No search: every arm has the options it was given before the first run."
    lines = [
        f"## {case.title}: {REGIMES[regime]}\n", f"`{report['command']}`\n",
        f"{amount:,.0f} {axis} a run. {searched}\n", *returns(case, regime, told), "",
    ]  # fmt: skip
    if regime == "online":
        lines += [*adapting(report), ""]
    lines += [*spending(report), ""]
    lines += [f"- {note}" for note in report["notes"]]
    return [*lines, ""]


def returns(case: Case, regime: str, told: Record) -> list[str]:
    """Mean return of each arm on each split, greedy and sampled, and what they are held against."""
    report = told["report"]
    splits = list(dict.fromkeys(row["split"] for row in report["rows"] if _is_return(row)))
    order = [(arm["name"], None) for arm in report["arms"]]
    lines = [
        "| algorithm | acting | seeds | " + " | ".join(splits) + " | lost from train to unseen |"
    ]
    lines.append("|---|---|---|" + "---|" * (len(splits) + 1))
    every = [*report["rows"], *told.get("untrained", ())]
    names = [name for name, _ in order] + (["untrained model"] if told.get("untrained") else [])
    for decode in ("greedy", "sampled"):
        for name in names:
            mine = [row for row in every if row["algorithm"] == name]
            cells = [_of(mine, split, f"return, {decode}") for split in splits]
            lost = _of(mine, "unseen", f"gap from train, {decode}")
            seeds = max((row["seeds"] for row in mine), default=0)
            lines.append(f"| {name} | {decode} | {seeds} | {' | '.join(cells)} | {lost} |")
    for player in dict.fromkeys(row["algorithm"] for row in told.get("bounds", ())):
        mine = [row for row in told["bounds"] if row["algorithm"] == player]
        cells = [_of(mine, split, "return, scripted") for split in splits]
        lines.append(f"| {player} | – | – | {' | '.join(cells)} | |")
    del case, regime
    return lines


def adapting(report: Record) -> list[str]:
    """Return on unseen tasks while training on them; what was forgotten; how far from the start."""
    found = report["adaptation"]
    if not found:
        return []
    asked = [f"after {int(n)}" for n in found[0]["episodes"]]
    lines = [
        "| algorithm | "
        + " | ".join(asked)
        + " | mean over them (AUC) | change on train | KL to the start |"
    ]
    lines.append("|---|" + "---|" * (len(asked) + 3))
    for one in found:
        mine = [row for row in report["rows"] if row["algorithm"] == one["algorithm"]]
        cells = [_interval(point) for point in one["points"]]
        head = report["heads"][one["env"]]
        rest = [_of(mine, "unseen", AREA), _of(mine, "train", FORGOT), _of(mine, head, DRIFT)]
        lines.append(f"| {one['algorithm']} | {' | '.join([*cells, *rest])} |")
    return [
        f"Episodes of further training on `unseen`, return there ({report['decode'][0]}):\n",
        *lines,
    ]


def spending(report: Record) -> list[str]:
    """What a run used up on every axis."""
    lines = [
        "| algorithm | environment tokens | learner tokens | seconds | graded turns | episodes |"
    ]
    lines.append("|---|---|---|---|---|---|")
    for arm in report["arms"]:
        spent = arm["spent"]
        if spent:
            numbers = [spent[on] for on in ("env_tokens", "learner_tokens", "wall_clock",
                                            "reward_queries", "episodes")]  # fmt: skip
            lines.append(f"| {arm['name']} | " + " | ".join(f"{x:,.0f}" for x in numbers) + " |")
    return ["What a run used, in the mean:\n", *lines]


def missing(cells: Iterable[tuple[str, str]]) -> list[str]:
    """Cells of the study without a result, and why."""
    done, lines = set(cells), []
    for name, case in CASES.items():
        for regime in REGIMES:
            if getattr(case, regime) and (name, regime) not in done:
                why = f" ({case.untried})" if case.untried else ""
                command = f"`python studies/strategy.py {name} --regimes {regime}`"
                lines.append(f"- {case.title}, {regime}{why}: {command}")
    return lines or ["Nothing: every cell has a result."]


def _num_seeds(report: Record) -> int:
    return max(map(len, report["seeds"].values()), default=0)


def _is_return(row: Record) -> bool:
    return str(row["metric"]).startswith("return, ")


def _of(rows: Sequence[Record], split: str, metric: str) -> str:
    for row in rows:
        if (row["split"], row["metric"]) == (split, metric):
            return _interval(row)
    return "–"


def _interval(told: Record) -> str:
    if told["mean"] is None:
        return "–"
    mean = f"{told['mean']:.2f}"
    if told.get("low") is None or told.get("high") is None:
        return mean
    return f"{mean} [{told['low']:.2f}, {told['high']:.2f}]"
