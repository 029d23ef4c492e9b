"""Preferences: of two answers to one prompt, which was better. Read here, learnt from elsewhere.

One format: columns ``prompt``, ``chosen``, ``rejected`` as Hugging Face's and TRL's data sets have
them, and what ``sayso.envs.comparisons`` and ``sayso label`` write.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sayso.data.records import (
    RecordError,
    plain,
    read_number,
    read_observation,
    read_text,
    task_of,
)
from sayso.envs.base import Observation
from sayso.envs.scripted import Game, Move
from sayso.envs.tasks import bucket
from sayso.types import Episode

CHOSEN = "chosen"
"""Part of a stored answer's reward: 1 for the preferred one of a pair, 0 for the other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preference:
    """Two answers to one prompt.

    Attributes:
        prompt: What was asked: text, or messages.
        chosen: The answer that was preferred.
        rejected: The other one.
        margin: By how much, in reward units, if somebody said so.
        gap: True reward of the chosen less that of the rejected answer, if it is known.
        task: Id of the task that posed it; empty: not known.
        split: ``"train"`` or ``"held_out"``; empty: by the prompt's hash.
    """

    prompt: Observation
    chosen: str
    rejected: str
    margin: float | None = None
    gap: float | None = None
    task: str = ""
    split: str = ""

    @property
    def home(self) -> str:
        """Its split: what it says, else one prompt in five is held out, by its content."""
        key = plain(self.prompt)
        return self.split or ("held_out" if bucket(key) == 0 else "train")


def preference_of(record: Mapping[str, Any]) -> Preference:
    """The preference that a record tells.

    A prompt may also be the beginning of two conversations (``chosen`` and ``rejected`` are lists
    of messages then, and there is no ``prompt``): both must begin alike.

    Raises:
        RecordError: Saying what is wrong: a side is missing or empty, both are the same text, or
            they answer different prompts.
    """
    lacking = [name for name in ("chosen", "rejected") if name not in record]
    if lacking:
        raise RecordError(f"has no {' and no '.join(lacking)}; a preference has both")
    begun = [_begun(record[name], name) for name in ("chosen", "rejected")]
    prompts = [start for start, _ in begun]
    if "prompt" in record:
        prompt = read_observation(record["prompt"], "prompt")
        if any(start not in (None, prompt) for start in prompts):
            raise RecordError("chosen or rejected begins with another prompt than the record's")
    elif prompts[0] is None or prompts[1] is None:
        raise RecordError("has no prompt, and chosen and rejected are no whole conversations")
    elif prompts[0] != prompts[1]:
        raise RecordError("chosen and rejected answer different prompts")
    else:
        prompt = prompts[0]
    chosen, rejected = (text for _, text in begun)
    if chosen.strip() == rejected.strip():
        raise RecordError(f"chosen and rejected are the same text: {chosen[:40]!r}")
    task = record.get("task")
    split = record.get("split", "")
    if split not in ("", "train", "held_out"):
        raise RecordError(f"split is {split!r}; use train or held_out, or leave it out")
    return Preference(
        prompt=prompt, chosen=chosen, rejected=rejected,
        margin=read_number(record.get("margin"), "margin"), gap=_gap(record),
        task=str(task.get("id", "")) if isinstance(task, Mapping) else str(task or ""),
        split=str(split),
    )  # fmt: skip


def games_of(preference: Preference) -> tuple[Game, Game]:
    """Both answers as games of one turn, the chosen one first; nobody graded them."""
    shown = preference.prompt
    task = task_of(preference.task or None, shown)

    def game(text: str, chosen: float) -> Game:
        move = Move(observation=shown, action=text, reward=None, parts={CHOSEN: chosen})
        return Game(task=task, moves=(move,), last="", terminated=True)

    return game(preference.chosen, 1.0), game(preference.rejected, 0.0)


def are_pairs(episodes: Sequence[Episode]) -> bool:
    """Whether stored episodes are the answers of preferences: pairs, the chosen one first."""
    if not episodes or len(episodes) % 2:
        return False
    sides = [e.turns[0].reward_parts.get(CHOSEN) for e in episodes]
    prompts = [e.turns[0].observation_ids for e in episodes]
    is_single = all(len(e.turns) == 1 for e in episodes)
    return is_single and sides == [1.0, 0.0] * (len(sides) // 2) and prompts[::2] == prompts[1::2]


def chosen_of(episodes: Sequence[Episode]) -> list[Episode]:
    """Episodes without the rejected answers of preferences; others all stay."""
    return [e for e in episodes if e.turns[0].reward_parts.get(CHOSEN) != 0.0]


@dataclass(frozen=True, slots=True, kw_only=True)
class PreferenceSet:
    """Preferences by split; no prompt is in both.

    Attributes:
        train: To learn from.
        held_out: To measure on.
        digest: Hex sha256 of all of them.
    """

    train: Sequence[Preference]
    held_out: Sequence[Preference]
    digest: str = field(default="")


def divided(given: Iterable[Preference], held_out: Iterable[Preference] = ()) -> PreferenceSet:
    """Split preferences: what ``held_out`` holds, else what each is at home in.

    A prompt that is held out is not trained on, whatever else says so.
    """
    every, kept = list(given), list(held_out)
    if not kept:
        kept = [p for p in every if p.home == "held_out"]
    away = {_key(p) for p in kept}
    train = [p for p in every if _key(p) not in away]
    said = json.dumps([[_key(p), p.chosen, p.rejected, p.margin] for p in (*train, *kept)])
    return PreferenceSet(
        train=train, held_out=kept, digest=hashlib.sha256(said.encode()).hexdigest()
    )


def to_record(preference: Preference) -> dict[str, Any]:
    """A record that ``preference_of`` reads."""
    p = preference
    found: dict[str, Any] = {
        "prompt": plain(p.prompt), "chosen": p.chosen, "rejected": p.rejected,
    }  # fmt: skip
    told = {"margin": p.margin, "task": p.task or None, "split": p.split or None}
    return found | {name: value for name, value in told.items() if value is not None}


def _key(preference: Preference) -> str:
    return json.dumps(plain(preference.prompt))


def _begun(given: Any, name: str) -> tuple[Observation | None, str]:
    """What a side answers, if it says so, and the answer."""
    if isinstance(given, str):
        return None, _said(given, name)
    if not isinstance(given, list | tuple) or not all(isinstance(m, Mapping) for m in given):
        raise RecordError(f"{name} is {type(given).__name__}, no text and no list of messages")
    if not given or given[-1].get("role") != "assistant":
        raise RecordError(f"{name} does not end with an answer of the assistant")
    before = [dict(message) for message in given[:-1]]
    start = read_observation(before, f"{name}, its prompt") if before else None
    return start, _said(given[-1].get("content"), name)


def _said(given: Any, name: str) -> str:
    text = read_text(given, name)
    if not text.strip():
        raise RecordError(f"{name} is empty")
    return text


def _gap(record: Mapping[str, Any]) -> float | None:
    sides = [read_number(record.get(f"score_{n}"), f"score_{n}") for n in ("chosen", "rejected")]
    return None if sides[0] is None or sides[1] is None else sides[0] - sides[1]
