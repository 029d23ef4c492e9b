"""Words and pauses of a text, for rules on neighbours."""

from __future__ import annotations

import re

from sayso.rewards.text import WORD

PIECE = WORD.pattern + r"|[.!?\u2026]+|[,;:()\n]|\s[\u2013\u2014-]\s|\u2014"
END = "."
COMMA = ","


def tokens(text: str) -> list[str]:
    """Lower-case words with ``.`` for any sentence end and ``,`` for any other pause."""
    found = []
    for match in re.finditer(
        WORD.pattern + r"|[.!?\u2026]+|[,;:()\n]|\s[\u2013\u2014-]\s|\u2014", text
    ):
        piece = match.group()
        if piece[0] in ".!?…":
            found.append(END)
        elif piece[0].isalnum():
            found.append(piece.lower().replace("\u2019", "'"))
        elif piece != "\n":
            found.append(COMMA)
    return found
