"""The page about Python is run, and its signatures are those of the code."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

import sayso

PAGE = (Path(__file__).parents[2] / "docs/python.md").read_text(encoding="utf-8")


def test_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) == 4
    namespace: dict[str, object] = {"__name__": "python_page"}
    for number, block in enumerate(blocks):
        exec(compile(block, f"python.md block {number}", "exec"), namespace)  # noqa: S102


def written(name: str, function: object) -> str:
    """A signature as the page writes it, without types and ``self``."""
    found = inspect.signature(function)  # type: ignore[arg-type]
    kept = [
        p.replace(annotation=inspect.Parameter.empty)
        for p in found.parameters.values()
        if p.name not in {"self", "cls"}
    ]
    plain = found.replace(parameters=kept, return_annotation=inspect.Signature.empty)
    return f"`{name}{plain}`".replace("'", '"')


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("Agent", sayso.Agent),
        ("learn", sayso.Agent.learn),
        ("predict", sayso.Agent.predict),
        ("evaluate", sayso.Agent.evaluate),
        ("save", sayso.Agent.save),
        ("Agent.load", sayso.Agent.load),
        ("evaluate", sayso.evaluate),
        ("audit", sayso.audit),
        ("compare", sayso.compare),
    ],
)
def test_signatures_are_those_of_the_code(name: str, function: object) -> None:
    assert f"| {written(name, function)} |" in PAGE


def test_every_public_name_stands_on_the_page() -> None:
    assert [
        name for name in sayso.__all__ if f"`{name}`" not in PAGE and f"`{name}(" not in PAGE
    ] == []


def test_every_public_method_of_an_agent_stands_on_the_page() -> None:
    methods = [n for n, m in vars(sayso.Agent).items() if callable(m) or isinstance(m, classmethod)]
    missing = [n for n in methods if not n.startswith("_") and f"{n}(" not in PAGE]
    assert missing == []
