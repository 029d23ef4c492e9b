"""The pages of Desk and Tutor: their Python runs and prints the transcripts and bounds shown."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sayso.cli import recipes

PAGES = Path(__file__).parents[2] / "docs/scenarios"
NAMES = ["desk", "tutor"]


def page(name: str) -> str:
    return (PAGES / f"{name}.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", NAMES)
def test_the_transcript_is_what_its_lines_print(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, told = re.search(
        r"```python\n(.*?)```\n\n```text\n(.*?)```", page(name), re.DOTALL
    ).groups()
    exec(compile(code, f"{name}.md", "exec"), {"__name__": "page"})  # noqa: S102
    assert capsys.readouterr().out == told


@pytest.mark.parametrize("name", NAMES)
def test_ones_own_data_keep_the_contract(name: str) -> None:
    code = re.findall(r"```python\n(.*?)```", page(name), re.DOTALL)[-1]
    assert "check_text_env" in code
    exec(compile(code, f"{name}.md", "exec"), {"__name__": "page"})  # noqa: S102


@pytest.mark.medium
@pytest.mark.parametrize("name", NAMES)
def test_the_bounds_of_held_out_tasks_are_what_the_line_prints(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (line,) = re.findall(r'python -c "(.*)"\n', page(name))
    exec(line.replace("('train', 'held_out', 'unseen')", "('held_out',)"), {})  # noqa: S102
    printed = dict(row.split(" ", 2)[1:] for row in capsys.readouterr().out.splitlines())
    rows = re.findall(
        r"^\| `(\w+)`: [^|]*\| [^|]* \| ([^|]*) \| [^|]* \|$", page(name), re.MULTILINE
    )
    assert dict(rows) == printed


@pytest.mark.parametrize("name", NAMES)
def test_the_recipe_is_of_this_environment(name: str) -> None:
    found = recipes.config(name, ())
    assert found.env.id == f"sayso/{name.capitalize()}-v0"
    assert f"sayso train {name}" in page(name)
