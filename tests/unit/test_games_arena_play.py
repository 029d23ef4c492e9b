"""Chance, opponents and canonical text of TextArena's games; the package is not needed."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pytest

from sayso.envs import games_arena_play as arena
from sayso.envs.games_arena import bracketed
from sayso.envs.games_arena_table import LEGAL, ONE_PLAYER, REFUSED, TWO_PLAYERS, why_refused
from sayso.errors import OptionValueError, UnknownNameError
from sayso.seeds import generator


def test_two_streams_of_luck_do_not_disturb_each_other_or_anyone() -> None:
    random.seed(7)
    alone = [random.random() for _ in range(3)]
    random.seed(7)
    one, two = arena.Luck(1), arena.Luck(1)
    found = []
    for _ in range(3):
        with one.drawn():
            found.append(random.random())
        with two.drawn():
            random.random()
            random.random()
    assert [random.random() for _ in range(3)] == alone
    with arena.Luck(1).drawn():
        assert [random.random() for _ in range(3)] == found


def test_luck_is_put_back_when_a_game_raises() -> None:
    random.seed(3)
    before = random.getstate()
    with arena.Luck(0).drawn():
        inside = random.getstate()

    def play() -> None:
        with arena.Luck(0).drawn():
            assert random.getstate() == inside
            raise ValueError("bad move")

    with pytest.raises(ValueError, match="bad move"):
        play()
    assert random.getstate() == before


@dataclass
class Card:
    """Something that a game holds."""

    suit: str


@pytest.mark.medium
def test_canonical_text_is_the_same_in_every_process() -> None:
    code = (
        "from sayso.envs.games_arena_play import canonical\n"
        "words = {'b', 'a', 'c', 'dd', 'e'}\n"
        "print(canonical({'w': words, (1, 2): [print, None, 0.5], 'x': {'k': words}}))\n"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True, text=True, check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }  # fmt: skip
    assert len(said) == 1


def test_canonical_text_tells_what_differs() -> None:
    things = [1, "1", [1], (1,), {1}, {"a": 1}, {"a": 2}, Card("x"), Card("y"), None, np.int64(3)]
    assert len({arena.canonical(thing) for thing in things}) == len(things)


def test_opponents_are_named_registered_or_imported() -> None:
    assert arena.opponent("first")("", ("a", "b"), generator(0)) == "a"
    drawn = {arena.opponent("random")("", ("a", "b"), generator(s)) for s in range(20)}
    assert drawn == {"a", "b"}
    arena.register_opponent("tests", lambda told, choices, draws: told)
    assert arena.opponent("tests")("hello", (), generator(0)) == "hello"
    del arena.OPPONENTS["tests"]
    assert arena.opponent("sayso.envs.games_arena_play:first") is arena.first
    with pytest.raises(UnknownNameError, match="There are: random, first"):
        arena.opponent("nobody")
    with pytest.raises(OptionValueError, match="built in"):
        arena.register_opponent("random", arena.first)


@pytest.mark.parametrize(
    ("said", "played"),
    [("4", "[4]"), (" [4] \n", "[4]"), ("I play [4].", "I play [4]."), ("", "[]"), ("a]", "a]")],
)
def test_brackets_are_put_where_there_are_none(said: str, played: str) -> None:
    assert bracketed(said) == played


def test_no_action_is_endless() -> None:
    assert len(bracketed("4 " * 50_000)) < 1_010


def test_every_game_is_played_or_refused_with_a_reason() -> None:
    played = (*ONE_PLAYER, *TWO_PLAYERS)
    assert len(set(played)) == len(played)
    assert set(played).isdisjoint(REFUSED)
    assert set(LEGAL) <= set(played)
    assert all(REFUSED.values())
    assert why_refused("TicTacToe") == ""
    assert "downloads" in why_refused("Wordle")
    assert why_refused("NoSuchGame") == "it was never tried"
