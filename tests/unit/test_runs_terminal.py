"""Text made safe to print."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sayso.runs.terminal import exchange, printable, shortened
from sayso.types import Turn


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text", "plain text"),
        ("two\nlines\tand a tab", "two\nlines\tand a tab"),
        ("dos\r\nline", "dos\nline"),
        ("over\rwrite", "overwrite"),
        ("\x1b[2J\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b]0;owned\x07title", "title"),
        ("\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1b]52;c;cm0gLXJm\x07clip", "clip"),
        ("\x1bPdevice\x1b\\x", "x"),
        ("a\x1b]0;never ended", "a"),
        ("a\x1b", "a"),
        ("\x1bcreset", "reset"),
        ("\x9b31mc1", "c1"),
        ("\x9d0;t\x9cc1", "c1"),
        ("bell\x07 back\x08space del\x7f", "bell backspace del"),
        ("\u202eevil\u202c\u2066\u2069\u200e\u200f", "evil"),
        ("zero\u200bwidth\ufeff", "zerowidth"),
        ("line\u2028sep", "linesep"),
        ("\ud800", "\ufffd"),
        ("Ünïcödé 日本語 👩\u200d👩\u200d👧 ✓", "Ünïcödé 日本語 👩\u200d👩\u200d👧 ✓"),
    ],
)
def test_what_steers_a_terminal_is_removed_and_the_rest_kept(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_newlines_become_spaces_on_one_line() -> None:
    assert printable("a\nb\r\nc", is_multiline=False) == "a b c"


@given(text=st.lists(st.characters() | st.sampled_from("\x1b\x9b\x9d[];\\\x07")).map("".join))
def test_no_text_leaves_a_control_character(text: str) -> None:
    shown = printable(text)
    shown.encode("utf-8")
    for character in shown:
        if character not in "\n\t\u200c\u200d":
            assert unicodedata.category(character) not in {"Cc", "Cf", "Cs", "Zl", "Zp"}
    assert printable(shown) == shown


def turn(asked: str, said: str) -> Turn:
    return Turn(
        observation_ids=(1,),
        action_ids=(2,),
        action_logprobs=(0.0,),
        observation=asked,
        action=said,
    )


def test_of_several_turns_the_last_exchange_is_shown_on_one_line() -> None:
    turns = [turn("Start.", "left"), turn("You hit a wall.\n\nWhere to?", "move\nup\x1b[2J")]
    assert exchange(turns) == "turn 2: You hit a wall. Where to? → move up"
    assert exchange(turns[:1]) == "left"


def test_a_long_exchange_keeps_beginning_and_end_of_both_sides() -> None:
    told = exchange([turn("", ""), turn("A" + "x" * 900 + "B", "C" + "y" * 900 + "D")])
    assert len(told) <= 320
    assert told.startswith("turn 2: Axx")
    for kept in ("xB → Cyy", "yD", "x … x", "y … y"):
        assert kept in told
    assert len(shortened("z" * 900, 100)) == 100
    assert shortened("z" * 100, 100) == "z" * 100
