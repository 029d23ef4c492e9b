"""The ten digits in a synthetic voice: a source shaped by formants, in NumPy.

A stylised voice, of no one: pulses (voiced) and noise (hiss) are shaped, ten milliseconds at a
time, by the resonances of each sound of the word. Words are told apart by their vowels, hisses and
lengths; it does not sound natural.

Source:
    Formants of vowels: Peterson and Barney 1952, JASA 24, table II (men); of consonants and glides:
    after Klatt 1980, JASA 67, tables II and III, simplified. Klatt's synthesiser filters samples by
    resonators in series; here the spectrum of windowed frames is multiplied instead, which is as
    good for steady voices and quick without compiled code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sayso.envs.media import SAMPLE_RATE
from sayso.seeds import generator

Array = np.ndarray[Any, np.dtype[Any]]
HOP = SAMPLE_RATE // 100
WINDOW = 2 * HOP
NUM_BINS = WINDOW // 2 + 1
BANDWIDTHS = (70.0, 100.0, 150.0, 250.0)
FOURTH = 3400.0
"""The fourth formant, Hz, of every sound."""
GLIDE = 2
"""Frames over which neighbouring sounds melt into each other, on each side."""


@dataclass(frozen=True, slots=True)
class Phone:
    """One sound of a word.

    Attributes:
        ms: Length at speed 1.
        formants: First three, in Hz.
        voiced: Strength of the pulses.
        hiss: Strength of the noise.
        band: Middle and half width of the noise, in Hz.
    """

    ms: int
    formants: tuple[int, int, int]
    voiced: float = 1.0
    hiss: float = 0.0
    band: tuple[int, int] = (4000, 3000)


_CLOSED = Phone(60, (300, 1500, 2500), 0.0)
PHONES: Mapping[str, Phone] = {
    "IY": Phone(170, (270, 2290, 3010)),
    "IH": Phone(100, (390, 1990, 2550)),
    "EH": Phone(130, (530, 1840, 2480)),
    "AH": Phone(120, (640, 1190, 2390)),
    "AX": Phone(60, (500, 1400, 2400), 0.7),
    "AO": Phone(160, (570, 840, 2410)),
    "AA": Phone(100, (730, 1090, 2440)),
    "UW": Phone(190, (300, 870, 2240)),
    "OH": Phone(90, (540, 950, 2300)),
    "UH": Phone(90, (400, 800, 2240), 0.8),
    "R": Phone(80, (330, 1060, 1500), 0.8),
    "ER": Phone(90, (470, 1270, 1540), 0.9),
    "W": Phone(80, (290, 610, 2150), 0.7),
    "N": Phone(100, (270, 1340, 2470), 0.45),
    "V": Phone(70, (220, 1100, 2080), 0.4, 0.05, (4500, 3500)),
    "Z": Phone(90, (240, 1390, 2530), 0.35, 0.2, (5600, 1600)),
    "S": Phone(120, (320, 1390, 2530), 0.0, 0.45, (5800, 1600)),
    "F": Phone(110, (340, 1100, 2080), 0.0, 0.12, (4500, 3500)),
    "TH": Phone(100, (320, 1290, 2540), 0.0, 0.09, (6200, 2000)),
    "T": Phone(35, (400, 1600, 2600), 0.0, 0.5, (4200, 1800)),
    "K": Phone(40, (300, 1990, 2850), 0.0, 0.5, (2100, 600)),
    "-": _CLOSED,
}
WORDS: Mapping[str, tuple[str, ...]] = {
    "0": ("Z", "IH", "R", "OH", "UH"),
    "1": ("W", "AH", "N"),
    "2": ("-", "T", "UW"),
    "3": ("TH", "R", "IY"),
    "4": ("F", "AO", "ER"),
    "5": ("F", "AA", "IH", "V"),
    "6": ("S", "IH", "-", "K", "S"),
    "7": ("S", "EH", "V", "AX", "N"),
    "8": ("EH", "IH", "-", "T"),
    "9": ("N", "AA", "IH", "N"),
}
"""Sounds of the words zero to nine."""


def spoken(words: Sequence[str], voice: Mapping[str, Any]) -> Array:
    """Digits one after another, float64 [samples], of any loudness.

    Args:
        words: ``"0"`` to ``"9"``.
        voice: ``hertz`` (pitch), ``tract`` (all formants are multiplied by it: about 0.9 for a long
            vocal tract, 1.2 for a short one), ``speed``, ``gap_ms``, ``breath`` (noise in voiced
            sounds, 0 to 0.1), ``seed`` (of its noise and unsteadiness).
    """
    gap = np.zeros(int(voice["gap_ms"] * SAMPLE_RATE // 1000))
    draws = generator(voice["seed"], "voice")
    parts: list[Array] = []
    for word in words:
        parts += [gap] * bool(parts) + [_word([PHONES[name] for name in WORDS[word]], voice, draws)]
    return np.concatenate(parts)


def _word(phones: Sequence[Phone], voice: Mapping[str, Any], draws: np.random.Generator) -> Array:
    frames = [max(2, round(phone.ms / 10 / voice["speed"])) for phone in phones]
    tract = voice["tract"]
    formants = _track([[f * tract for f in phone.formants] for phone in phones], frames)
    strength = _track([[phone.voiced, phone.hiss] for phone in phones], frames)
    bands = _track([phone.band for phone in phones], frames)
    num = len(formants)
    bins = np.arange(NUM_BINS) * SAMPLE_RATE / WINDOW
    fourth = np.full((num, 1), FOURTH * tract)
    open_throat = _resonances(bins, np.concatenate([formants, fourth], axis=1))
    away = (bins - bands[:, :1]) / bands[:, 1:]
    length = (num + 1) * HOP
    noise = 2 * draws.random(length) - 1
    voiced = _shaped(_pulses(length, voice["hertz"], draws) + voice["breath"] * noise, open_throat)
    hiss = _shaped(noise, 1 / (1 + away**4))
    steps = np.arange(length) / HOP - 0.5
    loud = [np.interp(steps, np.arange(num), strength[:, i]) for i in range(2)]
    made = voiced / max(float(np.abs(voiced).max()), 1e-9) * loud[0]
    return np.asarray(made + hiss / max(float(np.abs(hiss).max()), 1e-9) * loud[1])


def _track(values: Sequence[Sequence[float]], frames: Sequence[int]) -> Array:
    """Values of each frame, [sum of frames, number]: steps that melt over ``GLIDE`` frames."""
    steps = np.repeat(np.asarray(values, dtype=float), frames, axis=0)
    padded = np.concatenate([steps[:1]] * GLIDE + [steps] + [steps[-1:]] * GLIDE)
    return np.asarray(np.mean([padded[i : i + len(steps)] for i in range(2 * GLIDE + 1)], axis=0))


def _resonances(bins: Array, formants: Array) -> Array:
    """Gain of resonators in series, [frames, bins]; each is 1 at 0 Hz.

    ``|H(f)| = F^2 / sqrt((f^2 - F^2)^2 + (f B)^2)``; with the falling spectrum of the voice's
    pulses, which is taken as 1 / (1 + (f / 500)^2), and what the lips radiate, f / 500.
    """
    gain = np.ones((len(formants), len(bins))) * (bins / 500) / (1 + (bins / 500) ** 2)
    for i, width in enumerate(BANDWIDTHS):
        middle = formants[:, i : i + 1]
        gain *= middle**2 / np.sqrt((bins**2 - middle**2) ** 2 + (bins * width) ** 2)
    return gain


def _pulses(length: int, hertz: float, draws: np.random.Generator) -> Array:
    """One pulse a period; the pitch falls by a fifth over the word and is a little unsteady."""
    fall = np.linspace(1.1, 0.9, length)
    unsteady = 1 + 0.02 * (2 * np.repeat(draws.random(length // HOP + 1), HOP)[:length] - 1)
    turns = np.floor(np.cumsum(hertz * fall * unsteady) / SAMPLE_RATE)
    return np.asarray(np.diff(turns, prepend=0.0))


def _shaped(source: Array, gain: Array) -> Array:
    """The source with each frame's spectrum multiplied by its gain; frames overlap by half."""
    window = 0.5 - 0.5 * np.cos(2 * np.pi * (np.arange(WINDOW) + 0.5) / WINDOW)
    frames = np.stack([source[i * HOP : i * HOP + WINDOW] for i in range(len(gain))]) * window
    shaped = np.fft.irfft(np.fft.rfft(frames, axis=1) * gain, n=WINDOW, axis=1)
    made = np.zeros(len(source))
    halves = shaped.reshape(len(gain), 2, HOP)
    made[: len(gain) * HOP] += halves[:, 0].ravel()
    made[HOP:] += halves[:, 1].ravel()
    return made
