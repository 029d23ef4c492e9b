"""Modes in which an action picks what is said: candidates, acts, wolpertinger.

Dimensions: k = slots, e = numbers that show one slot.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sayso.control.features import Array, Components, Hidden, MiniLM
from sayso.control.generate import Answer
from sayso.control.options import ControlOptions
from sayso.control.probes import said_plainly
from sayso.errors import EnvContractError
from sayso.models.lm import LanguageModel
from sayso.sampling.base import Engine
from sayso.sampling.decisions import Asked
from sayso.seeds import derive, generator
from sayso.types import FinishReason

SPREAD = 2.0
"""Standard deviations of proposals that a coordinate of 1 stands for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slate:
    """What may be said at one decision.

    Attributes:
        answers: One for each slot in use.
        slots: Which these are; ascending.
        is_live: Whether a slot may be taken ``[k]``: in use, and no copy of an earlier one.
        shown: Numbers that show each slot ``[k, e]``, 0 where there is none; unset: not shown.
    """

    answers: tuple[Answer, ...]
    slots: tuple[int, ...]
    is_live: NDArray[np.bool_]
    shown: Array | None = None


class Proposals:
    """Slots filled by the model's own proposals, drawn from each decision's seed.

    They are independent draws, so their order tells nothing; copies of an earlier one are not
    live. Each is shown by the encoder, in principal components where there are some.

    Args:
        engine: Draws them.
        encoder: Reads them.
        options: How many.
        components: Where the encoder's numbers are projected to.
    """

    def __init__(
        self,
        engine: Engine,
        encoder: Hidden | MiniLM,
        options: ControlOptions,
        components: Components | None,
    ) -> None:
        self._engine, self._encoder, self._options = engine, encoder, options
        self._components = components
        self.num_slots = options.num_candidates
        self.size = encoder.width if components is None else len(components.axes)

    def slates(self, asked: Sequence[Asked]) -> list[Slate]:
        """Proposals of all decisions, drawn together."""
        drawn = said_plainly(
            self._engine,
            [
                replace(one, seed=derive(one.seed, "proposal", number))
                for one in asked
                for number in range(self.num_slots)
            ],
        )
        found = []
        for place, one in enumerate(asked):
            answers = tuple(drawn[place * self.num_slots : (place + 1) * self.num_slots])
            first = {answer.ids: slot for slot, answer in reversed([*enumerate(answers)])}
            live = np.array([first[a.ids] == slot for slot, a in enumerate(answers)])
            shown = self._encoder.answers(one, [answer.ids for answer in answers])
            if self._components is not None:
                shown = self._components(shown)
            slots = tuple(range(self.num_slots))
            found.append(Slate(answers=answers, slots=slots, is_live=live, shown=shown))
        return found


