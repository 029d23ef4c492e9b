"""Option tables for help and documentation."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from sayso.config.show import attribute_docs, options_table


@dataclass(frozen=True)
class Inner:
    """Inner options.

    Attributes:
        rank: How many
            columns: at least 1.
    """

    rank: int = 16


@dataclass(frozen=True)
class One:
    """One.

    Attributes:
        type: Chooses it.
    """

    type: Literal["one"] = "one"


@dataclass(frozen=True)
class Two:
    """Two."""

    type: Literal["two"] = "two"


@dataclass(frozen=True, kw_only=True)
class Outer:
    """Outer options; written under ``[outer]``.

    Longer text: with a colon.

    Attributes:
        name (str): Its name.

        inner: The inner ones.
        kind: Which: ``"a"`` or
            ``"b"``.
        stop: Strings.

    Raises:
        stop: Not an attribute.
    """

    name: str
    inner: Inner = field(default_factory=Inner)
    maybe: Inner | None = None
    which: One | Two = field(default_factory=Two)
    kind: Literal["a", "b"] = "a"
    stop: tuple[str, ...] = ()
    limit: float | None = None


def test_docs_come_from_the_attributes_section_alone() -> None:
    assert attribute_docs(Outer) == {
        "name": "Its name.",
        "inner": "The inner ones.",
        "kind": 'Which: ``"a"`` or ``"b"``.',
        "stop": "Strings.",
    }
    assert attribute_docs(Two) == {}


def test_rows_are_flat_dotted_and_in_order() -> None:
    rows = options_table(Outer)
    assert [(row.name, row.type, row.default, row.owner) for row in rows] == [
        ("name", "str", "required", "Outer"),
        ("inner.rank", "int", "16", "Inner"),
        ("maybe", "Inner | None", "None", "Outer"),
        ("maybe.rank", "int", "16", "Inner"),
        ("which.type", '"one"', "'one'", "One"),
        ("which.type", '"two"', "'two'", "Two"),
        ("kind", '"a" | "b"', "'a'", "Outer"),
        ("stop", "tuple[str, ...]", "()", "Outer"),
        ("limit", "float | None", "None", "Outer"),
    ]
    assert rows[1].doc == "How many columns: at least 1."
    assert options_table(Inner, prefix="model.lora")[0].name == "model.lora.rank"
