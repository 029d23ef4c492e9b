"""Building typed options from tables."""

from __future__ import annotations

import contextlib
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import AllowInfNan

from sayso.config.load import build, load_toml, override, parse_value, to_table
from sayso.errors import ConfigError, OptionValueError, UnknownOptionError
from sayso.toml import dump_toml


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True, slots=True, kw_only=True)
class Adam:
    type: Literal["adam"] = "adam"
    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)

    def __post_init__(self) -> None:
        if not self.lr > 0:
            raise ValueError(f"lr must be positive, got {self.lr}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sgd:
    type: Literal["sgd", "momentum"] = "sgd"
    lr: float = 0.1
    momentum: float | None = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class Lora:
    rank: int = 16
    target: str | tuple[str, ...] = "all"

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise ValueError(f"rank must be positive, got {self.rank}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    env: str
    seed: int = 0
    optim: Adam | Sgd = field(default_factory=Adam)
    lora: Lora | None = None
    adapters: tuple[Lora, ...] = ()
    named: Mapping[str, Lora] = field(default_factory=dict)
    parts: list[Adam | Sgd] = field(default_factory=list)
    stop: tuple[str, ...] = ()
    kind: Literal["k1", "k2", "k3"] = "k1"
    colour: Colour = Colour.RED
    path: Path | None = None
    limit: float | None = None
    ceiling: Annotated[float, AllowInfNan()] = math.inf
    is_on: bool = False
    kwargs: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.is_on and self.limit is None:
            raise ValueError("is_on needs limit, which is not set")


FULL = {
    "env": "maze",
    "seed": 3,
    "optim": {"type": "momentum", "lr": 1, "momentum": "none"},
    "lora": {"rank": 4, "target": ["q", "v"]},
    "adapters": [{"rank": 1}, {}],
    "named": {"a": {"rank": 2}},
    "parts": [{"type": "adam", "betas": [0.5, 0.6]}, {"type": "sgd"}],
    "stop": ["x", "y"],
    "kind": "k3",
    "colour": "blue",
    "path": "some/where",
    "limit": 2,
    "ceiling": 5.5,
    "is_on": True,
    "kwargs": {"size": 4, "deep": {"list": [1, "a"]}},
}


def test_a_full_table_builds_every_kind_of_option() -> None:
    assert build(Options, FULL, source="run.toml") == Options(
        env="maze",
        seed=3,
        optim=Sgd(type="momentum", lr=1.0, momentum=None),
        lora=Lora(rank=4, target=("q", "v")),
        adapters=(Lora(rank=1), Lora()),
        named={"a": Lora(rank=2)},
        parts=[Adam(betas=(0.5, 0.6)), Sgd()],
        stop=("x", "y"),
        kind="k3",
        colour=Colour.BLUE,
        path=Path("some/where"),
        limit=2.0,
        ceiling=5.5,
        is_on=True,
        kwargs={"size": 4, "deep": {"list": [1, "a"]}},
    )


def test_a_whole_number_becomes_a_float_where_a_number_is_asked_for() -> None:
    limit = build(Options, {"env": "x", "limit": 2}, source="").limit
    assert isinstance(limit, float)


def test_finished_records_are_taken_as_they_are() -> None:
    lora = Lora(rank=2)
    assert build(Options, {"env": "x", "lora": lora, "optim": Sgd()}, source="").lora is lora


def test_the_table_is_not_modified() -> None:
    before = repr(FULL)
    build(Options, FULL, source="")
    override(FULL, ["optim.lr=5", "new.key=1"])
    assert repr(FULL) == before


def _lines(table: Mapping[str, Any]) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        build(Options, table, source="run.toml")
    return [line for line in str(raised.value).splitlines() if not line.startswith("[CFG-000]")]


def test_fault_27_all_problems_are_reported_at_once_with_places_and_suggestions() -> None:
    table = {
        "optim": {"type": "adam", "lr": 0.0, "beta": 1, "betas": [0.9]},
        "lora": {"rank": 0, "ranks": 3},
        "adapters": [{"rank": 1}, {"rank": "x"}],
        "parts": [{"type": "lion"}],
        "named": {"a": {"rank": True}},
        "stop": "end",
        "kind": "k4",
        "colour": "read",
        "limit": math.nan,
        "is_on": 1,
        "seeds": 1,
    }
    change = " Change the value."
    assert sorted(_lines(table)) == sorted(
        [
            "[CFG-001] run.toml, optim.beta: no such option. Did you mean `betas`?",
            f"[CFG-002] run.toml, optim.betas: got [0.9], needs a list of 2 (a number).{change}",
            "[CFG-001] run.toml, lora.ranks: no such option. Did you mean `rank`?",
            "[CFG-002] run.toml, lora.rank: rank must be positive, got 0. Change the value.",
            f"[CFG-002] run.toml, adapters[1].rank: got 'x', needs a whole number.{change}",
            "[CFG-002] run.toml, parts[0].type: got 'lion'. Use one of: adam, sgd, momentum.",
            "[CFG-002] run.toml, named.a.rank: got True, needs a whole number. Change the value.",
            "[CFG-002] run.toml, stop: got 'end', needs a list (text). Change the value.",
            "[CFG-002] run.toml, kind: got 'k4'. Use one of: k1, k2, k3.",
            "[CFG-002] run.toml, colour: got 'read'. Did you mean 'red'? Use one of: red, blue.",
            "[CFG-002] run.toml, limit: got nan. Use a finite number.",
            "[CFG-002] run.toml, is_on: got 1, needs true or false. Change the value.",
            "[CFG-001] run.toml, seeds: no such option. Did you mean `seed`?",
            "[CFG-002] run.toml, env: is required but missing. Set it to text.",
        ]
    )


@pytest.mark.parametrize(
    ("table", "line"),
    [
        ({"seed": True}, "seed: got True, needs a whole number."),
        ({"seed": 1.0}, "seed: got 1.0, needs a whole number."),
        ({"seed": "1"}, "seed: got '1', needs a whole number."),
        ({"limit": True}, 'limit: got True, needs a number or "none".'),
        ({"limit": "2"}, "limit: got '2', needs a number or \"none\"."),
        ({"limit": math.inf}, "limit: got inf. Use a finite number."),
        ({"optim": {"type": "adam", "lr": -math.inf}}, "optim.lr: got -inf. Use a finite"),
        ({"optim": 3}, "optim: got 3, needs a table of options. Write [optim]."),
        ({"optim": {}}, "optim.type: is required but missing. Use one of: adam, sgd, momentum."),
        ({"optim": {"lr": 1.0}}, "optim.type: is required but missing."),
        ({"optim": {"type": 3}}, "optim.type: got 3. Use one of"),
        ({"optim": {"type": []}}, "optim.type: got []. Use one of"),
        ({"lora": 5}, "lora: got 5, needs a table of options. Write [lora]."),
        ({"adapters": {}}, "adapters: got {}, needs a list of tables. Write [[adapters]]."),
        ({"named": [1]}, "named: got [1], needs a table of tables."),
        ({"stop": ["a", 1]}, "stop: got ['a', 1], needs a list (text), wrong at [1]."),
        ({"lora": {"target": [1]}}, "lora.target: got [1], needs text or a list (text)"),
        ({"kwargs": 1}, "kwargs: got 1, needs a table."),
        ({"path": 1}, 'path: got 1, needs a path or "none".'),
        ({"is_on": True}, "is_on: is_on needs limit, which is not set."),
        ({"xyzzy": 1}, "xyzzy: no such option. Options here: env, seed, optim,"),
        ({"seed": "x" * 500}, "...,"),
    ],
)
def test_each_mistake_is_one_line_that_names_place_value_and_remedy(
    table: dict[str, Any], line: str
) -> None:
    with pytest.raises(ConfigError) as raised:
        build(Options, {"env": "x", **table}, source="run.toml")
    message = str(raised.value)
    if len(line) > 4:
        assert message.split("] ", 1)[1].startswith(f"run.toml, {line}")
    assert len(message) < 300
    assert "\n" not in message
    assert type(raised.value) is (
        UnknownOptionError if "no such option" in message else OptionValueError
    )


def test_a_record_is_not_made_from_wrong_parts_but_its_good_siblings_are_checked() -> None:
    """``Lora`` is checked by itself although ``seed`` beside it is wrong."""
    assert _lines({"env": "x", "seed": "?", "lora": {"rank": -1}, "is_on": True}) == [
        "[CFG-002] run.toml, seed: got '?', needs a whole number. Change the value.",
        "[CFG-002] run.toml, lora.rank: rank must be positive, got -1. Change the value.",
    ]


def test_infinity_passes_where_the_owner_allows_it() -> None:
    assert build(Options, {"env": "x", "ceiling": math.inf}, source="").ceiling == math.inf


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)
KEYS = st.sampled_from([*FULL, "type", "lr", "rank"]) | st.text(max_size=4)


@settings(max_examples=60, deadline=None)
@given(table=st.dictionaries(KEYS, JUNK | st.dictionaries(KEYS, JUNK), max_size=5))
def test_whatever_the_table_build_returns_options_or_raises_config_error(
    table: dict[str, Any],
) -> None:
    with contextlib.suppress(ConfigError):
        assert isinstance(build(Options, table, source="run.toml"), Options)


@pytest.mark.parametrize(
    "options",
    [
        Options(env="x"),
        build(Options, FULL, source=""),
        Options(env="x", optim=Sgd(momentum=None)),
        Options(env="x", ceiling=-math.inf, kwargs={"a": 1.5}),
    ],
)
def test_options_survive_a_round_trip_through_a_file(options: Options, tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text(dump_toml(to_table(options)))
    assert build(Options, load_toml(tmp_path / "run.toml"), source="run.toml") == options


def test_to_table_writes_defaults_out_and_none_only_where_it_is_not_the_default() -> None:
    table = to_table(Options(env="x", optim=Sgd(momentum=None)))
    assert table["seed"] == 0
    assert table["optim"] == {"type": "sgd", "lr": 0.1, "momentum": "none"}
    assert "lora" not in table
    with pytest.raises(OptionValueError, match=r"kwargs\.a\[0\]: is None inside"):
        to_table(Options(env="x", kwargs={"a": [None]}))
    with pytest.raises(TypeError, match="needs a record"):
        to_table({"a": 1})


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("3", 3),
        ("true", True),
        ("True", "True"),
        ('"3"', "3"),
        ("adam", "adam"),
        ("sayso/Maze-v0", "sayso/Maze-v0"),
        ("[1, 2]", [1, 2]),
        ('{a = 1, b = "x"}', {"a": 1, "b": "x"}),
        ("", ""),
        ("a=b", "a=b"),
        ("1\nseed = 2", "1\nseed = 2"),
        ("1 # note", 1),
    ],
)
def test_override_values_are_toml_or_bare_words(text: str, value: object) -> None:
    assert parse_value(text) == value
    assert override({}, [f"a.b={text}"]) == {"a": {"b": value}}


