"""A critic of whole utterances: what it reads, how it learns, what it says.

It reads the language model as it was before training, frozen; or through low-rank adapters of its
own on the same weights (one backbone with the adapters of actor, critic and target critic); or,
where all weights train, with a network of its own that began as a copy. The policy's weights never
take a gradient from it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from sayso.algorithms.base import ActionValues
from sayso.algorithms.core import Core
from sayso.algorithms.grading import Numbers
from sayso.algorithms.options.archer import Trunk
from sayso.algorithms.step import Part, Parts, StepOutcome, guarded_step
from sayso.algorithms.utterance_credit import q_per_token
from sayso.algorithms.utterances import UtteranceStates, joined, utterance_states, with_redrawn
from sayso.data.batch import PackedRow
from sayso.errors import ModelError
from sayso.losses.loss import Loss
from sayso.models.adapters import adapter_weights, add_another, reading_with
from sayso.models.lm import LanguageModel
from sayso.models.utterance_heads import UtteranceHeads, each
from sayso.seeds import derive
from sayso.types import Context, EndReason, Episode

CRITIC, TARGET = "critic", "target_critic"
CriticLoss = Callable[[UtteranceStates, UtteranceStates, float], Sequence[Loss]]
"""From turns as the critic and as its target read them, and the turns of the step, to a loss."""


def prepare_trunk(lm: LanguageModel, trunk: Trunk, *, seed: int) -> None:
    """What the critic reads, made before the optimiser is: adapters that train are among its own.

    Raises:
        ModelError: If adapters are asked for and the model has none, or the other way round.
    """
    if trunk == "frozen":
        lm.freeze_reference()
    elif trunk == "adapter":
        for name in (CRITIC, TARGET):  # one seed: the target begins as what it follows
            add_another(lm.network, name, seed=derive(seed, CRITIC))
        for weight in adapter_weights(lm.network, TARGET).values():
            weight.requires_grad_(False)  # noqa: FBT003
    elif lm.has_adapter:
        raise ModelError(
            where="algorithm.trunk",
            problem="is 'copy', and the policy has adapters: a copy's weights are all frozen.",
            fix="Set algorithm.trunk = 'adapter', or leave model.lora out.",
        )
    else:
        for name in (CRITIC, TARGET):
            lm.add_copy(name, trains=name == CRITIC)


Said = tuple[tuple[tuple[int, ...], ...], EndReason, Context]
"""Tokens, how the episode ended, and what was seen at a turn: hidden states depend on no more."""


def _said_in(episode: Episode) -> Said:
    spoken = [ids for turn in episode.turns for ids in (turn.observation_ids, turn.action_ids)]
    return (*spoken, episode.final_ids), episode.end, episode.context


@dataclass(frozen=True, slots=True, kw_only=True)
class Opinion:
    """What the critic says of the turns of one episode.

    Attributes:
        q: Least of the twins' values of each utterance, in reward units.
        v: Least of the values of each state.
        gap: How far the twins differ.
    """

    q: Numbers
    v: Numbers
    gap: Numbers


class UtteranceCritic:
    """Heads with a trunk to read from.

    Attributes:
        heads: The heads.
        trunk: Whether the trunk is frozen or has adapters.
    """

    def __init__(self, core: Core, heads: UtteranceHeads, trunk: Trunk) -> None:
        self._core, self.heads, self.trunk = core, heads, trunk
        self._known: dict[Said, tuple[UtteranceStates, int]] = {}

    def learn(
        self,
        episodes: Sequence[Episode],
        loss: CriticLoss,
        *,
        rate: float,
        redrawn: Sequence[Episode] = (),
    ) -> StepOutcome:
        """One guarded step on a batch, then the targets follow.

        Args:
            episodes: The batch.
            loss: What to minimise.
            rate: Of the targets; see ``polyak``.
            redrawn: See ``redraw``; one for each turn, or none.
        """
        core, num_turns = self._core, float(sum(len(e.turns) for e in episodes))

        def parts() -> Parts:
            with closing(self._parts(episodes, redrawn)) as read:
                for _, online, target in read:
                    yield Part(losses=loss(online, target, num_turns), about="of the critic")

        outcome = guarded_step(core, parts())
        if outcome.skipped is None:
            self._follow(rate)
        told = outcome.metrics.items()  # the norm and the rate told of are the actor's
        outcome.metrics = {k: mean for k, mean in told if not k.startswith("optim/")}
        return outcome

    @torch.no_grad()
    def opinions(self, episodes: Sequence[Episode]) -> list[Opinion]:
        """What it says of every turn."""
        by_index: dict[int, Numbers] = {}
        for places, online, _ in self._parts(episodes, ()):
            q, v = each(self.heads.q, online.said), each(self.heads.v, online.states.hidden)
            told = torch.stack([q.amin(0), v.amin(0), q.amax(0) - q.amin(0)]).double().cpu().numpy()
            cuts = np.cumsum([len(episodes[i].turns) for i in places])[:-1]
            by_index |= zip(places, np.split(told, cuts, axis=1), strict=True)
        return [
            Opinion(q=by_index[i][0], v=by_index[i][1], gap=by_index[i][2])
            for i in range(len(episodes))
        ]

    def action_values(self, episode: Episode, *, gamma_turn: float) -> ActionValues:
        """Least of the twins' values of each utterance, at its last token."""
        (opinion,) = self.opinions([episode])
        return ActionValues(values=q_per_token(episode, opinion.q), kind="q", gamma_turn=gamma_turn)

    @torch.no_grad()
    def token_states(self, row: PackedRow) -> Tensor:
        """Hidden states before each action token of a row, as the critic reads them: [n, d]."""
        lm = self._core.lm

        def read() -> Tensor:
            return self._core.read(row).index_select(0, row.source)

        if self.trunk == "frozen":
            with lm.reference():
                return read()
        with self._reading(CRITIC):
            return read()

    def forget_all_but(self, episodes: Sequence[Episode]) -> None:
        """Hidden states of other episodes will not be needed again."""
        kept = {_said_in(episode) for episode in episodes}
        self._known = {key: known for key, known in self._known.items() if key in kept}

    def state_tensors(self) -> dict[str, Tensor]:
        """What no optimiser moves and the heads do not hold: the target's trunk."""
        if self.trunk == "frozen":
            return {}
        weights = self._weights(TARGET)
        return {f"{TARGET}.{name}": weight.detach() for name, weight in weights.items()}

    @torch.no_grad()
    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Undo ``state_tensors``."""
        self._known.clear()
        for name, weight in self.state_tensors().items():
            weight.copy_(tensors[name])

    @torch.no_grad()
    def _follow(self, rate: float) -> None:
        self.heads.follow(rate)
        if self.trunk != "frozen":
            ahead = self._weights(CRITIC)
            for name, behind in self._weights(TARGET).items():
                behind.lerp_(ahead[name].detach(), rate)

    def _reading(self, name: str) -> AbstractContextManager[None]:
        """Inside, hidden states are the critic's or its target's."""
        lm = self._core.lm
        if self.trunk == "copy":
            return lm.reading_copy(name)
        return reading_with(lm.network, name, trains=name == CRITIC)

    def _weights(self, name: str) -> dict[str, nn.Parameter]:
        """What the trunk of the critic, or of its target, has for itself."""
        lm = self._core.lm
        return lm.copy_weights(name) if self.trunk == "copy" else adapter_weights(lm.network, name)

    def _parts(
        self, episodes: Sequence[Episode], redrawn: Sequence[Episode]
    ) -> Generator[tuple[Sequence[int], UtteranceStates, UtteranceStates], None, None]:
        """The batch in parts that fit the memory.

        Yields:
            Which episodes, and their states as the critic and as its target read them.
        """
        said = self._said(redrawn, episodes) if redrawn else None
        if self.trunk == "frozen":
            whole = joined([self._frozen(episode) for episode in episodes])
            whole = whole if said is None else with_redrawn(whole, torch.cat(said))
            yield range(len(episodes)), whole, whole
            return
        core = self._core
        batch = core.pack(list(episodes))
        for row in batch.rows:
            with torch.no_grad(), self._reading(TARGET):
                target = utterance_states(core, row, batch)
            if said is not None:
                target = with_redrawn(target, torch.cat([said[i] for i in row.episodes]))
            with self._reading(CRITIC):
                yield row.episodes, utterance_states(core, row, batch), target

    @torch.no_grad()
    def _frozen(self, episode: Episode) -> UtteranceStates:
        """Read alone, so that its bits do not depend on what else is in a batch, and only once."""
        key, lm = _said_in(episode), self._core.lm
        if key not in self._known:
            batch, before = self._core.pack([episode]), lm.num_read_tokens
            with lm.reference():
                states = utterance_states(self._core, batch.rows[0], batch)
            self._known[key] = (states, lm.num_read_tokens - before)
        else:  # what is spared is counted: a resumed run remembers nothing, and counts alike
            lm.num_read_tokens += self._known[key][1]
        known, _ = self._known[key]
        earned = [turn.reward or 0.0 for turn in episode.turns]
        return replace(known, reward=known.reward.new_tensor(earned))

    @torch.no_grad()
    def _said(self, redrawn: Sequence[Episode], episodes: Sequence[Episode]) -> list[Tensor]:
        """Hidden states of redrawn utterances as the target reads them, by episode."""
        core, found = self._core, dict[int, Tensor]()
        if self.trunk == "frozen":
            found = {index: self._frozen(episode).said for index, episode in enumerate(redrawn)}
        else:
            batch = core.pack(list(redrawn))
            for row in batch.rows:
                with self._reading(TARGET):
                    said = utterance_states(core, row, batch).said
                found |= {i: said[n : n + 1] for n, i in enumerate(row.episodes)}
        parts, start = [], 0
        for episode in episodes:
            stop = start + len(episode.turns)
            parts.append(torch.cat([found[i] for i in range(start, stop)]))
            start = stop
        return parts
