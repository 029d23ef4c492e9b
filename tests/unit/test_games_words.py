"""Which action a text names."""

from __future__ import annotations

import pytest

from sayso.envs.games_words import action_named

NAMES = ("hit", "stick", "go left", "go", "pick up")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("hit", "hit"), (" Hit.\n", "hit"), ("I would hit!", "hit"), ("**stick**", "stick"),
        ("stick, stick", "stick"), ("Go   left now", "go left"), ("go", "go"),
        ("pick up", "pick up"),
        ("hit or stick", None), ("hits", None), ("hit-and-run", None), ("", None), ("!!!", None),
        ("go left, then go", None), ("pick it up", None), ("I " * 12 + "hit", None),
        ("hit " * 2_000, None), ("h i t", None), ("\ud800 🙂", None),
    ],
)  # fmt: skip
def test_one_name_is_read_and_several_are_not(text: str, name: str | None) -> None:
    assert action_named(text, NAMES) == name