def test_overrides_apply_in_order_and_their_mistakes_are_reported_together() -> None:
    table = {"optim": {"lr": 1.0}, "seed": 1}
    found = override(table, ["optim.lr=2", " seed = 5", "lora.rank=3", "optim.lr=3.5"])
    assert found == {"optim": {"lr": 3.5}, "seed": 5, "lora": {"rank": 3}}
    with pytest.raises(ConfigError) as raised:
        override(table, ["seed", "=1", "a..b=1", "seed.deep=1", "optim.lr=1"])
    lines = str(raised.value).splitlines()
    assert lines[0] == "[CFG-000] --set: 4 problems. Correct each of these:"
    assert [line.split(": ")[0] for line in lines[1:]] == [
        "[CFG-002] --set, seed",
        "[CFG-002] --set, =1",
        "[CFG-002] --set, a..b=1",
        "[CFG-002] --set, seed.deep=1",
    ]


def test_an_override_of_an_unknown_path_is_found_by_build() -> None:
    table = override({"env": "x"}, ["optim.type=adam", "optim.learning_rate=1"])
    with pytest.raises(UnknownOptionError, match=r"optim\.learning_rate: no such option"):
        build(Options, table, source="run.toml")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a = [1,\nb = 2\n", "not TOML: .*line 2"),
        (b"a = '\xff'", "not TOML"),
        (b"a=" + b"[" * 99_999, "not TOML"),
    ],
)
def test_a_file_that_is_not_toml_names_file_and_line(
    tmp_path: Path, content: bytes, message: str
) -> None:
    path = tmp_path / "run.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=message) as raised:
        load_toml(path)
    assert str(path) in str(raised.value)


def test_a_missing_file_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        load_toml(tmp_path / "none.toml")


def test_a_union_without_type_is_a_mistake_of_its_author() -> None:
    @dataclass(frozen=True)
    class Bad:
        which: Lora | Adam = Lora()

    globals()["Bad"] = Bad
    with pytest.raises(TypeError, match="Lora is part of a union"):
        build(Bad, {"which": {"type": "adam"}}, source="")


def test_records_are_frozen() -> None:
    built = build(Options, {"env": "x"}, source="")
    with pytest.raises(AttributeError):
        built.env = "y"  # type: ignore[misc]
    assert replace(built, env="y").env == "y"
    assert tomllib.loads(dump_toml(to_table(built)))["env"] == "x"
