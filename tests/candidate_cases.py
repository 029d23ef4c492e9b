"""Learners over candidates on tiny models, and what is true of choosing among proposals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from learner_cases import tiny_lm

from sayso.algorithms.kl import KLOptions
from sayso.algorithms.optim import OptimOptions
from sayso.algorithms.registry import ALGORITHMS
from sayso.envs.tinylang_math import probability, reference, sequences
from sayso.models.lm import LanguageModel
from sayso.sampling.base import SamplingOptions
from sayso.sampling.make import make_engine


def candidate_learner(
    options: Any,
    lm: LanguageModel | None = None,
    *,
    sampling: SamplingOptions | None = None,
    optim: OptimOptions | None = None,
    seed: int = 0,
) -> Any:
    """A learner of these options."""
    torch.set_num_threads(1)
    lm = lm or tiny_lm()
    sampling = sampling or SamplingOptions(max_new_tokens=3)
    return ALGORITHMS[options.type](
        lm, make_engine(lm, sampling), options, sampling=sampling, optim=optim or OptimOptions(),
        kl=KLOptions(), seed=seed,
    )  # fmt: skip


def best_of(num: int, scores: Mapping[str, float]) -> float:
    """Exact mean reward of the proposal with the highest score among so many of the reference's.

    The best of n draws is y with probability P(all scores <= that of y)^n - P(all below)^n.
    """
    below, total = 0.0, 0.0
    for sentence in sorted(sequences(), key=lambda y: scores[y]):
        chance = probability(reference(), sentence)
        total += sequences()[sentence] * ((below + chance) ** num - below**num)
        below += chance
    return total


def ids_of(sentence: str) -> tuple[int, ...]:
    """A sentence of TinyLang in tokens: a, b, end."""
    return tuple("abE".index(letter) for letter in sentence)


def sentence_of(ids: Sequence[int]) -> str:
    """The other way round."""
    return "".join("abE"[token] for token in ids)
