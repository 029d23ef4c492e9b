"""Whether a text is decent English at all: the gate in front of every constraint."""

from __future__ import annotations

from sayso.rewards.fluency import form, known_words, own_words
from sayso.rewards.grammar import grammar
from sayso.rewards.text import lines, repetition, words
from sayso.rewards.vocabulary import LIGHT_WORDS


def size(text: str, *, low: int, high: int) -> float:
    """Guard far outside the asked length: 1 from ``low / 2`` to ``2.5 * high`` words, else falling.

    A near miss is the business of the length constraint; this keeps "Rain fell." and endless
    text from earning anything by their form.
    """
    count = len(words(text))
    if count < low / 2:
        return (count / (low / 2)) ** 2
    if count > 2.5 * high:
        return (2.5 * high / count) ** 2
    return 1.0


def layout(text: str, *, max_lines: int) -> float | None:
    """1 up to ``max_lines`` non-empty lines, else their share; ``None`` without words."""
    return min(1.0, max_lines / len(lines(text))) if words(text) else None


def quality(
    text: str, *, prompt: str, low: int, high: int, max_lines: int = 1, unfinished: float = 0.3
) -> dict[str, float]:
    """Parts of the quality of a text, each in [0, 1]; their product is the gate.

    Args:
        text: What the policy wrote.
        prompt: What it was asked, to catch copying.
        low: Fewest words asked for.
        high: Most words asked for.
        max_lines: Most lines asked for.
        unfinished: Factor of a text that breaks off, in [0, 1].

    Returns:
        ``form``, ``spelling``, ``grammar``, ``repetition``, ``own_words``, ``size``,
        ``layout``. A text
        without words has 0 in each.
    """
    parts = {
        "form": form(text, unfinished=unfinished),
        "spelling": known_words(text),
        "grammar": grammar(text),
        "repetition": repetition(text, light=LIGHT_WORDS),
        "own_words": own_words(text, prompt),
        "size": size(text, low=low, high=high),
        "layout": layout(text, max_lines=max_lines),
    }
    return {name: 0.0 if score is None else score for name, score in parts.items()}
