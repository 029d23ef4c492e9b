"""``sayso/Persona-v0``: write for a reader whose taste shows only in what they liked before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

import numpy as np

from sayso.envs.base import TextEnv
from sayso.envs.one_turn import Graded, OneTurnEnv
from sayso.envs.persona_score import score
from sayso.envs.persona_tasks import ENV_ID, render, tasks
from sayso.envs.persona_taste import KINDS, Preference, inferred, pools
from sayso.envs.persona_writer import pick, write
from sayso.envs.rows import read_rows, tasks_of_rows
from sayso.envs.scripted import Scripted
from sayso.errors import OptionValueError
from sayso.types import Task

NUM_DRAFTS = 6
"""Texts of which a scripted writer keeps the one that its reader would like best."""
MAX_PAIRS = 8
ONE_STYLE = MappingProxyType({"length": "medium", "person": "third", "tone": "calm"})
"""What ``one_style`` writes for everybody."""


def _drafted(
    draws: np.random.Generator, payload: Mapping[str, Any], preferences: Sequence[Preference]
) -> str:
    """The best of a few drafts, as a reader of these preferences would judge."""
    style = {p["kind"]: p["pole"] for p in preferences}
    judged = {**payload, "preferences": preferences} if preferences else payload
    drafts: list[str] = []
    while not drafts:
        found = [write(draws, style, payload["topic"]) for _ in range(NUM_DRAFTS)]
        drafts = [draft for draft in found if draft is not None]
        if not drafts:  # not all of it fits into one text
            style.popitem()
    if not preferences:
        return drafts[0]
    return max(drafts, key=lambda draft: score(draft, judged)[0])


def _knows(env: TextEnv, draws: np.random.Generator) -> str:
    payload = cast("PersonaEnv", env).task.payload
    return _drafted(draws, payload, payload["preferences"])


def _infers(env: TextEnv, draws: np.random.Generator) -> str:
    payload = cast("PersonaEnv", env).task.payload
    return _drafted(draws, payload, inferred(payload["liked"], payload["disliked"]))


def _one_style(env: TextEnv, draws: np.random.Generator) -> str:
    topic = cast("PersonaEnv", env).task.payload["topic"]
    return write(draws, ONE_STYLE, topic) or f"They rested by the {topic}."


def _any_style(env: TextEnv, draws: np.random.Generator) -> str:
    topic = cast("PersonaEnv", env).task.payload["topic"]
    return write(draws, {}, topic) or f"They rested by the {topic}."


def _random(env: TextEnv, draws: np.random.Generator) -> str:
    del env
    topic = str(pick(draws, pools()["topics"]))
    return write(draws, {}, topic) or f"They rested by the {topic}."


class PersonaEnv(OneTurnEnv):
    """Write a text for a reader whose taste shows only in past likes; one turn, reward in [0, 1].

    The prompt shows texts that the reader liked and disliked, in turn, and a topic. Hidden are two
    or three preferences (``persona_taste.KINDS``) with weights; from the examples exactly these can
    be told. The reward is the reader's utility, times whether the topic is met, times fluency.

    Args:
        num_pairs: Liked and disliked texts of each kind in a prompt, from 2.
        data: A JSON Lines file of a user's own readers: ``topic``, ``liked``, ``disliked`` (as many
            texts each), ``preferences`` (``[{"kind": …, "pole": …, "weight": …}]``), perhaps
            ``split``. Without a split, a fifth of the readers is held out.
    """

    reward_low, reward_high = 0.0, 1.0
    part_low, part_high = 0.0, 1.0
    env_id = ENV_ID
    scripted: Mapping[str, Scripted] = MappingProxyType(
        {
            "random": Scripted(act=_random, about="any style, any topic"),
            "any_style": Scripted(act=_any_style, about="on topic, any style"),
            "one_style": Scripted(act=_one_style, about="on topic, one style for everybody"),
            "infers": Scripted(act=_infers, about="tells the taste from the examples"),
            "knows": Scripted(act=_knows, about="writes to the hidden taste", is_oracle=True),
        }
    )

    def __init__(self, *, num_pairs: int = 2, data: str | Path | None = None) -> None:
        if not 2 <= num_pairs <= MAX_PAIRS:
            raise OptionValueError(
                where=f"{ENV_ID}, num_pairs",
                problem=f"got {num_pairs}.",
                fix=f"Use 2 to {MAX_PAIRS}: one pair does not tell a taste.",
            )
        self.num_pairs = num_pairs
        self._own = None if data is None else own_tasks(data)

    def tasks(self, split: str) -> Sequence[Task]:
        """Readers with a topic; those of ``unseen`` have a taste of a kind never trained on."""
        return tasks(split, self.num_pairs) if self._own is None else self._own.get(split, ())

    def grade(self, action: str, payload: Mapping[str, Any]) -> Graded:
        """See ``persona_score``."""
        return score(action, payload)


def own_tasks(path: str | Path) -> dict[str, tuple[Task, ...]]:
    """Tasks by split from a file of a user's own readers; a reader is in one split only.

    Raises:
        DataError: If the file cannot be read or a row is wrong.
    """

    def payload(row: Mapping[str, Any]) -> dict[str, Any]:
        kept = {name: row[name] for name in ("topic", "preferences", "liked", "disliked")}
        prompt = render(row["topic"], row["liked"], row["disliked"])
        return {**kept, "family": "own", "prompt": prompt}

    rows = read_rows(path, _problem)
    return tasks_of_rows(rows, ENV_ID, key=lambda row: row["preferences"], payload=payload)


def _problem(row: dict[str, Any]) -> str:
    """What is wrong with a reader of a user's own."""
    texts = [row.get("liked"), row.get("disliked")]
    are_texts = all(isinstance(t, list) and t and all(isinstance(x, str) for x in t) for t in texts)
    if not isinstance(row.get("topic"), str) or not row["topic"].strip():
        return "`topic` is no text"
    if not are_texts or len(row["liked"]) != len(row["disliked"]):
        return "`liked` and `disliked` are no lists of as many texts"
    given = row.get("preferences")
    if not isinstance(given, list) or not given:
        return "`preferences` is no list of preferences"
    if told := next(filter(None, map(_preference_problem, given)), ""):
        return told
    kinds = [one["kind"] for one in given]
    return "" if len(set(kinds)) == len(kinds) else "a kind is preferred twice"


def _preference_problem(one: Any) -> str:
    if not isinstance(one, dict) or set(one) != {"kind", "pole", "weight"}:
        return f"the preference {one!r} has not just kind, pole and weight"
    if one["pole"] not in KINDS.get(one["kind"], ()):
        known = "; ".join(f"{kind}: {', '.join(poles)}" for kind, poles in KINDS.items())
        return f"the preference {one['kind']!r}: {one['pole']!r} is not known ({known})"
    weight = one["weight"]
    is_weight = isinstance(weight, int | float) and 0 < weight < float("inf")
    return "" if is_weight else f"the weight {weight!r} is not positive"
