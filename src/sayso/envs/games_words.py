"""Which action a text names."""

from __future__ import annotations

import re
from collections.abc import Iterable

MAX_WORDS = 12
STRIPPED = " \t\r\n.!\"'`*"


def action_named(text: str, names: Iterable[str]) -> str | None:
    """The one action that a short text names; ``None`` if it names none, or several.

    Case, spaces and punctuation around it do not matter: ``Hit.`` and ``I would hit`` both name
    ``hit``, ``hit or stick`` names nothing. A small model says such things long before it says the
    bare word. Naming an action plays it and earns nothing by itself.

    Args:
        text: Of at most twelve words.
        names: In lower case, single spaces between words.
    """
    said = " ".join(text.lower().split())
    known = list(names)
    if said.strip(STRIPPED) in known:
        return said.strip(STRIPPED)
    if len(said.split()) > MAX_WORDS:
        return None
    longest_first = "|".join(re.escape(name) for name in sorted(known, key=len, reverse=True))
    found = set(re.findall(rf"(?<![\w-])(?:{longest_first})(?![\w-])", said))
    return found.pop() if len(found) == 1 else None
