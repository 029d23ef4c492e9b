"""Text from a model or an environment, made safe to print."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from sayso.types import Turn

# ESC sequences are removed whole: CSI, OSC and the other string kinds (ended by BEL or ST, or cut
# off at the end of the text), then two-character ones.
_SEQUENCES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?"
    r"|(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c|$)?"
    r"|\x1b[ -/]*[0-~]?"
)
_INVISIBLE = {"Cc", "Cf", "Cs", "Zl", "Zp"}
# Joiners that ordinary words and emoji of many scripts are written with; they steer nothing.
_JOINERS = "\u200c\u200d"


SHOWN_CHARS = 300


def exchange(turns: Sequence[Turn]) -> str:
    """What was said last, on one line: an answer, or of several turns the last one's both sides.

    Example:
        >>> exchange([Turn(observation_ids=(1,), action_ids=(2,), action_logprobs=(0.0,),
        ...                action="Red.")])
        'Red.'
    """
    last = turns[-1]
    if len(turns) == 1:
        return shortened(last.action, SHOWN_CHARS)
    asked = shortened(last.observation, SHOWN_CHARS // 2)
    return f"turn {len(turns)}: {asked} → {shortened(last.action, SHOWN_CHARS // 2)}"


def shortened(text: str, num_chars: int) -> str:
    """``text`` made printable on one line, its middle left out if it is longer."""
    line = " ".join(printable(text).split())
    if len(line) <= num_chars:
        return line
    head = (num_chars - 3) // 2
    return f"{line[:head]} … {line[len(line) - (num_chars - 3 - head) :]}"


def printable(text: str, *, is_multiline: bool = True) -> str:
    """``text`` without anything that steers a terminal or hides characters.

    Control characters (C0 but newline and tab, C1), escape sequences including OSC, bidirectional
    controls and other invisible format characters are removed; lone surrogates become U+FFFD.

    Args:
        text: Anything.
        is_multiline: Keep newlines; otherwise they become spaces.
    """
    if text.isascii() and text.isprintable():
        return text
    text = _SEQUENCES.sub("", text.replace("\r\n", "\n"))
    return "".join(_shown(character, is_multiline=is_multiline) for character in text)


def _shown(character: str, *, is_multiline: bool) -> str:
    if character in "\n\t" or character in _JOINERS:
        return " " if character == "\n" and not is_multiline else character
    category = unicodedata.category(character)
    if category == "Cs":
        return "\ufffd"
    return "" if category in _INVISIBLE else character
