"""The tasks of ``sayso/Sound-v0``: what sounds, what is asked, what is right."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any

import numpy as np

from sayso.envs.media import AUDIO
from sayso.envs.media_score import LENGTHS, NOTES, PLACES, TRENDS
from sayso.envs.sound_make import HERTZ, TIMBRES
from sayso.envs.sound_voice import WORDS
from sayso.envs.tasks import LazyTasks, bucket, numbered_tasks
from sayso.errors import EnvContractError
from sayso.seeds import generator

ENV_ID = "sayso/Sound-v0"
NUM_TASKS = {"train": 4000, "held_out": 1000, "unseen": 1000}
UNSEEN_TIMBRE = "clarinet"
TRAINED_TIMBRES = tuple(name for name in TIMBRES if name != UNSEEN_TIMBRE)
VOICES = {"trained": ((90, 210), (0.9, 1.1)), "unseen": ((240, 300), (1.17, 1.25))}
"""Range of pitch in Hz, and of the factor of the formants: adults; a child, never trained on."""
MILLISECONDS = {"long": 300, "short": 110}
MAX_CENTS = 20
"""How far out of tune a whole task may be: a semitone is 100."""
MAX_DRAWS = 1_000
Posed = tuple[dict[str, Any], str, dict[str, Any]]
"""What sounds, the question, what is asked."""


def _pick(draws: np.random.Generator, items: Sequence[Any]) -> Any:
    return items[int(draws.integers(len(items)))]


def _played(
    draws: np.random.Generator, split: str, notes: Sequence[str], lengths: Sequence[str] = ()
) -> dict[str, Any]:
    """Tones one after another: given notes, of the given lengths or all of one length."""
    tune = 2 ** (float(draws.integers(-MAX_CENTS, MAX_CENTS + 1)) / 1200)
    tempo = float(draws.integers(85, 116)) / 100
    gap, even, start = int(draws.integers(70, 110)), int(draws.integers(180, 260)), 0
    tones = []
    for i, note in enumerate(notes):
        length = int((MILLISECONDS[lengths[i]] if lengths else even) * tempo)
        tones.append({"hertz": round(HERTZ[note] * tune, 2), "start_ms": start, "ms": length})
        start += length + gap
    timbre = UNSEEN_TIMBRE if split == "unseen" else _pick(draws, TRAINED_TIMBRES)
    return {"tones": tones, "timbre": timbre, "level": len(tones)}


def _said(draws: np.random.Generator, split: str, words: Sequence[str]) -> dict[str, Any]:
    pitch, tract = VOICES["unseen" if split == "unseen" else "trained"]
    voice = {
        "hertz": int(draws.integers(pitch[0], pitch[1] + 1)),
        "tract": round(float(draws.uniform(*tract)), 3),
        "speed": float(draws.integers(85, 121)) / 100,
        "gap_ms": int(draws.integers(80, 160)),
        "breath": float(draws.integers(0, 9)) / 100,
        "seed": int(draws.integers(2**31)),
    }
    return {"words": list(words), "voice": voice, "level": len(words)}


def _one(kind: str, value: str) -> dict[str, Any]:
    return {"form": "one", "kind": kind, "value": value}


def _order(kind: str, value: Sequence[str]) -> dict[str, Any]:
    return {"form": "sequence", "kind": kind, "value": list(value)}


def _note(draws: np.random.Generator, split: str) -> Posed:
    note = _pick(draws, NOTES)
    question = "Which note is played: C, D, E, F or G?"
    return _played(draws, split, [note]), question, _one("note", note)


def _melody(draws: np.random.Generator, split: str) -> Posed:
    notes = [_pick(draws, NOTES) for _ in range(int(draws.integers(2, 5)))]
    question = "Write down the notes in order. They are among C, D, E, F, G."
    return _played(draws, split, notes), question, _order("note", notes)


def _count(draws: np.random.Generator, split: str) -> Posed:
    notes = [_pick(draws, NOTES) for _ in range(int(draws.integers(1, 7)))]
    question = "How many tones are there?"
    return _played(draws, split, notes), question, _one("number", str(len(notes)))


def _trend(draws: np.random.Generator, split: str) -> Posed:
    trend = _pick(draws, TRENDS)
    chosen = [NOTES[int(i)] for i in sorted(draws.permutation(len(NOTES))[:3])]
    notes = {"rising": chosen, "falling": chosen[::-1], "level": chosen[:1] * 3}[trend]
    question = "Are the tones rising, falling or level?"
    return _played(draws, split, notes), question, _one("trend", trend)


def _highest(draws: np.random.Generator, split: str) -> Posed:
    order = [NOTES[int(i)] for i in draws.permutation(len(NOTES))[: len(PLACES)]]
    place = PLACES[order.index(max(order, key=HERTZ.__getitem__))]
    question = "Which of the four tones is the highest: the first, second, third or fourth?"
    return _played(draws, split, order), question, _one("place", place)


def _rhythm(draws: np.random.Generator, split: str) -> Posed:
    lengths = [_pick(draws, LENGTHS) for _ in range(int(draws.integers(2, 6)))]
    notes = [_pick(draws, NOTES)] * len(lengths)
    question = "Write down the rhythm in order, with the words long and short."
    return _played(draws, split, notes, lengths), question, _order("length", lengths)


def _digit(draws: np.random.Generator, split: str) -> Posed:
    word = _pick(draws, tuple(WORDS))
    return _said(draws, split, [word]), "Which digit is spoken?", _one("digit", word)


def _digits(draws: np.random.Generator, split: str) -> Posed:
    spoken = [_pick(draws, tuple(WORDS)) for _ in range(int(draws.integers(2, 4)))]
    question = "Which digits are spoken? Write them down in order."
    return _said(draws, split, spoken), question, _order("digit", spoken)


FAMILIES: Mapping[str, Callable[[np.random.Generator, str], Posed]] = {
    "note": _note,
    "melody": _melody,
    "count": _count,
    "trend": _trend,
    "highest": _highest,
    "rhythm": _rhythm,
    "digit": _digit,
    "digits": _digits,
}


def payload(split: str, families: Sequence[str], index: int) -> dict[str, Any]:
    """One task's content; draws again until the content is the split's."""
    family = families[index % len(families)]
    for attempt in range(MAX_DRAWS):
        draws = generator(0, ENV_ID, split, family, index, attempt)
        heard, question, asked = FAMILIES[family](draws, split)
        if split == "unseen" or (bucket([heard, question]) == 0) is (split == "held_out"):
            return {
                "family": family,
                **heard,
                "loudness": float(draws.integers(30, 91)) / 100,
                "noise": float(draws.integers(1, 21)) / 1000,
                "noise_seed": int(draws.integers(2**31)),
                "asked": asked,
                "prompt": f"{AUDIO}\n{question}",
            }
    raise EnvContractError(
        where=f"{ENV_ID}, split {split!r}, task {index}",
        problem=f"{MAX_DRAWS} draws of {family!r} posed no task of the split.",
        fix="This is a defect of sayso: please report it.",
    )


@lru_cache(maxsize=16)
def tasks(split: str, families: tuple[str, ...]) -> LazyTasks:
    """All tasks of a split, the families in turn, made when looked at."""
    count = NUM_TASKS.get(split, 0)
    return numbered_tasks(ENV_ID, split, count, partial(payload, split, families), digits=4)
