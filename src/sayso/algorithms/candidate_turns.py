"""From the ledger to decisions that a learner over candidates learns from.

Dimensions: n = decisions of a minibatch, s = different slates among them, k = candidates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sayso.algorithms.grading import Numbers
from sayso.credit.returns import reward_to_go
from sayso.models.slates import Ids, Read, Slate, digest
from sayso.sampling.candidates import CandidateMaker, Gathered
from sayso.sampling.decisions import Asked
from sayso.seeds import derive
from sayso.types import EndReason, Episode

Places = NDArray[np.int64]
MOST_GATHERED = 20_000
"""Decisions whose unrecorded candidates are kept; they are derived, so forgetting costs time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """One decision and what came of it.

    Attributes:
        slate: What could be done.
        taken: What was: a place on the slate.
        reward: Discounted rewards until the decision that is bootstrapped from.
        discount: Of what that one is worth.
        following: That decision; ``None`` where the task ended before it.
        weight: Importance weight.
        episode: Where it was met.
        turn: Which turn of that.
    """

    slate: Slate
    taken: int
    reward: float
    discount: float
    following: Slate | None
    weight: float
    episode: Episode
    turn: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Minibatch:
    """Decisions of one optimiser step.

    Attributes:
        transitions: In the order of the draw.
        slates: The different ones among their slates.
        slate_of: For each transition the place of its slate.
    """

    transitions: list[Transition]
    slates: list[Slate]
    slate_of: Places

    @property
    def count(self) -> int:
        """Decisions."""
        return len(self.transitions)

    def here(self, read: Read) -> Places:
        """Indices of the transitions whose slates a part holds."""
        first, last = read.slates[0], read.slates[-1]
        return np.flatnonzero((self.slate_of >= first) & (self.slate_of <= last)).astype(np.int64)

    def rows(self, read: Read, here: Places) -> tuple[Tensor, Tensor]:
        """For each of these transitions: row and column of its action in the part's tables."""
        device = read.phi.device
        row = torch.from_numpy(self.slate_of[here] - read.slates[0]).to(device)
        taken = [self.transitions[i].taken for i in here]
        return row, torch.tensor(taken, device=device)

    def weights(self, here: Places, like: Tensor) -> Tensor:
        """Importance weights of these transitions."""
        each = [self.transitions[i].weight for i in here]
        return torch.tensor(each, dtype=torch.float64).to(like)

    def targets(self, values: Numbers) -> Numbers:
        """Bootstrapped targets from the values of the decisions that follow, in order.

        What ``values`` has in front of [n], such as members of an ensemble, the targets have too.
        """
        found, place = np.empty((*values.shape[:-1], self.count)), 0
        for i, transition in enumerate(self.transitions):
            found[..., i] = transition.reward
            if transition.following is not None:
                found[..., i] += transition.discount * values[..., place]
                place += 1
        return found

    @property
    def following(self) -> list[Slate]:
        """Decisions that are bootstrapped from, in the order of their transitions."""
        return [t.following for t in self.transitions if t.following is not None]


