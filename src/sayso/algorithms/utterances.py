"""Utterance-level decisions: what was seen, what was said, where it led, read from hidden states.

The state of a turn is the hidden state of the last token of its context; the utterance is that of
its own last token, stop token included. The next state lies behind the environment's reply.

Dimensions: m = turns, f = truncated episodes, d = width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from sayso.algorithms.core import Core
from sayso.algorithms.token_states import TokenStates
from sayso.data.batch import Batch, PackedRow
from sayso.sampling.base import Request
from sayso.seeds import derive
from sayso.types import EndReason, Episode, Task, Turn


@dataclass(frozen=True, slots=True, kw_only=True)
class UtteranceStates:
    """Turns of some episodes.

    Attributes:
        states: Where each turn was decided, and which state follows it.
        said: The utterance, in its context.
        reward: What it earned; not graded earns nothing.
        redrawn: Utterances that the policy would say now in the same contexts, if asked for.
    """

    states: TokenStates
    said: Float[Tensor, "m d"]
    reward: Float[Tensor, " m"]
    redrawn: Float[Tensor, "m d"] | None = None


def utterance_states(core: Core, row: PackedRow, batch: Batch) -> UtteranceStates:
    """One forward of the trunk as it is switched now; gradients flow if they are enabled.

    Args:
        core: Holds the model.
        row: What to read.
        batch: What the row belongs to.
    """
    hidden = core.read(row)
    episodes = [batch.episodes[index] for index in row.episodes]
    turns = [turn for episode in episodes for turn in episode.turns]
    lengths = torch.tensor([len(turn.action_ids) for turn in turns], device=hidden.device)
    last = lengths.cumsum(0) - 1
    following, num_cut = list[int](), 0
    for episode in episodes:
        following += range(len(following) + 1, len(following) + 1 + len(episode.turns))
        following[-1] = -1
        if episode.end is EndReason.TRUNCATED:
            following[-1], num_cut = len(turns) + num_cut, num_cut + 1
    return UtteranceStates(
        states=TokenStates(
            hidden=hidden.index_select(0, row.source[last - lengths + 1]),
            final=hidden.index_select(0, row.final_source),
            following=torch.tensor(following, device=hidden.device),
        ),
        said=hidden.index_select(0, row.place[last]),
        reward=row.logprob_sampled.new_tensor([turn.reward or 0.0 for turn in turns]),
    )


def joined(parts: Sequence[UtteranceStates]) -> UtteranceStates:
    """Several as one, in order."""
    num_turns = sum(len(part.said) for part in parts)
    before, cut_before, following = 0, num_turns, []
    for part in parts:
        own = part.states.following
        is_cut = own >= len(part.said)
        moved = torch.where(is_cut, own - len(part.said) + cut_before, own + before)
        following.append(torch.where(part.states.is_end, own, moved))
        before += len(part.said)
        cut_before += len(part.states.final)
    redrawn = [part.redrawn for part in parts if part.redrawn is not None]
    return UtteranceStates(
        states=TokenStates(
            hidden=torch.cat([part.states.hidden for part in parts]),
            final=torch.cat([part.states.final for part in parts]),
            following=torch.cat(following),
        ),
        said=torch.cat([part.said for part in parts]),
        reward=torch.cat([part.reward for part in parts]),
        redrawn=torch.cat(redrawn) if redrawn else None,
    )


def with_redrawn(states: UtteranceStates, redrawn: Float[Tensor, "m d"]) -> UtteranceStates:
    """The same, with other utterances beside those said."""
    return replace(states, redrawn=redrawn)


def redraw(core: Core, episodes: Sequence[Episode], *, seed: int) -> list[Episode]:
    """What the policy says now in every context of some episodes, one turn each, not graded.

    Args:
        core: Holds the engine, which samples as in training.
        episodes: Where the contexts come from.
        seed: Decides the draws.

    Returns:
        One episode of one turn for each turn, in order. The environment is not asked.
    """
    engine, sampling = core.engine, core.sampling
    contexts = [e.context_ids(number) for e in episodes for number in range(len(e.turns))]
    names = [f"redraw/{seed}/{index}" for index in range(len(contexts))]
    for index, (name, context) in enumerate(zip(names, contexts, strict=True)):
        room = engine.max_context - len(context)
        budget = min(sampling.max_new_tokens, room)
        engine.submit(
            Request(
                session=name,
                new_ids=context,
                seed=derive(seed, "redraw", index),
                max_new_tokens=budget,
            )
        )
    found = {}
    while completions := engine.poll():
        for completion in completions:
            found[completion.session] = completion
            engine.close(completion.session)
    turns = [
        Turn(
            observation_ids=context,
            action_ids=found[name].ids,
            action_logprobs=found[name].logprobs,
            finish=found[name].finish,
        )
        for name, context in zip(names, contexts, strict=True)
    ]
    return [
        Episode(
            task=Task(id=name, env="", split=""), sample_index=0, policy_version=core.version,
            turns=(turn,), end=EndReason.TERMINATED,
        )
        for name, turn in zip(names, turns, strict=True)
    ]  # fmt: skip
