"""Words, their colours, and which words fit what was shown: the arithmetic of Wordle."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from string import ascii_lowercase

import numpy as np
from numpy.typing import NDArray

from sayso.errors import OptionValueError

RIGHT, ELSEWHERE, ABSENT = "g", "y", "b"
COLOURS = ABSENT + ELSEWHERE + RIGHT
"""In the order of their digits in a code."""
MAX_WORDS, MAX_LETTERS = 3_000, 12
"""Largest list and longest word: the table of all pairs of words takes 4 bytes for each."""
Codes = NDArray[np.int32]


def load_words(path: str | Path | None) -> tuple[str, ...]:
    """Words of a text file, one a line, in its order; without a path, the list of sayso.

    Raises:
        OptionValueError: If the file cannot be read, or a word is written with other letters than
            ``a`` to ``z``, has another length than the first, or comes twice.
    """
    where = f"sayso/Wordle-v0, words={str(path)!r}"
    source = files("sayso.envs") / "data" / "wordle.txt" if path is None else Path(path)
    try:
        words = tuple(source.read_text(encoding="utf-8").split())
    except (OSError, UnicodeDecodeError) as error:
        raise OptionValueError(
            where=where, problem=f"{error}.", fix="Name a text file with one word a line."
        ) from error
    problem = _problem(words)
    if problem:
        raise OptionValueError(
            where=where,
            problem=problem,
            fix=f"Give 2 to {MAX_WORDS} different words of the letters a to z, of one length.",
        )
    return words


def _problem(words: Sequence[str]) -> str:
    if not 2 <= len(words) <= MAX_WORDS:
        return f"has {len(words)} words."
    length = len(words[0])
    if not 2 <= length <= MAX_LETTERS:
        return f"has words of {length} letters; 2 to {MAX_LETTERS} can be played."
    odd = [w for w in words if len(w) != length or set(w) - set(ascii_lowercase)]
    if odd:
        return f"has {odd[0]!r} beside {words[0]!r}."
    twice = sorted({w for w in words if words.count(w) > 1}) if len(set(words)) < len(words) else []
    return f"has {twice[0]!r} twice." if twice else ""


def colours(guess: str, answer: str) -> str:
    """Colours of a guess, one symbol a letter.

    ``g``: the right letter in the right place. ``y``: the answer has this letter elsewhere, and
    no other letter of the guess accounts for it. ``b``: otherwise. So a letter that is guessed
    twice and stands in the answer once is coloured once: in its right place, else the first time.

    Example:
        >>> colours("eerie", "three")
        'ybgbg'
    """
    left = [a for g, a in zip(guess, answer, strict=True) if g != a]
    shown = []
    for letter, there in zip(guess, answer, strict=True):
        if letter == there:
            shown.append(RIGHT)
        elif letter in left:
            left.remove(letter)
            shown.append(ELSEWHERE)
        else:
            shown.append(ABSENT)
    return "".join(shown)


def code_of(shown: str) -> int:
    """Colours as a number in base 3, the first letter last."""
    return sum(COLOURS.index(colour) * 3**place for place, colour in enumerate(shown))


@lru_cache(maxsize=8)
def codes(words: tuple[str, ...]) -> Codes:
    """Code of the colours of every guess (rows) for every answer (columns).

    ``colours`` for all pairs at once; the rule per letter is counted: a letter out of place is
    ``y`` as long as fewer of its kind out of place came before it in the guess than the answer
    has unmatched.
    """
    letters = np.array([[ord(letter) for letter in word] for word in words], dtype=np.int32)
    length = letters.shape[1]
    table = np.empty((len(words), len(words)), dtype=np.int32)
    powers = 3 ** np.arange(length, dtype=np.int32)
    for row, guess in enumerate(letters):
        is_right = letters == guess  # [answer, place]
        digit = 2 * is_right.astype(np.int32)
        for place in range(length):
            same = guess == guess[place]
            used = (same[:place] & ~is_right[:, :place]).sum(axis=1)
            unmatched = ((letters == guess[place]) & ~is_right).sum(axis=1)
            digit[:, place] += ~is_right[:, place] & (used < unmatched)
        table[row] = digit @ powers
    table.setflags(write=False)
    return table


def consistent(words: tuple[str, ...], clues: Sequence[tuple[int, int]]) -> NDArray[np.intp]:
    """Places in the list of the words that would have been answered in just this way.

    Args:
        words: The list.
        clues: Place of each guess in the list and the code of its colours.
    """
    table, fits = codes(words), np.ones(len(words), dtype=np.bool_)
    for guess, code in clues:
        fits &= table[guess] == code
    return np.flatnonzero(fits)


@lru_cache(maxsize=100_000)
def most_informative(words: tuple[str, ...], candidates: tuple[int, ...]) -> int:
    r"""Place of the candidate whose colours tell most about the answer; of equals, the first.

    With all candidates equally likely, :math:`n_c` of :math:`n` of which would show the colours c,
    the expected gain of information is

    .. math:: \log n - \sum_c \frac{n_c}{n} \log n_c

    Only candidates are considered, and only one guess ahead.

    Source:
        LMRL-Gym's scripted policy for its bound of -1.94 (Abdulhai et al. 2023, arXiv:2311.18232)
        chooses by the same rule and draws among equals.
    """
    places = np.asarray(candidates)
    table = codes(words)[np.ix_(places, places)]
    left = [float(n @ np.log(n)) for n in (np.unique(row, return_counts=True)[1] for row in table)]
    return candidates[int(np.argmin(np.round(left, 9)))]
