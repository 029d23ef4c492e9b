"""Tables of a comparison's page: what was used up, settings, every number."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from sayso.dashboard.charts import number

Report = Mapping[str, Any]
AXES = {
    "env_tokens": "environment tokens",
    "learner_tokens": "learner tokens",
    "wall_clock": "seconds of training",
    "reward_queries": "rewards asked for",
    "episodes": "episodes",
}


def section(title: str, how: str, body: str) -> str:
    """A heading, how to read what is below it, and that; nothing if there is none."""
    if not body:
        return ""
    return f'<h2>{title}</h2><p class="how">{how}</p>{body}'


def interval(told: Report) -> str:
    """A mean with its interval."""
    mean = told["mean"]
    return ("-" if mean is None else f"{mean:.3f}") + ends(told, ".3f")


def ends(told: Report, form: str) -> str:
    """An interval in brackets; nothing where it is not known."""
    if told["low"] is None or told["high"] is None:
        return ""
    return f" [{told['low']:{form}}, {told['high']:{form}}]"


def spent_table(report: Report) -> str:
    """What runs used up on every axis."""
    head = "".join(f'<th class="n">{what}</th>' for what in AXES.values())
    lines = []
    for arm in report["arms"]:
        cells = "".join(
            f'<td class="n">{number(arm["spent"][axis]) if axis in arm["spent"] else "-"}</td>'
            for axis in AXES
        )
        ended = ", ".join(f"{count} by {what}" for what, count in arm["stopped"].items())
        lines.append(
            f"<tr><td>{escape(arm['name'])}</td><td>{escape(arm['env'])}</td>{cells}"
            f"<td>{escape(ended)}</td></tr>"
        )
    return section(
        "What was used up",
        "In the mean of a run. Only the axis of the budget is the same for all arms; a run ends "
        "with the first step that reaches it.",
        f'<div class="scroll"><table><tr><th>arm</th><th>environment</th>{head}<th>ended</th></tr>'
        f"{''.join(lines)}</table></div>",
    )


def settings(report: Report) -> str:
    """What differs between arms, the command, and every option."""
    flats = [dict(_flat(arm["config"])) for arm in report["arms"]]
    names = list(dict.fromkeys(name for table in flats for name in table))
    differing = [n for n in names if len({repr(t.get(n, "-")) for t in flats}) > 1]
    several = len({arm["env"] for arm in report["arms"]}) > 1
    head = "".join(
        f"<th>{escape(arm['name'])}{' on ' + escape(arm['env']) if several else ''}</th>"
        for arm in report["arms"]
    )
    lines = "".join(
        f"<tr><th><code>{escape(name)}</code></th>"
        + "".join(f"<td><code>{escape(str(t.get(name, '-')))}</code></td>" for t in flats)
        + "</tr>"
        for name in differing
    )
    wholes = "".join(
        f"<details><summary>Every option of {escape(arm['name'])} on {escape(arm['env'])} "
        f"(recipe {escape(arm['recipe'])})</summary><pre>"
        f"{escape(json.dumps(arm['config'], indent=1, ensure_ascii=False))}</pre></details>"
        for arm in report["arms"]
    )
    return section(
        "Settings",
        "What differs between the arms; all else is the same.",
        f"<p>The command: <code>{escape(report['command'])}</code></p>"
        f'<div class="scroll"><table><tr><th>option</th>{head}</tr>{lines}</table></div>{wholes}',
    )


def _flat(table: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value


def all_numbers(report: Report) -> str:
    """Every row of the JSON."""
    lines = "".join(
        f"<tr><td>{escape(r['env'])}</td><td>{escape(r['split'])}</td>"
        f"<td>{escape(r['algorithm'])}</td><td>{escape(r['metric'])}</td>"
        f'<td class="n">{r["seeds"]}</td><td class="n">{interval(r)}</td></tr>'
        for r in report["rows"]
    )
    return (
        "<h2>All numbers</h2><details><summary>Every row, as in the JSON</summary>"
        '<div class="scroll"><table><tr><th>environment</th><th>split</th><th>arm</th>'
        '<th>metric</th><th class="n">seeds</th><th class="n">mean, 95 %</th></tr>'
        f"{lines}</table></div></details>"
    )
