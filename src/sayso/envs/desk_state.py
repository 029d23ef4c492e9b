"""Dialogue state of ``sayso/Desk-v0``: what was said and shown, as numbers, read off the words."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from sayso.envs.desk_acts import ACTS, TELLS, names_of
from sayso.envs.desk_customer import MAX_TURNS
from sayso.envs.desk_tasks import GOALS, NUM_RULES, TOOLS, is_allowed, phrases

STATE = (
    *(f"can_{name}" for name in ACTS),
    *(f"rule_{place}" for place in range(NUM_RULES)),
    "needs_command",
    "rule_holds",
    "no_number",
    "wrong_number",
    "settled",
    "outcome_told",
    "calmed",
    "turns",
)
"""Names of the numbers, in their order."""
_CARD = re.compile(r"^([A-Z]+) number(?: [a-z]+)?: ([^\n]*)\.$", re.MULTILINE)
_RECORD = re.compile(
    r"System: order \d+: .*, paid (once|twice), (?:(sent|delivered) (\d+) days ago|being packed)\."
)
_EXAMPLE = "The next customer. The rules now:"
"""Ends an example; nothing before it is of this customer."""


def state_of(conversation: str, listed: Sequence[str]) -> list[float]:
    """What an attentive reader knows, each number in [-1, 1]; see ``STATE``.

    What ``by_the_book`` goes by, from the words alone: 1 where it holds and 0 where not. Of
    ``needs_command`` (is the wish granted by a command) and ``rule_holds`` (does the rule about it
    hold, by the card and the record that was shown) -1 says no, and 0 that it is not known yet.
    ``rule_0`` and so on: the rule about the wish stands there. ``outcome_told``: the
    customer took something for the outcome, true or not. ``turns``: as a share of the most.

    Args:
        conversation: The whole talk, whatever stands between its lines.
        listed: ``info["choices"]`` of the moment.

    Source:
        A state tracker read by a policy over acts: Young et al. 2013, "POMDP-based statistical
        spoken dialog systems: a review", sec. III; here the state is read by patterns, with no
        belief over misheard words.
    """
    _, _, rest = conversation.rpartition(_EXAMPLE)
    listed_names = names_of(listed)
    goal, card = _goal(dict(zip(listed_names, listed, strict=True))), _card(rest)
    found = dict.fromkeys(STATE, 0.0)
    found |= {f"can_{name}": 1.0 for name in listed_names}
    if goal in card:
        found[f"rule_{list(card).index(goal)}"] = 1.0
    if goal:
        found["needs_command"] = 1.0 if GOALS[goal].tool else -1.0
    record = _record(rest)
    if goal in card and record is not None:
        holds = is_allowed({"goal": goal, "window": card[goal], **record})
        found["rule_holds"] = 1.0 if holds else -1.0
    said = {
        "no_number": _customer_says("no_number"),
        "wrong_number": r"System: there is no order ",
        "settled": r"System: [A-Z]+ \d+ is done\.",
        "outcome_told": _customer_says("content", "resigned"),
        "calmed": _customer_says("calmed"),
    }
    found |= {name: float(bool(re.search(words, rest))) for name, words in said.items()}
    answers = len(re.findall(r"\b(?:System|Customer): ", rest)) - 1
    found["turns"] = min(1.0, max(0.0, answers / MAX_TURNS))
    return list(found.values())


def _goal(acts: Mapping[str, str]) -> str:
    """The wish, by the words in which its being granted would be told; empty before a record."""
    told = acts.get("tell_done", "")
    for goal, words in TELLS.items():
        if re.fullmatch(".*".join(map(re.escape, words.split("{item}"))), told):
            return goal
    return ""


def _card(conversation: str) -> dict[str, int]:
    """Wishes with a rule, in its order, and the days that it speaks of."""
    found = {}
    for verb, rule in _CARD.findall(conversation):
        if verb in TOOLS:
            days = re.search(r"\d+", rule)
            found[TOOLS[verb]] = int(days.group()) if days else 0
    return found


def _record(conversation: str) -> dict[str, Any] | None:
    """The record shown last."""
    shown = _RECORD.findall(conversation)
    if not shown:
        return None
    paid, status, days = shown[-1]
    return {
        "status": status or "packed",
        "days": int(days or 0),
        "times_paid": 1 if paid == "once" else 2,
    }


def _customer_says(*kinds: str) -> str:
    """A pattern of what customers say for it."""
    said = [re.escape(words) for kind in kinds for words in phrases()["said"][kind]]
    return rf"Customer: (?:{'|'.join(said)})"
