"""The tasks of ``sayso/Desk-v0``: customers and orders drawn by rule, split by content."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from importlib.resources import files
from typing import Any

import numpy as np

from sayso.envs.tasks import LazyTasks, bucket, numbered_tasks
from sayso.errors import OptionValueError
from sayso.seeds import generator

ENV_ID = "sayso/Desk-v0"
NUM_TASKS = {"train": 4_000, "held_out": 1_000, "unseen": 1_000}
NUM_RULES = 3
"""Rules that the first observation shows; one of them is about the customer's wish, if any is."""
MOODS = ("calm", "upset", "hurried", "chatty")
PATIENCE = {"calm": 5, "upset": 3, "hurried": 3, "chatty": 5}
"""Useless turns that a customer bears."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """A kind of wish.

    Attributes:
        tool: The command that grants it; empty: it is granted by telling the truth.
        rule: When it may be granted, as the first observation says; ``{window}`` is a number of
            days.
        windows: What that number may be.
        detail: What the command needs beside the order's number: ``"street"``, ``"colour"`` or
            nothing.
        status: Status of orders that the wish is about.
    """

    tool: str = ""
    rule: str = ""
    windows: tuple[int, ...] = (0,)
    detail: str = ""
    status: str = "delivered"


GOALS: Mapping[str, Goal] = {
    "refund": Goal(
        tool="REFUND", rule="only within {window} days of delivery", windows=(14, 30, 60)
    ),
    "cancel": Goal(tool="CANCEL", rule="only while it is being packed", status=""),
    "address": Goal(
        tool="ADDRESS", rule="only while it is being packed", detail="street", status=""
    ),
    "late": Goal(
        tool="RESEND",
        rule="only if it was sent more than {window} days ago",
        windows=(7, 10, 14),
        status="sent",
    ),
    "status": Goal(status=""),
    "exchange": Goal(
        tool="EXCHANGE",
        rule="only within {window} days of delivery",
        windows=(20, 40),
        detail="colour",
    ),
    "warranty": Goal(
        tool="REPAIR", rule="only within {window} days of delivery", windows=(100, 200)
    ),
    "double": Goal(tool="REVERSE", rule="only if it was paid twice"),
}
UNSEEN = ("exchange", "warranty", "double")
"""Wishes that are never trained on, nor are their commands and rules ever shown in training."""
TRAINED = tuple(name for name in GOALS if name not in UNSEEN)
TOOLS = {goal.tool: name for name, goal in GOALS.items() if goal.tool}


@lru_cache(maxsize=1)
def phrases() -> Mapping[str, Any]:
    """Names, things, streets and what customers say: ``envs/data/desk.json``."""
    path = files("sayso.envs").joinpath("data", "desk.json")
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def is_allowed(facts: Mapping[str, Any]) -> bool:
    """Whether the rules grant the customer's wish, by the record of the order."""
    goal, days, status = GOALS[facts["goal"]], facts["days"], facts["status"]
    if facts["goal"] == "double":
        return bool(facts["times_paid"] == 2)
    if facts["goal"] == "late":
        return bool(status == "sent" and days > facts["window"])
    if goal.status == "delivered":
        return bool(status == "delivered" and days <= facts["window"])
    return not goal.tool or status == "packed"


def rule_line(name: str, window: int) -> str:
    """A command and its rule, as the first observation shows them."""
    goal = GOALS[name]
    needs = f" {goal.detail}" if goal.detail else ""
    return f"{goal.tool} number{needs}: {goal.rule.format(window=window)}."


def _one(rng: np.random.Generator, pool: Sequence[Any]) -> Any:
    return pool[int(rng.integers(len(pool)))]


def _rules(rng: np.random.Generator, name: str, window: int) -> list[list[Any]]:
    """The card: the customer's goal, if it has a command, among others of its split."""
    pool = UNSEEN if name in UNSEEN else TRAINED
    others = [n for n in pool if n != name and GOALS[n].tool]
    chosen = [[n, int(_one(rng, GOALS[n].windows))] for n in others]
    chosen = [chosen[int(place)] for place in rng.permutation(len(chosen))]
    own = [[name, window]] if GOALS[name].tool else []
    card = (own + chosen)[:NUM_RULES]
    return [card[int(place)] for place in rng.permutation(len(card))]


def _days(rng: np.random.Generator, name: str, status: str, window: int, *, allow: bool) -> int:
    """Days since it was sent or delivered; near the limit, but never within two days of it."""
    if status == "packed":
        return 0
    if name == "late":
        return window + int(rng.integers(2, 12)) if allow else int(rng.integers(1, window - 1))
    if window and GOALS[name].status == "delivered":
        span = window + window // 2 + 10
        return (
            int(rng.integers(2, window - 1)) if allow else int(rng.integers(window + 2, span + 3))
        )
    return int(rng.integers(2, 12))


