"""Seconds of decoding by the engine itself: rows that go on, turn after turn, caches kept."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from sayso.models.lm import LanguageModel
from sayso.sampling.base import Engine, Request
from sayso.sampling.make import make_engine
from sayso.sampling.network import num_embeddings
from sayso.sampling.options import SamplingOptions
from sayso.seeds import derive, generator

MOST_ROWS = 128
NEW_TOKENS = 32
"""Tokens that each row decodes while it is timed."""


def engine_of(lm: LanguageModel, precision: str) -> Engine:
    """An engine for so many rows, whose rows end at their budget and nowhere else."""
    lm.stop_ids, lm.chat.stop_ids = (), frozenset()
    is_int8 = precision == "int8"
    options = SamplingOptions(max_rows=MOST_ROWS, precision="int8" if is_int8 else "exact")
    return make_engine(lm, options)


class Rows:
    """Sessions that are asked all together, again and again."""

    def __init__(self, engine: Engine, lm: LanguageModel, name: str) -> None:
        self.engine, self.name = engine, name
        self._num_tokens = num_embeddings(lm.network)
        self._names: list[str] = []
        self._num_turns = 0

    def start(self, *, prompts: int, group_size: int, length: int) -> float:
        """Feed the prompts, each to its group, and draw a first token; seconds."""
        self._names = [f"{self.name}/{p}/{n}" for p in range(prompts) for n in range(group_size)]
        texts = [self._text(p, length) for p in range(prompts) for _ in range(group_size)]
        return self._turn(texts, 1)

    def go_on(self, num_new: int, *, length: int = 1) -> float:
        """Feed each row so many tokens and decode ``num_new``; seconds."""
        texts = [self._text(n, length) for n in range(len(self._names))]
        return self._turn(texts, num_new)

    def close(self) -> None:
        """Free the caches."""
        for name in self._names:
            self.engine.close(name)

    def _turn(self, texts: Sequence[tuple[int, ...]], num_new: int) -> float:
        self._num_turns += 1
        start = time.perf_counter()
        for name, text in zip(self._names, texts, strict=True):
            self.engine.submit(
                Request(
                    session=name, new_ids=text, max_new_tokens=num_new,
                    seed=derive(0, name, self._num_turns),
                )
            )  # fmt: skip
        num_left = len(self._names)
        while num_left:
            num_left -= len(self.engine.poll())
        return time.perf_counter() - start

    def _text(self, number: int, length: int) -> tuple[int, ...]:
        draw = generator(0, "text", self._num_turns, number)
        return tuple(draw.integers(self._num_tokens, size=length).tolist())


def token_s(
    engine: Engine,
    lm: LanguageModel,
    *,
    prompts: int,
    group_size: int,
    length: int,
    num_new: int = NEW_TOKENS,
    repeats: int = 2,
) -> float:
    """Seconds per decoded token after prompts of a length; the least of some repeats.

    The prompts are fed before the clock starts. Its first pass feeds two tokens a row: the last
    one drawn then, and one more.
    """
    found = []
    for repeat in range(repeats):
        rows = Rows(engine, lm, f"{length}/{repeat}")
        rows.start(prompts=prompts, group_size=group_size, length=length)
        found.append(rows.go_on(num_new) / (num_new * prompts * group_size))
        rows.close()
    return min(found)


def line_misfit(x: Sequence[float], y: Sequence[float]) -> float:
    """Largest distance of a point from the least-squares line, as a share of the line there."""
    slope, start = np.polyfit(np.asarray(x, float), np.asarray(y, float), 1)
    line = slope * np.asarray(x, float) + start
    return float(np.max(np.abs(np.asarray(y, float) - line) / line))
