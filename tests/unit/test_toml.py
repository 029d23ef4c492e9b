"""The TOML writer against the standard library's reader."""

from __future__ import annotations

import datetime as dt
import math
import tomllib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sayso.toml import dump_toml

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
SCALARS = (
    TEXT
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.dates()
    | st.datetimes(timezones=st.none() | st.just(dt.UTC)).map(lambda moment: moment.replace(fold=0))
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=100, deadline=None)
@given(table=st.dictionaries(TEXT, VALUES, max_size=5))
def test_any_table_reads_back_equal_and_of_the_same_types(table: dict[str, Any]) -> None:
    found = tomllib.loads(dump_toml(table))
    assert found == table
    assert repr(_sorted(found)) == repr(_sorted(table))


def _sorted(value: Any) -> Any:
    """Order of keys is not kept where plain entries come after tables."""
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [_sorted(item) for item in value] if isinstance(value, list) else value


def test_none_is_left_out_and_tables_follow_plain_entries() -> None:
    text = dump_toml({"t": {"x": 1, "u": {"y": (True, "a")}}, "n": None, "s": "é\n", "e": {}})
    assert text == 's = "é\\n"\n\n[t]\nx = 1\n\n[t.u]\ny = [true, "a"]\n\n[e]\n'


def test_numbers_that_are_not_finite_are_written_as_toml_has_them() -> None:
    found = tomllib.loads(dump_toml({"a": math.nan, "b": math.inf, "c": -math.inf, "d": -0.0}))
    assert math.isnan(found["a"])
    assert (found["b"], found["c"]) == (math.inf, -math.inf)
    assert math.copysign(1, found["d"]) == -1


@pytest.mark.parametrize(
    ("table", "error", "message"),
    [
        ({"a": {"b": object()}}, TypeError, r"a\.b: object"),
        ({"a": b"bytes"}, TypeError, "a: bytes"),
        ({"a": [None]}, TypeError, r"a\.0: NoneType"),
        ({"a": {1: 2}}, TypeError, "a: key 1 is not text"),
        ({"a": "\ud800"}, ValueError, "a: .* lone surrogate"),
    ],
)
def test_what_toml_cannot_say_is_refused_with_its_key(
    table: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        dump_toml(table)
