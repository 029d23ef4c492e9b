"""The page of a comparison: one file, no network, whatever models wrote is escaped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from itertools import groupby
from typing import Any

from sayso.dashboard.charts import NUM_COLOURS, Dot, Line, dots_chart, lines_chart, number
from sayso.dashboard.compare_tables import (
    AXES,
    all_numbers,
    ends,
    interval,
    section,
    settings,
    spent_table,
)
from sayso.dashboard.style import COLOURS, SCRIPT, STYLE

Report = Mapping[str, Any]
SPLITS = {
    "train": "tasks trained on",
    "held_out": "held-out tasks",
    "unseen": "tasks of kinds never trained on",
}


def compare_page(report: Report) -> str:
    """A whole HTML page.

    Args:
        report: What ``evaluation.comparison.summarise`` gives; JSON values only, so that a page can
            be made from a stored report.

    Tests:
        tests/unit/test_compare_page.py
    """
    colours = {name: k for k, name in enumerate(_names(report))}
    sections = [
        _head(report, colours),
        _verdicts(report),
        _curves(report, colours),
        _returns(report, colours),
        _matrix(report),
        _profiles(report, colours),
        _gap(report, colours),
        _adaptation(report, colours),
        _drift(report, colours),
        _texts(report, colours),
        spent_table(report),
        settings(report),
        all_numbers(report),
    ]
    title = escape(" against ".join(colours))
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{title}</title><style>{STYLE}{COLOURS}</style></head><body><main>"
        f"{''.join(sections)}</main><script>{SCRIPT}</script></body></html>\n"
    )


def _names(report: Report) -> list[str]:
    return list(dict.fromkeys(arm["name"] for arm in report["arms"]))


def _envs(report: Report) -> list[str]:
    return list(dict.fromkeys(arm["env"] for arm in report["arms"]))


def _head(report: Report, colours: Mapping[str, int]) -> str:
    budget = report["budget"]
    num = max((len(found) for found in report["seeds"].values()), default=0)
    notes = "".join(f"<li>{escape(note)}</li>" for note in report["notes"])
    told = f"<h3>To be kept in mind</h3><ul>{notes}</ul>" if notes else ""
    return (
        f"<h1>{escape(' against '.join(colours))}</h1>"
        f'<p class="soft">{escape(", ".join(_envs(report)))}</p>'
        f"<p>Each arm was trained {num} times, with the same seeds, first weights and evaluation "
        f"episodes, until it had used {number(budget['amount'])} "
        f"{AXES[budget['axis']]}. A run is one observation: a 95 % interval holds the mean of "
        "endlessly many such runs in 95 of 100 studies like this one. Arms are compared seed by "
        f"seed.</p>{_legend(colours)}{told}"
    )


def _legend(colours: Mapping[str, int]) -> str:
    """Which colour is whose, beside every chart of lines."""
    arms = "".join(
        f'<li><span class="a{k % NUM_COLOURS}"></span>{escape(name)}</li>'
        for name, k in colours.items()
    )
    return f'<ul class="legend">{arms}</ul>'


def _main_place(report: Report, row: Report) -> bool:
    """Whether a row is of what counts first: the head split, the first way of acting."""
    is_head: bool = row["env"] not in report["heads"] or row["split"] == report["heads"][row["env"]]
    return is_head and bool(row["decode"] == report["decode"][0])


def _verdicts(report: Report) -> str:
    chosen = [v for v in report["verdicts"] if _main_place(report, v)]
    if not chosen:
        return ""
    cards = "".join(_card(v) for v in chosen)
    return (
        "<h2>What may be said</h2>"
        '<p class="how">&ldquo;Better&rdquo; and &ldquo;worse&rdquo; need an exact test, '
        "corrected for all pairs, and an interval without 0. Anything else is &ldquo;not enough "
        "seeds to tell&rdquo;: that nothing was found does not make two arms equal.</p>"
        f'<div class="cards">{cards}</div>'
    )


def _card(v: Report) -> str:
    kind = v["verdict"] if v["verdict"] in ("better", "worse") else "open"
    words = {"better": "is better than", "worse": "is worse than"}.get(v["verdict"], "against")
    said = "" if kind != "open" else f'<p class="verdict">{escape(v["verdict"])}</p>'
    d, chance = v["difference"], v["improvement"]
    more = f"{chance['mean']:.0%} of pairs of runs" + ends(chance, ".0%")
    lines = [
        f"Difference {interval(d)}, p = {v['p_adjusted']:.3g}. The first wins {more}.",
    ]
    if kind == "open" and v["detectable"] is not None:
        lines.append(
            f"{d['n']} seeds like these would have shown a true difference of "
            f"{v['detectable']:.3g} in four of five studies."
        )
    if kind == "open" and v["detectable"] is None and d["n"] >= v["least_seeds"]:
        lines.append(
            f"All {d['n']} differences are the same, so how much seeds differ is not known."
        )
    if d["n"] < v["least_seeds"]:
        lines.append(
            f"With {d['n']} seeds no result can be certain: {v['least_seeds']} are the least."
        )
    if v["margin"] is not None:
        lines.append(f"Differences below {v['margin']:g} were said not to matter.")
    told = "".join(f"<p>{line}</p>" for line in lines)
    return (
        f'<div class="card {kind}"><b>{escape(v["first"])} <span class="verdict">{words}</span> '
        f'{escape(v["second"])}</b>{said}<p class="soft">{escape(v["env"])}, '
        f"{escape(_split(v['split']))}, {escape(v['decode'])}</p>{told}</div>"
    )


def _split(split: str) -> str:
    return SPLITS.get(split, split)


def _curves(report: Report, colours: Mapping[str, int]) -> str:
    parts = []
    for number_, (env, group) in enumerate(_by_env(report["curves"])):
        axes = [report["budget"]["axis"], *(a for a in AXES if a != report["budget"]["axis"])]
        buttons: list[str] = []
        charts: list[str] = []
        for axis in axes:
            lines = [_curve(curve, axis, colours) for curve in group]
            if any(line.x[-1] <= line.x[0] for line in lines):
                continue  # an arm that plays nothing has no such axis
            where = f"curve-{number_}-{axis}"
            is_first = not charts
            buttons.append(
                f'<button type="button" aria-pressed="{str(is_first).lower()}" '
                f'data-shows="{where}">{AXES[axis]}</button>'
            )
            hidden = "" if is_first else " hidden"
            chart = lines_chart(lines, x_label=AXES[axis], y_label="mean return")
            charts.append(f'<div id="{where}"{hidden}>{chart}</div>')
        parts.append(
            f"<h3>{escape(env)}, {escape(_split(group[0]['split']))}</h3>"
            f'<div class="choice">{"".join(buttons)}</div>{_legend(colours)}{"".join(charts)}'
        )
    return section(
        "Learning curves",
        "Mean return of the policy, measured along the way; the band is the 95 % interval over "
        "runs. The buttons choose what it is drawn against.",
        "".join(parts),
    )


def _curve(curve: Report, axis: str, colours: Mapping[str, int]) -> Line:
    points = curve["points"]
    return Line(
        name=curve["algorithm"], place=colours[curve["algorithm"]], x=curve["x"][axis],
        y=[p["mean"] for p in points], low=[p["low"] for p in points],
        high=[p["high"] for p in points],
    )  # fmt: skip


def _by_env(records: Sequence[Report]) -> Iterator[tuple[str, list[Report]]]:
    for env, group in groupby(records, key=lambda r: str(r["env"])):
        yield env, list(group)


def _dots(
    report: Report, colours: Mapping[str, int], metric: str, label: str, *, zero: bool = False
) -> str:
    """A chart of one metric for each environment, rows grouped by split."""
    parts = []
    chosen = [r for r in report["rows"] if r["metric"] == metric and r["mean"] is not None]
    for env, group in _by_env(sorted(chosen, key=lambda r: str(r["env"]))):
        dots = [
            Dot(name=r["algorithm"], place=colours[r["algorithm"]], mean=r["mean"], low=r["low"],
                high=r["high"], group=_split(r["split"]))
            for r in sorted(group, key=lambda r: list(SPLITS).index(r["split"])
                            if r["split"] in SPLITS else len(SPLITS))
        ]  # fmt: skip
        parts.append(f"<h3>{escape(env)}</h3>{dots_chart(dots, label=label, zero=zero)}")
    return "".join(parts)


def _returns(report: Report, colours: Mapping[str, int]) -> str:
    body = "".join(
        f"<h3>{escape(decode)}</h3>" * (len(report["decode"]) > 1)
        + _dots(report, colours, f"return, {decode}", "mean return over runs, 95 % interval")
        for decode in report["decode"]
    )
    middle = _dots(
        report, colours, f"IQM, {report['decode'][0]}", "interquartile mean, 95 % interval"
    )
    if middle:
        body += (
            "<details><summary>The same without the best and worst quarter of runs "
            f"(interquartile mean)</summary>{middle}</details>"
        )
    return section(
        "Return at the end",
        f"Dot: mean over runs; bar: its 95 % interval. {report['episodes']} episodes of each run "
        "and split, the same for all arms. Two bars may overlap and the difference be certain: "
        "what counts is the paired difference above.",
        body,
    )


def _matrix(report: Report) -> str:
    chosen = [v for v in report["verdicts"] if _main_place(report, v)]
    places = dict.fromkeys((str(v["env"]), str(v["split"])) for v in chosen)
    parts = []
    for env, split in places:
        group = [v for v in chosen if (v["env"], v["split"]) == (env, split)]
        names = list(dict.fromkeys(n for v in group for n in (v["first"], v["second"])))
        chance = {(v["first"], v["second"]): v["improvement"] for v in group}
        head = "".join(f'<th class="n">{escape(name)}</th>' for name in names)
        lines = []
        for row in names:
            cells = []
            for column in names:
                told = chance.get((row, column)) or _mirrored(chance.get((column, row)))
                words = f"{told['mean']:.0%}{ends(told, '.0%')}" if told else ""
                cells.append(f'<td class="n">{words}</td>')
            lines.append(f"<tr><th>{escape(row)}</th>{''.join(cells)}</tr>")
        parts.append(
            f'<h3>{escape(env)}, {escape(_split(split))}</h3><div class="scroll"><table><tr>'
            f"<th></th>{head}</tr>{''.join(lines)}</table></div>"
        )
    return section(
        "Who wins how often",
        "Chance that a run of the arm at the left earns more than a run of the arm above, with its "
        "95 % interval. 50 %: no difference.",
        "".join(parts),
    )


def _mirrored(told: Report | None) -> Report | None:
    if told is None:
        return None
    return {"mean": 1 - told["mean"], "low": 1 - told["high"], "high": 1 - told["low"]}


def _profiles(report: Report, colours: Mapping[str, int]) -> str:
    parts = []
    for found in report["profiles"]:
        lines = [
            Line(name=name, place=colours[name], x=found["thresholds"], y=arm["share"],
                 low=arm["low"], high=arm["high"])
            for name, arm in found["arms"].items()
        ]  # fmt: skip
        chart = lines_chart(
            lines, x_label="return", y_label="share of runs above it", y_range=(0.0, 1.0)
        )
        where = f"{escape(found['env'])}, {escape(_split(found['split']))}"
        parts.append(f"<h3>{where}</h3>{_legend(colours)}{chart}")
    return section(
        "Performance profiles",
        "The share of runs that earn more than a return: a line further up and to the right is "
        "better, one that falls slowly is of runs that differ much.",
        "".join(parts),
    )


def _gap(report: Report, colours: Mapping[str, int]) -> str:
    label = "return on tasks trained on, less return on these"
    metric = f"gap from train, {report['decode'][0]}"
    return section(
        "What is lost on other tasks",
        "Return on the tasks trained on less return on others, run by run: 0 is nothing lost.",
        _dots(report, colours, metric, label, zero=True),
    )


def _adaptation(report: Report, colours: Mapping[str, int]) -> str:
    parts = []
    for env, group in _by_env(report["adaptation"]):
        lines = [
            Line(
                name=a["algorithm"], place=colours[a["algorithm"]], x=a["episodes"],
                y=[p["mean"] for p in a["points"]], low=[p["low"] for p in a["points"]],
                high=[p["high"] for p in a["points"]],
            )
            for a in group
        ]  # fmt: skip
        chart = lines_chart(lines, x_label="episodes on unseen tasks", y_label="return on them")
        parts.append(f"<h3>{escape(env)}</h3>{_legend(colours)}{chart}")
    what = "change on train by adapting"
    lost = _dots(report, colours, what, "return on tasks trained on, after less before", zero=True)
    if lost:
        parts.append(f"<p>What it costs on the tasks trained on before:</p>{lost}")
    return section(
        "Adaptation", "Training goes on with tasks of kinds never trained on.", "".join(parts)
    )


def _drift(report: Report, colours: Mapping[str, int]) -> str:
    return section(
        "Distance from the start",
        "KL divergence of the trained policy from the model as it was, nats a token, where the "
        "policy goes. An arm that only chooses among texts of an unchanged model has none.",
        _dots(report, colours, "KL to the start, nats a token", "nats a token", zero=True),
    )


def _texts(report: Report, colours: Mapping[str, int]) -> str:
    parts = []
    for sample in report["samples"]:
        asked = list(dict.fromkeys(a["observation"] for a in sample["answers"]))
        is_same = len(asked) == 1
        above = f'<pre class="soft">{escape(asked[0])}</pre>' if is_same else ""
        answers = "".join(_answer(a, colours, with_observation=not is_same)
                          for a in sample["answers"])  # fmt: skip
        parts.append(
            f"<h3>{escape(sample['env'])}, task {escape(sample['task'])}</h3>"
            f'{above}<div class="texts">{answers}</div>'
        )
    return section(
        "What they say",
        "The last turn of the same tasks, by the first run of each arm; at the right the return. "
        "Where the turns before it led elsewhere, what was answered stands above each answer.",
        "".join(parts),
    )


def _answer(told: Report, colours: Mapping[str, int], *, with_observation: bool) -> str:
    asked = f'<pre class="soft">{escape(told["observation"])}</pre>' if with_observation else ""
    return (
        f'<div class="text a{colours[told["algorithm"]] % NUM_COLOURS}"><header><span>'
        f"{escape(told['algorithm'])}</span><span>{told['return']:.3g}</span></header>"
        f"{asked}<pre>{escape(told['text'])}</pre></div>"
    )
