"""The mission's own interface: text in, text out."""

from __future__ import annotations

import pytest

import sayso
from sayso.errors import OptionValueError


def test_a_prompt_is_continued_up_to_the_length_and_the_same_for_a_seed() -> None:
    model = sayso.load_lm("tiny")
    text = model.generate("Once upon", max_length=20, top_k=5)
    assert text.startswith("Once upon")
    assert text != "Once upon"
    assert model.generate("Once upon", max_length=20, top_k=5) == text
    assert model.generate("Once upon", max_length=20, top_k=5, seed=1) != text


def test_top_k_of_one_is_greedy() -> None:
    model = sayso.load_lm("tiny")
    assert len({model.generate("a", max_length=12, top_k=1, seed=seed) for seed in range(4)}) == 1


def test_a_prompt_without_room_is_refused() -> None:
    with pytest.raises(OptionValueError, match="the prompt has 12 tokens, and 12 are allowed"):
        sayso.load_lm("tiny").generate("twelve bytes", max_length=12)
