"""Dialogue acts of ``sayso/Desk-v0``, each with its words, and players that choose among them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Protocol, cast

import numpy as np

from sayso.envs.base import TextEnv
from sayso.envs.desk_customer import Talk
from sayso.envs.desk_tasks import GOALS, NUM_RULES
from sayso.envs.scripted import Act, Scripted

ACTS = (
    "ask_number",
    "ask_name",
    "ask_date",
    "ask_detail",
    "apologise",
    "lookup_number",
    "lookup_name",
    "lookup_item",
    *(f"grant_{place}" for place in range(NUM_RULES)),
    "decline",
    "tell_done",
    "tell_refused",
    "tell_status",
    "close",
)
"""Every act, in the order in which ``acts`` lists those that can be said."""
TELLS = {
    "refund": "Thank you for waiting. I have refunded the {item}.",
    "cancel": "Thank you for waiting. The order of the {item} has been cancelled.",
    "address": "Thank you for waiting. The address of your order has been changed.",
    "late": "Thank you for waiting. A new {item} has been sent.",
    "exchange": "Thank you for waiting. The {item} has been exchanged.",
    "warranty": "Thank you for waiting. The repair of the {item} has been arranged.",
    "double": "Thank you for waiting. The second payment has been reversed.",
    "status": "Thank you for waiting. Everything has been done for you.",
}
STATES = {
    "packed": "Thank you for waiting. Your {item} is still being packed.",
    "sent": "Thank you for waiting. Your {item} was sent {days} days ago.",
    "delivered": "Thank you for waiting. Your {item} was delivered {days} days ago.",
}
REFUSAL = "I am sorry, but our rules do not allow that for the {item}."
_WORDS: Mapping[str, str] = MappingProxyType(
    {
        "ask_number": r"Could you please give me your order number\?",
        "ask_name": r"Could you please tell me your name\?",
        "ask_date": r"Could you please tell me when .*",
        "ask_detail": r"Could you please tell me which .*",
        "apologise": r"I am very sorry .*",
        "lookup_number": r"LOOKUP \d+",
        "lookup_name": r"LOOKUP \D+",
        "lookup_item": r"LOOKUP \d+",
        **{f"grant_{place}": r"(?!LOOKUP|DECLINE)[A-Z]+ \d+.*" for place in range(NUM_RULES)},
        "decline": r"DECLINE \d+",
        "tell_done": r"Thank you for waiting\. .*",
        "tell_refused": r"I am sorry, but .*",
        "tell_status": r"Thank you for waiting\. .*",
        "close": "CLOSE",
    }
)
"""How the words of each act read; acts that read alike stand in the order of ``ACTS``."""
MIXTURE = 0.5
"""Share of random acts of the player ``mixture``."""


class Desk(Protocol):
    """What the players look at."""

    @property
    def talk(self) -> Talk:
        """The conversation in progress."""
        ...


def acts(talk: Talk) -> dict[str, str]:
    """What the agent may sensibly say or do next, by name, in the order of ``ACTS``.

    Made of what the agent was told and shown, so that the list gives nothing away: granting
    stands beside declining whatever the rules say.
    """
    facts, detail = talk.facts, GOALS[talk.facts["goal"]].detail
    found = {
        "ask_number": "Could you please give me your order number?",
        "ask_name": "Could you please tell me your name?",
        "ask_date": "Could you please tell me when you received it?",
        "apologise": "I am very sorry about this.",
        "close": "CLOSE",
    }
    if detail:
        found["ask_detail"] = f"Could you please tell me which {detail} you would like?"
    if talk.numbers:
        found["lookup_number"] = f"LOOKUP {talk.numbers[-1]}"
    if "name" in talk.known:
        found["lookup_name"] = f"LOOKUP {facts['name']}"
    fitting = [number for number, item in talk.listed.items() if item == facts["item"]]
    if fitting:
        found["lookup_item"] = f"LOOKUP {fitting[0]}"
    if talk.seen:
        order = facts["order"] if talk.has_record else min(talk.seen)
        found |= _outcomes(talk, order)
    return {name: found[name] for name in ACTS if name in found}


def _outcomes(talk: Talk, order: int) -> dict[str, str]:
    """Acts that need a record."""
    facts, goal = talk.facts, GOALS[talk.facts["goal"]]
    found = {"decline": f"DECLINE {order}"}
    for place, (name, _) in enumerate(facts["rules"]):
        has_detail = GOALS[name].detail == goal.detail and goal.detail in talk.known
        detail = f" {facts['detail']}" if goal.detail and has_detail else ""
        found[f"grant_{place}"] = f"{GOALS[name].tool} {order}{detail}"
    told = {"item": facts["item"], "days": facts["days"]}
    found["tell_done"] = TELLS[facts["goal"]].format(**told)
    found["tell_refused"] = REFUSAL.format(**told)
    if talk.has_record:
        found["tell_status"] = STATES[facts["status"]].format(**told)
    return found


def names_of(listed: Sequence[str]) -> list[str]:
    """Names of what ``acts`` listed, from the words alone: what an agent knows who sees only these.

    Raises:
        ValueError: If something else is listed.
    """
    found, after = [], 0
    for text in listed:
        fitting = [name for name in ACTS[after:] if re.fullmatch(_WORDS[name], text)]
        if not fitting:
            raise ValueError(f"{text!r} is none of the acts {', '.join(ACTS[after:])}")
        found.append(fitting[0])
        after = ACTS.index(fitting[0]) + 1
    return found


def by_the_book(talk: Talk) -> str:
    """The act of a careful agent, who knows what was said and shown: no oracle."""
    goal, rules = GOALS[talk.facts["goal"]], [name for name, _ in talk.facts["rules"]]
    if not talk.has_record:
        return _finding(talk)
    if not goal.tool:
        return "close" if talk.knows_outcome else "tell_status"
    is_allowed = talk.allowed  # read off the record and the card, both shown
    if talk.settled is None:
        if is_allowed and goal.detail and goal.detail not in talk.known:
            return "ask_detail"
        return f"grant_{rules.index(talk.facts['goal'])}" if is_allowed else "decline"
    if not talk.knows_outcome:
        return "tell_done" if is_allowed else "tell_refused"
    return "close"


def _finding(talk: Talk) -> str:
    """How to come to the record: by the number, else by the name, else by the name and item."""
    if talk.listed:
        return "lookup_item"
    if "name" in talk.known:
        return "lookup_name"
    if talk.numbers and not set(talk.numbers) & talk.missing:
        return "lookup_number"
    return "ask_name" if {"number", "no_number"} & talk.known else "ask_number"


def _agent(env: TextEnv, draws: np.random.Generator) -> str:
    del draws
    talk = cast("Desk", env).talk
    return acts(talk)[by_the_book(talk)]


def _oracle(env: TextEnv, draws: np.random.Generator) -> str:
    """As the agent, but it knows who has lost the number, and asks for all it needs at once."""
    talk = cast("Desk", env).talk
    has_number, detail = talk.facts["memory"] == "right", GOALS[talk.facts["goal"]].detail
    if talk.known or talk.has_record:
        return _agent(env, draws)
    asked = "order number" if has_number else "name"
    wanted = f" and the new {detail}" if detail and talk.allowed else ""
    return f"Could you please give me your {asked}{wanted}?"


def _random(env: TextEnv, draws: np.random.Generator) -> str:
    listed = list(acts(cast("Desk", env).talk).values())
    return listed[int(draws.integers(len(listed)))]


def _parrot(env: TextEnv, draws: np.random.Generator) -> str:
    """Courtesies, whatever is said."""
    del env
    said = ("I am very sorry about this.", "Thank you for your patience, I am happy to help you.",
            "I understand how you feel, please wait a moment.")  # fmt: skip
    return said[int(draws.integers(len(said)))]


def _grants(env: TextEnv, draws: np.random.Generator) -> str:
    """By the book, but it grants every wish, whatever the record says."""
    del draws
    talk = cast("Desk", env).talk
    chosen, rules = by_the_book(talk), [name for name, _ in talk.facts["rules"]]
    if chosen == "decline":
        detail = GOALS[talk.facts["goal"]].detail
        needs = detail and detail not in talk.known
        chosen = "ask_detail" if needs else f"grant_{rules.index(talk.facts['goal'])}"
    return acts(talk)["tell_done" if chosen == "tell_refused" else chosen]


def _mixture(env: TextEnv, draws: np.random.Generator) -> str:
    act: Act = _random if draws.random() < MIXTURE else _agent
    return act(env, draws)


PLAYERS: Mapping[str, Scripted] = MappingProxyType(
    {
        "oracle": Scripted(act=_oracle, about="knows who lost the number", is_oracle=True),
        "agent": Scripted(act=_agent, about="asks, looks up, reads the rule, resolves, tells"),
        "grants": Scripted(act=_grants, about="as agent, but grants every wish"),
        "mixture": Scripted(act=_mixture, about=f"{MIXTURE:.0%} random acts, else agent"),
        "random": Scripted(act=_random, about="any of the listed acts"),
        "parrot": Scripted(act=_parrot, about="courtesies only"),
    }
)