class DecisionReader:
    """Reads decisions from episodes.

    What was recorded without candidates gets proposals by a key of its own, drawn in a batch of its
    own: their bits depend on the decision alone and not on what is known already, so that a resumed
    run, which knows nothing, goes on alike.

    Args:
        maker: Gathers candidates where none were recorded, and weighs them.
        gamma_turn: Discount from one turn to the next.
        max_new_tokens: Token budget of an action.
        seed: Decides proposals for what was recorded without candidates.
    """

    def __init__(
        self, maker: CandidateMaker, *, gamma_turn: float, max_new_tokens: int, seed: int
    ) -> None:
        self.maker, self._gamma, self._seed = maker, gamma_turn, seed
        self._max_new_tokens = max_new_tokens
        self._gathered: dict[bytes, Gathered] = {}
        self._is_list: dict[tuple[tuple[str, ...], tuple[Ids, ...]], bool] = {}

    def transitions(
        self, pairs: Sequence[tuple[Episode, int]], weights: Sequence[float], *, n_step: int
    ) -> list[Transition]:
        """What episodes say about decisions, each an episode and a turn."""
        ends = [min(turn + n_step, len(e.turns)) for e, turn in pairs]
        wanted = list(pairs)
        wanted += [
            (e, end)
            for (e, _), end in zip(pairs, ends, strict=True)
            if end < len(e.turns) or e.end is EndReason.TRUNCATED
        ]
        slates = iter(self._slates(wanted))
        now = [next(slates) for _ in pairs]
        found = []
        for (e, turn), slate, end, weight in zip(pairs, now, ends, weights, strict=True):
            rewards = [t.reward or 0.0 for t in e.turns[turn:end]]
            earned = reward_to_go(rewards, turn_ends=[True] * len(rewards), gamma_turn=self._gamma)
            goes_on = end < len(e.turns) or e.end is EndReason.TRUNCATED
            found.append(
                Transition(
                    slate=slate,
                    taken=slate.candidates.index(e.turns[turn].action_ids),
                    reward=float(earned[0]),
                    discount=self._gamma ** len(rewards),
                    following=next(slates) if goes_on else None,
                    weight=weight,
                    episode=e,
                    turn=turn,
                )
            )
        return found

    def _slates(self, places: Sequence[tuple[Episode, int]]) -> list[Slate]:
        """Slates of decisions; the turn after the last one is what a cut-off episode ended in.

        Candidates that were recorded are taken up. Others are gathered once, each decision alone.
        """
        asked = [self._asked(episode, turn) for episode, turn in places]
        keys = [
            digest(one.context, *(c.encode("utf-8", "surrogatepass") for c in one.choices))
            for one in asked
        ]
        missing = {
            key: one
            for key, one, (episode, turn) in zip(keys, asked, places, strict=True)
            if key not in self._gathered and self._recorded(episode, turn) is None
        }
        if missing:
            if len(self._gathered) > MOST_GATHERED:
                self._gathered.clear()
                missing = dict(zip(keys, asked, strict=True))
            for key, one in missing.items():
                (self._gathered[key],) = self.maker.gather([one])
        slates = []
        for key, one, (episode, turn) in zip(keys, asked, places, strict=True):
            recorded = self._recorded(episode, turn)
            ids = self._gathered[key].ids if recorded is None else recorded
            is_past = turn < len(episode.turns)
            taken = episode.turns[turn].action_ids if is_past else None
            num_listed, _ = self.maker.counts(one.choices)
            slates.append(self.maker.slate(one, ids, num_listed, taken=taken))
        return slates

    def _recorded(self, episode: Episode, turn: int) -> tuple[Ids, ...] | None:
        """The candidates of a decision, if they were recorded and are of the kind asked for."""
        if turn == len(episode.turns):
            return None
        recorded, choices = episode.turns[turn].candidates, episode.turns[turn].choices
        num_listed, num_proposed = self.maker.counts(choices)
        is_alike = len(recorded) == num_listed + num_proposed
        listed = recorded[:num_listed]
        return recorded if is_alike and self._are(listed, choices[:num_listed]) else None

    def _are(self, listed: tuple[Ids, ...], choices: tuple[str, ...]) -> bool:
        """Whether token ids say what the environment listed; else they were proposals."""
        key = (choices, listed)
        if key not in self._is_list:
            if len(self._is_list) > MOST_GATHERED:
                self._is_list.clear()
            self._is_list[key] = tuple(map(self.maker.lm.chat.text, listed)) == choices
        return self._is_list[key]

    def _asked(self, episode: Episode, turn: int) -> Asked:
        is_final = turn == len(episode.turns)
        context = episode.final_context_ids() if is_final else episode.context_ids(turn)
        seen = episode.final_ids if is_final else episode.turns[turn].observation_ids
        room = self.maker.lm.max_context - len(context)
        return Asked(
            context=context,
            # A cut-off episode without room for a last message ends with the last action.
            observation=seen or episode.turns[-1].action_ids,
            choices=episode.final_choices if is_final else episode.turns[turn].choices,
            seed=derive(self._seed, "candidates", digest(context).hex()),
            max_new_tokens=max(1, min(self._max_new_tokens, room)),
        )