def _memory(rng: np.random.Generator) -> str:
    """Whether the customer knows the order's number: three in four do."""
    return str(rng.choice(["right", "none", "wrong"], p=[0.75, 0.15, 0.10]))


def _order(rng: np.random.Generator, name: str, window: int, *, allow: bool) -> dict[str, Any]:
    """The record of an order that grants the wish, or does not."""
    goal = GOALS[name]
    status = goal.status or ("packed" if allow else _one(rng, ("sent", "delivered")))
    if name == "status":
        status = _one(rng, ("packed", "sent", "delivered"))
    twice = allow if name == "double" else bool(rng.random() < 0.1)
    return {
        "status": status,
        "days": _days(rng, name, status, window, allow=allow),
        "price": int(rng.integers(12, 180)),
        "times_paid": 2 if twice else 1,
    }


def draw(rng: np.random.Generator, pool: Sequence[str]) -> dict[str, Any]:
    """A customer, a wish and an order: everything that fixes the problem."""
    found, name = phrases(), str(_one(rng, pool))
    window, allow = int(_one(rng, GOALS[name].windows)), bool(rng.random() < 0.5)
    numbers = [int(n) for n in rng.choice(np.arange(1_000, 10_000), size=3, replace=False)]
    things = [found["items"][int(p)] for p in rng.permutation(len(found["items"]))[:2]]
    record = _order(rng, name, window, allow=allow)
    is_dated = record["status"] == "delivered" and not allow and rng.random() < 0.5
    detail = {
        "street": f"{int(rng.integers(1, 99))} {_one(rng, found['streets'])}",
        "colour": str(_one(rng, found["colours"])),
    }.get(GOALS[name].detail, "")
    return {
        "goal": name,
        "window": window,
        "rules": _rules(rng, name, window),
        "order": numbers[0],
        "item": things[0],
        "name": f"{_one(rng, found['first'])} {_one(rng, found['last'])}",
        **record,
        "other": {"order": numbers[1], "item": things[1]} if rng.random() < 0.3 else None,
        "detail": detail,
        "memory": _memory(rng),
        "wrong_order": numbers[2],
        # Some customers remember a date that would suit them better: the record counts.
        "claimed": max(1, record["days"] // 3) if is_dated else record["days"],
        "mood": str(_one(rng, MOODS)),
        "opening": int(rng.integers(len(found["openings"][name]))),
    }


def customer(
    goal: str,
    record: Mapping[str, Any],
    *,
    rules: Mapping[str, int],
    opening: str,
    detail: str = "",
    mood: str = "calm",
) -> dict[str, Any]:
    """The payload of a task from a record of your own.

    Args:
        goal: One of ``GOALS``.
        record: ``order`` (a number of four digits), ``item``, ``name``, ``status``, ``days``,
            ``price`` and ``times_paid``.
        rules: Goals whose commands are shown, with the days of their rule (0 for those without).
        opening: What the customer writes first.
        detail: The new street or colour, if the goal needs one.
        mood: One of ``MOODS``.

    Raises:
        OptionValueError: If the goal is unknown, has a command that is not among the rules, or
            lacks its detail.
    """
    problem = ""
    if goal not in GOALS or any(name not in GOALS or not GOALS[name].tool for name in rules):
        problem = f"goal {goal!r} with rules {sorted(rules)}; known are {', '.join(GOALS)}"
    elif GOALS[goal].tool and goal not in rules:
        problem = f"goal {goal!r} is not among the rules {sorted(rules)}"
    elif bool(GOALS[goal].detail) is not bool(detail):
        problem = f"goal {goal!r} with detail {detail!r}"
    if problem:
        raise OptionValueError(
            where=f"{ENV_ID}, customer", problem=f"{problem}.", fix="Give what the goal needs."
        )
    return {
        "goal": goal,
        "window": rules.get(goal, 0),
        "rules": [[name, days] for name, days in rules.items()],
        **record,
        "other": None,
        "detail": detail,
        "memory": "right",
        "wrong_order": 0,
        "claimed": record["days"],
        "mood": mood,
        "opening": opening,
    }


def content_of(split: str, index: int) -> dict[str, Any]:
    """The task of this place: the first that is drawn and belongs to the split."""
    rng = generator(0, ENV_ID, split, index)
    while True:
        content = draw(rng, UNSEEN if split == "unseen" else TRAINED)
        if split == "unseen" or (bucket(content) == 0) is (split == "held_out"):
            return content


@lru_cache(maxsize=4)
def tasks(split: str) -> LazyTasks:
    """Tasks of a split, made when looked at; none for an unknown split."""
    return numbered_tasks(ENV_ID, split, NUM_TASKS.get(split, 0), partial(content_of, split))