class Listed:
    """Slots filled by the actions that the environment lists, in its order.

    Args:
        lm: Its chat format writes them as tokens.
        encoder: Reads them, if they are shown.
        options: Whether they are.
        num_slots: Most actions that may be listed.
        named: An environment with ``act_names``, one for each slot, and ``names_of``, which tells
            from a list which of them are there; unset: what is listed first stands in slot 0.
    """

    def __init__(
        self,
        lm: LanguageModel,
        encoder: Hidden | MiniLM,
        options: ControlOptions,
        num_slots: int,
        *,
        named: Any = None,
    ) -> None:
        self._lm, self._encoder, self._options, self._named = lm, encoder, options, named
        self.num_slots, self.size = num_slots, encoder.width if options.see_acts else 0

    def slates(self, asked: Sequence[Asked]) -> list[Slate]:
        """What is listed at each decision.

        Raises:
            EnvContractError: If nothing is listed, more than there are slots, or something that
                the model's tokens cannot say.
        """
        return [self._slate(one) for one in asked]

    def _slate(self, asked: Asked) -> Slate:
        count = len(asked.choices)
        if not 0 < count <= self.num_slots:
            raise EnvContractError(
                where="control, mode 'acts'",
                problem=f"the environment lists {count} actions, there are {self.num_slots} slots.",
                fix=f"Set num_acts = {count} or more."
                if count
                else "Use an environment with info['choices'], or another mode.",
            )
        answers = tuple(self._written(text, asked.max_new_tokens) for text in asked.choices)
        for text, answer in zip(asked.choices, answers, strict=True):
            if text != self._lm.chat.answer(answer.ids, ()):
                raise self._unsaid(text, asked.max_new_tokens)
        slots, live = self._places(asked.choices), np.zeros(self.num_slots, np.bool_)
        live[list(slots)] = True
        if not self._options.see_acts:
            return Slate(answers=answers, slots=slots, is_live=live)
        shown = np.zeros((self.num_slots, self._encoder.width), np.float32)
        shown[list(slots)] = self._encoder.answers(asked, [answer.ids for answer in answers])
        return Slate(answers=answers, slots=slots, is_live=live, shown=shown)

    def _unsaid(self, text: str, budget: int) -> EnvContractError:
        """Why an act cannot be said: it is too long, or the tokenizer has no such characters."""
        whole = self._lm.chat.action(text)
        num = len(whole) - self._lm.chat.is_closed(whole)
        if num > budget:
            return EnvContractError(
                where="control, mode 'acts'",
                problem=f"{text!r} has {num} tokens, and max_new_tokens is {budget}.",
                fix=f"Set control.max_new_tokens = {num} or more.",
            )
        return EnvContractError(
            where="control, mode 'acts'",
            problem=f"the model's tokens cannot say {text!r}.",
            fix="Use a model whose vocabulary has these characters.",
        )

    def _places(self, listed: Sequence[str]) -> tuple[int, ...]:
        if self._named is None:
            return tuple(range(len(listed)))
        names = list(self._named.act_names)
        try:
            return tuple(names.index(name) for name in self._named.names_of(listed))
        except ValueError as error:
            raise EnvContractError(
                where="control.named_acts, names_of",
                problem=f"{error}.",
                fix="Name each listed act by one of act_names.",
            ) from error

    def _written(self, text: str, max_tokens: int) -> Answer:
        ids = self._lm.chat.action(text, max_tokens=max_tokens)
        is_closed = self._lm.chat.is_closed(ids)
        finish = FinishReason.STOP if is_closed else FinishReason.LENGTH
        return Answer(ids=ids, logprobs=(0.0,) * len(ids), finish=finish)


def taken(slate: Slate, action: int) -> Answer:
    """The answer in a slot; for a slot that is not in use one counts around those that are.

    Learners without masks play such actions while they explore; ``info["invalid_act"]`` tells.
    """
    if action in slate.slots:
        return slate.answers[slate.slots.index(action)]
    return slate.answers[action % len(slate.answers)]


def nearest(slate: Slate, point: Array, seed: int, *, num_neighbours: int) -> Answer:
    r"""One of the proposals nearest to a point, drawn with weights :math:`\exp(-\delta^2 / \tau)`.

    δ is the distance, τ the mean squared distance among those in question. With one neighbour it is
    the nearest, and the reward is constant around almost every point.

    Args:
        slate: Proposals, shown by coordinates.
        point: The action, in [-1, 1].
        seed: Decides the draw.
        num_neighbours: Among how many.

    Source:
        Dulac-Arnold et al. 2015, arXiv:1512.07679, sec. 4, where the critic picks among the
        neighbours: that needs the critic in the environment, and stock agents keep theirs.
    """
    coordinates = placed(slate)
    distance = ((coordinates - point) ** 2).sum(-1)
    distance[~slate.is_live] = np.inf
    order = np.argsort(distance, kind="stable")[: min(num_neighbours, int(slate.is_live.sum()))]
    closest = distance[order]
    weight = np.exp(-(closest - closest[0]) / max(float(closest.mean()), 1e-12))
    share = np.cumsum(weight) / weight.sum()
    draw = generator(seed, "neighbour").random()
    slot = int(order[min(int(np.searchsorted(share, draw, side="right")), len(order) - 1)])
    answer = slate.answers[slot]
    return replace(answer, executed=tuple(coordinates[slot].tolist()))


def placed(slate: Slate) -> NDArray[np.float64]:
    """Coordinates of the slots in the action's box ``[k, e]``."""
    if slate.shown is None:
        raise TypeError("a slate of proposals is always shown")
    return np.clip(slate.shown.astype(np.float64) / SPREAD, -1.0, 1.0)
