"""Sounds from numbers: tones, beeps, and digits spoken by ``sound_voice``.

A sound is rounded to the steps of 16 bits before it is referred to by the hash of its bytes: sines
differ in their last digit from machine to machine, what is left after rounding does not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from sayso.envs.media import SAMPLE_RATE
from sayso.envs.sound_voice import spoken
from sayso.seeds import generator

Array = np.ndarray[Any, np.dtype[Any]]
HERTZ = {"C": 261.63, "D": 293.66, "E": 329.63, "F": 349.23, "G": 392.00}
"""Equal temperament from the middle C, a' = 440 Hz."""
TIMBRES: Mapping[str, tuple[float, ...]] = {
    "flute": (1.0, 0.12, 0.04),
    "string": (1.0, 0.5, 0.33, 0.25),
    "organ": (1.0, 0.6, 0.1, 0.4),
    "clarinet": (1.0, 0.0, 0.45, 0.0, 0.25, 0.0, 0.12),
}
"""Strength of each harmonic, from the first."""
ATTACK_S, RELEASE_S = 0.008, 0.03
EDGE_S = 0.05
"""Silence before and after."""
STEPS = 32_767


def sound(payload: Mapping[str, Any]) -> Array:
    """The sound of a task, float32 [samples] in [-1, 1] at ``SAMPLE_RATE``.

    Args:
        payload: ``tones`` (each ``hertz``, ``start_ms``, ``ms``) with a ``timbre``, or ``words``
            (digits as text) with a ``voice``; ``loudness`` in (0, 1], the largest sample;
            ``noise``, the largest sample of white noise; ``noise_seed``.
    """
    wave = _tones(payload) if "tones" in payload else spoken(payload["words"], payload["voice"])
    edge = np.zeros(int(EDGE_S * SAMPLE_RATE))
    wave = np.concatenate([edge, wave, edge])
    wave *= payload["loudness"] / max(float(np.abs(wave).max()), 1e-9)
    draws = generator(payload["noise_seed"], "noise")
    wave += payload["noise"] * (2 * draws.random(len(wave)) - 1)
    steps = np.rint(np.clip(wave, -1, 1) * STEPS)
    return np.asarray(steps / STEPS, dtype=np.float32)


def _tones(payload: Mapping[str, Any]) -> Array:
    last = payload["tones"][-1]
    wave = np.zeros(_samples(last["start_ms"] + last["ms"]))
    for tone in payload["tones"]:
        first, count = _samples(tone["start_ms"]), _samples(tone["ms"])
        angle = 2 * np.pi * tone["hertz"] / SAMPLE_RATE * np.arange(count)
        made = np.zeros(count)
        for number, strength in enumerate(TIMBRES[payload["timbre"]], start=1):
            if strength:
                made += strength * np.sin(number * angle)
        place = np.arange(count) / SAMPLE_RATE
        ends = np.minimum(place / ATTACK_S, (count / SAMPLE_RATE - place) / RELEASE_S)
        taken = wave[first : first + count]
        taken += (made * np.clip(ends, 0, 1))[: len(taken)]
    return wave


def _samples(milliseconds: float) -> int:
    return int(milliseconds * SAMPLE_RATE // 1000)
