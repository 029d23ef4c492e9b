"""Texts that may reach reasoning-gym's scorers, some of which evaluate what they are given.

No text of a model may reach ``eval`` or a parser that evaluates in the trainer's process, nor make
a scorer compute for minutes. What is not let through is a wrong answer.
"""

from __future__ import annotations

import re

EVALUATED = ("binary_matrix", "n_queens", "spiral_matrix", "string_insertion")
"""Their scorers call ``eval`` to give a little for an answer written as a Python list."""
PARSED = ("countdown", "intermediate_integration", "simple_integration")
"""Their scorers call sympy's ``parse_expr``, which evaluates."""
PLAIN = re.compile(r"[A-Za-z0-9_\-\s]*")
EXPRESSION = re.compile(
    r"(?:\s|\d+(?:\.\d+)?|(?:exp|a?sin|a?cos|a?tan|log|sqrt|pi)(?![A-Za-z])|[A-Za-z](?![A-Za-z]|\s*\()"
    r"|\*\*-?\d{1,2}(?![\d.])|\*(?!\*)|[+\-/()])*"
)
CALLED_OR_TOWER = re.compile(r"\*\*[^+\-/()]*\*\*|\)\s*(?:\*\*|\()")
EXPONENT = re.compile(r"\d[eE][+-]?\d{4,}")
DIGITS = re.compile(r"\d+")
MIN_CHARS, TIMES_REFERENCE, SPARE_DIGITS, MIN_DIGITS = 200, 3, 2, 6


def is_harmless(answer: str, *, family: str, reference: str) -> bool:
    """Whether a scorer may see an answer.

    Args:
        answer: What the model said.
        family: Whose scorer.
        reference: A right answer, which bounds lengths; empty if none is known.
    """
    if len(answer) > max(MIN_CHARS, TIMES_REFERENCE * len(reference)):
        return False
    longest = max(map(len, DIGITS.findall(reference)), default=0) + SPARE_DIGITS
    if any(len(run) > max(MIN_DIGITS, longest) for run in DIGITS.findall(answer)):
        return False
    if EXPONENT.search(answer):
        return False
    if family in EVALUATED:
        return PLAIN.fullmatch(answer) is not None
    if family in PARSED:
        return EXPRESSION.fullmatch(answer) is not None and CALLED_OR_TOWER.search(answer) is None
    return True
