"""Which families of reasoning-gym are sound, which are easy, and what is wrong with the others."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

EASY = (
    "basic_arithmetic", "chain_sum", "gcd", "letter_counting", "number_sequence",
    "simple_equations", "spell_backward",
)  # fmt: skip
"""Short questions with short answers, within reach of a model of 135 million weights."""
UNSEEN = ("caesar_cipher", "count_bits", "lcm", "products")
"""Short ones as well, of other kinds."""
_ORDER = "it poses other problems in each process, by the order of Python's sets"
REFUSED: Mapping[str, str] = MappingProxyType(
    {
        "codeio": "it runs the code of its data set, which poses another question each time",
        "composite": "it is a mixture of the others; name them",
        "game_of_life_halting": "its checker gives full marks to any text that is not empty",
        "puzzle24": "its checker does not ask for the numbers of the question: 4*6*1*1 earns "
        "full marks every time",
        "sokoban": "a problem takes eight seconds to make",
        **dict.fromkeys(
            (
                "isomorphic_strings", "knight_swap", "list_functions", "polynomial_multiplication",
                "ransom_note", "word_ladder",
            ),
            _ORDER,
        ),
    }
)  # fmt: skip
"""Families that are refused, with the reason."""
NO_REFERENCE = (
    "boxnet", "graph_color", "propositional_logic", "rubiks_cube", "rush_hour",
)  # fmt: skip
"""Families that ship a checker but no answer that it accepts: the player ``oracle`` fails there."""
