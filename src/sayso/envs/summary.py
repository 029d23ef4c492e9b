"""``sayso/Summary-v0``: summarise a report within a budget of words, keeping to what it says."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

import numpy as np

from sayso.envs.base import TextEnv
from sayso.envs.one_turn import Graded, OneTurnEnv
from sayso.envs.scripted import Scripted
from sayso.envs.summary_data import aclsum_tasks, own_tasks
from sayso.envs.summary_facts import coverage
from sayso.envs.summary_score import score
from sayso.envs.summary_tasks import ENV_ID, tasks
from sayso.rewards.overlap import rouge_l
from sayso.rewards.text import sentences, words
from sayso.types import Task

MAX_EXTRACTED = 3
"""Most sentences that ``oracle_extract`` takes."""


def _lead(env: TextEnv, draws: np.random.Generator) -> str:
    """Sentences from the beginning while the budget holds them; the first in any case."""
    del draws
    payload = cast("SummaryEnv", env).task.payload
    return _fill(sentences(payload["document"]), payload["budget"])


def _random(env: TextEnv, draws: np.random.Generator) -> str:
    payload = cast("SummaryEnv", env).task.payload
    found = sentences(payload["document"])
    return _fill([found[int(i)] for i in draws.permutation(len(found))], payload["budget"])


def _fill(found: Sequence[str], budget: int) -> str:
    taken, num = [found[0]], len(words(found[0]))
    for sentence in found[1:]:
        num += len(words(sentence))
        if num > budget:
            break
        taken.append(sentence)
    return " ".join(taken)


def _extract(env: TextEnv, draws: np.random.Generator) -> str:
    """The sentences that state most key facts, or overlap most with the reference, in order."""
    del draws
    payload = cast("SummaryEnv", env).task.payload
    found = sentences(payload["document"])
    subsets = [
        [found[i] for i in chosen]
        for size in range(1, MAX_EXTRACTED + 1)
        for chosen in itertools.combinations(range(len(found)), size)
    ]
    fitting = [s for s in subsets if len(words(" ".join(s))) <= payload["budget"]] or [found[:1]]
    if not payload["facts"]:
        return " ".join(max(fitting, key=lambda s: rouge_l(" ".join(s), payload["summary"])))
    stated = {s: {k for k, v in coverage(s, payload["facts"]).items() if v} for s in found}
    return " ".join(max(fitting, key=lambda s: len(set().union(*(stated[x] for x in s)))))


def _writer(env: TextEnv, draws: np.random.Generator) -> str:
    """The reference, where there is one."""
    summary: str = cast("SummaryEnv", env).task.payload.get("summary", "")
    return summary or _extract(env, draws)


class SummaryEnv(OneTurnEnv):
    """Summarise a document within a budget of words; one turn, reward in [0, 1].

    The reports of sayso hide four to six key facts (who, what, when, how much) among filler. The
    reward is the share of them that is stated, times faithfulness (nothing that the document does
    not say), length and fluency. Copying the document earns nothing: it is at least twice the
    budget.

    Args:
        data: ``None``: sayso's reports. ``"aclsum"``: abstracts of papers with summaries of one
            aspect (the extra ``summaries``), judged by ROUGE-L. Else a JSON Lines file of a user's
            own: ``document``, and ``summary`` or ``facts`` or both, perhaps ``budget`` (words) and
            ``split``.
    """

    reward_low, reward_high = 0.0, 1.0
    part_low, part_high = 0.0, 1.0
    env_id = ENV_ID
    scripted: Mapping[str, Scripted] = MappingProxyType(
        {
            "random": Scripted(act=_random, about="random sentences within the budget"),
            "lead": Scripted(act=_lead, about="the first sentences within the budget: lead-n"),
            "oracle_extract": Scripted(
                act=_extract, about="the sentences with most key facts", is_oracle=True
            ),
            "oracle_writer": Scripted(
                act=_writer, about="a summary that states all key facts", is_oracle=True
            ),
        }
    )

    def __init__(self, *, data: str | Path | None = None) -> None:
        self._own: Mapping[str, Sequence[Task]] | None = None
        if data is not None:
            self._own = aclsum_tasks() if data == "aclsum" else own_tasks(data)

    def tasks(self, split: str) -> Sequence[Task]:
        """Documents; those of ``unseen`` are of kinds, or ask for an aspect, never trained on."""
        return tasks(split) if self._own is None else self._own.get(split, ())

    def grade(self, action: str, payload: Mapping[str, Any]) -> Graded:
        """See ``summary_score``."""
        return score(action, payload)
