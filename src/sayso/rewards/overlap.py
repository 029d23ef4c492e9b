"""ROUGE-L without a package: longest common subsequence of two texts.

Source: Lin 2004, ROUGE: a package for automatic evaluation of summaries, section 3. Tokens are
those of the package ``rouge-score`` without stemming (letters and digits in lower case), with which
a test compares the numbers.
"""

from __future__ import annotations

import re
from collections.abc import Sequence


def longest_common_subsequence(one: Sequence[str], two: Sequence[str]) -> int:
    """Length of the longest list of words that both have in this order, gaps allowed."""
    row = [0] * (len(two) + 1)
    for word in one:
        previous = 0
        for j, other in enumerate(two, start=1):
            previous, row[j] = row[j], previous + 1 if word == other else max(row[j], row[j - 1])
    return row[-1]


def rouge_l(text: str, reference: str) -> float:
    """F1 of ROUGE-L, in [0, 1]; 0 when either text has no words.

    Args:
        text: What is judged.
        reference: What it should be like.
    """
    one, two = (re.findall(r"[a-z0-9]+", piece.lower()) for piece in (text, reference))
    common = longest_common_subsequence(one, two)
    return 2.0 * common / (len(one) + len(two)) if common else 0.0
