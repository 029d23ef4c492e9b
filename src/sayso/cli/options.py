"""Every option of a run: rows for ``sayso list options``, and the page ``docs/options.md``.

``python -m sayso.cli.options > docs/options.md`` writes the page; a test compares the two.
"""

from __future__ import annotations

import ast
import inspect
import json
import sys
from typing import Any, get_type_hints

from sayso.app.config import SECTIONS, RunConfig
from sayso.config import hints
from sayso.config.show import OptionRow, options_table

HEAD = """# Options

Written by `python -m sayso.cli.options` from the option records, whose docstrings these are.
`sayso list options` shows the same.

In a run file an option stands in its section: `[optim]`, then `lr = 1e-4`. On the command line:
`--set optim.lr=1e-4`. In Python by its bare name, `sayso.GRPO(model, env, lr=1e-4)`, or by its
section, `kl={"coef": 0.05}`. In a file, `"none"` unsets an option. Names of other libraries
(`learning_rate`, `num_generations`) are answered with the name that stands here.
"""


def rows() -> list[dict[str, object]]:
    """Name, type, default and meaning of each option, with the section it stands in."""
    return [
        {
            "name": row.name,
            "about": row.doc.replace("``", "`"),
            "type": _type(row),
            "default": _default(row),
            "section": heading,
        }
        for heading, record, prefix in _records()
        for row in options_table(record, prefix=prefix)
        if row.name != "algorithm.type" and ("." in row.name) == bool(prefix)
    ]


def page() -> str:
    """The page, whole."""
    parts, shown = [HEAD], rows()
    for heading, record, _ in _records():
        about = inspect.cleandoc(record.__doc__ or "").split("\n")[0].replace("``", "`")
        parts.append(f"\n## {heading}\n\n{_without_place(about)}\n")
        parts.append("\n| option | type | default | what it does |\n|---|---|---|---|\n")
        for row in shown:
            if row["section"] == heading:
                kind, what = (str(row[key]).replace("|", "\\|") for key in ("type", "about"))
                parts.append(f"| `{row['name']}` | `{kind}` | `{row['default']}` | {what} |\n")
    return "".join(parts)


def _records() -> list[tuple[str, Any, str]]:
    """Heading, record and dotted prefix of each section; each algorithm is one."""
    resolved = get_type_hints(RunConfig)
    found: list[tuple[str, Any, str]] = [("Top of the file", RunConfig, "")]
    for section in SECTIONS:
        for record in hints.present(resolved[section]):
            tags = hints.tags(record) if section == "algorithm" else ()
            found.append(
                (f"[{section}]" + "".join(f' type = "{t}"' for t in tags), record, section)
            )
    return found


def _without_place(about: str) -> str:
    """Without "written in a run file under ...": the heading says it."""
    return about.partition("; written")[0].rstrip(".") + "."


def _type(row: OptionRow) -> str:
    """As a run file writes it: a record is a table."""
    return " | ".join(
        "table" if part.endswith("Options") else "none" if part == "None" else part
        for part in row.type.split(" | ")
    )


def _default(row: OptionRow) -> str:
    """As a run file writes it."""
    if row.default == "required":
        return row.default
    value = ast.literal_eval(row.default)
    if value is None:
        return "none"
    return json.dumps(list(value) if isinstance(value, tuple) else value)


if __name__ == "__main__":
    sys.stdout.write(page())
