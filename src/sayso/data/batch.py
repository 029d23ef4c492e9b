"""Episodes become tensors here and nowhere else.

A packed row is one forward pass: several *trees* side by side, no padding. A tree is the prompt of
a group, stored once, and one branch per attempt that continues it. What may look at what is said by
``PackedRow.forest``, where a token stands in its own text by ``position``.

Dimensions: t = positions of a row, n = action tokens of a row.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from torch import Tensor

from sayso.errors import EpisodeError
from sayso.models.forest import Forest
from sayso.types import EndReason, Episode


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedRow:
    """One forward pass.

    Attributes:
        ids: Token ids.
        position: Place of each token in its own episode, from 0.
        tree: Which tree each token belongs to.
        branch: Which branch of it; 0 is the shared prompt.
        source: For each action token, where in the row the token before it (in its episode) is.
        place: Where in the row the action token itself is.
        target: Its id.
        logprob_sampled: Its log-probability (nats), recorded by the sampler.
        episode: Index of its episode in the batch.
        final_source: Where the final context of each truncated episode ends.
        final_episode: Which episode that is.
        episodes: Episodes whose action tokens are here, in order of appearance.
    """

    ids: Int[Tensor, " t"]
    position: Int[Tensor, " t"]
    tree: Int[Tensor, " t"]
    branch: Int[Tensor, " t"]
    source: Int[Tensor, " n"]
    place: Int[Tensor, " n"]
    target: Int[Tensor, " n"]
    logprob_sampled: Float[Tensor, " n"]
    episode: Int[Tensor, " n"]
    final_source: Int[Tensor, " f"]
    final_episode: tuple[int, ...]
    episodes: tuple[int, ...]

    @property
    def is_action(self) -> Bool[Tensor, " n"]:
        """True throughout: only tokens that the sampler recorded as actions are in the n."""
        return torch.ones_like(self.target, dtype=torch.bool)

    @property
    def forest(self) -> Forest:
        """Which token may look at which: itself, and what is earlier in the same text."""
        trees: list[tuple[int, list[int]]] = []
        parts = torch.stack([self.tree, self.branch])
        found, counts = torch.unique_consecutive(parts, dim=1, return_counts=True)
        for branch, count in zip(found[1].tolist(), counts.tolist(), strict=True):
            if branch == 0:
                trees.append((count, []))
            else:
                trees[-1][1].append(count)
        return Forest(tuple((prompt, tuple(branches)) for prompt, branches in trees))


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Episodes of one optimiser step, packed.

    Attributes:
        episodes: All episodes of the step, those that were left out as well: they count.
        rows: One forward pass each; every episode lies in one row, or was left out.
        skipped: Episodes that were left out.
    """

    episodes: Sequence[Episode]
    rows: tuple[PackedRow, ...]
    skipped: tuple[int, ...] = ()

    @property
    def num_actions(self) -> int:
        """Action tokens of the whole step."""
        return sum(episode.num_action_tokens for episode in self.episodes)

    def align(self, per_episode: Sequence[NDArray[np.float64]]) -> list[Tensor]:
        """Numbers per action token of each episode, laid out like the rows' action tokens.

        Raises:
            ValueError: If an episode has not one number per action token.
        """
        aligned = []
        for row in self.rows:
            parts = [np.asarray(per_episode[e], np.float64) for e in row.episodes]
            for e, part in zip(row.episodes, parts, strict=True):
                if len(part) != self.episodes[e].num_action_tokens:
                    raise ValueError(
                        f"episode {e} has {self.episodes[e].num_action_tokens} action tokens, "
                        f"got {len(part)} numbers"
                    )
            joined = torch.from_numpy(np.concatenate(parts))
            aligned.append(joined.to(row.logprob_sampled))
        return aligned

    def by_episode(self, per_row: Sequence[Tensor]) -> list[NDArray[np.float64]]:
        """Undo ``align``: numbers per action token of each episode, in order."""
        found: dict[int, NDArray[np.float64]] = {}
        for row, values in zip(self.rows, per_row, strict=True):
            start = 0
            flat = values.detach().double().cpu().numpy()
            for e in row.episodes:
                stop = start + self.episodes[e].num_action_tokens
                found[e] = flat[start:stop]
                start = stop
        return [found[e] for e in range(len(self.episodes))]


def pack(
    episodes: Sequence[Episode],
    *,
    max_tokens: int,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    skip: Collection[int] = (),
) -> Batch:
    """Pack episodes; attempts at one task that began with one prompt share it.

    Args:
        episodes: Valid ones, each with at least one action token.
        max_tokens: Budget of a row. A tree that exceeds it is cut into trees that repeat the
            prompt; only a single episode longer than that makes a longer row.
        dtype: Of the log-probabilities.
        device: Where the tensors go.
        skip: Indices of episodes to leave out of the rows, because they have no gradient.

    Raises:
        EpisodeError: If an episode failed, or holds no action.
    """
    groups: dict[tuple[str, tuple[int, ...]], list[int]] = {}
    for index, episode in enumerate(episodes):
        if episode.end is EndReason.FAILED or episode.num_action_tokens == 0:
            raise EpisodeError(
                where=f"episode {episode.task.id}#{episode.sample_index}",
                problem="failed or holds no action, so it cannot be trained on.",
                fix="Leave invalid episodes out.",
            )
        if index not in skip:  # of one task, remembered from other steps, prompts may differ
            prompt = episode.turns[0].observation_ids
            groups.setdefault((episode.task.id, prompt), []).append(index)
    trees: list[list[int]] = []
    for (_, prompt), members in groups.items():
        trees += _trees(episodes, members, len(prompt), max_tokens)
    rows: list[list[list[int]]] = []
    used = 0
    for tree in trees:
        size = _size(episodes, tree)
        if not rows or used + size > max_tokens:
            rows.append([])
            used = 0
        rows[-1].append(tree)
        used += size
    built = tuple(_row(episodes, row, dtype=dtype, device=device) for row in rows)
    return Batch(episodes=episodes, rows=built, skipped=tuple(sorted(skip)))


def _trees(
    episodes: Sequence[Episode], members: Sequence[int], prompt: int, max_tokens: int
) -> list[list[int]]:
    """Cut a group into trees that fit the budget."""
    trees: list[list[int]] = []
    used = 0
    for index in members:
        own = len(episodes[index].ids()) - prompt
        if not trees or used + own > max_tokens:
            trees.append([])
            used = prompt
        trees[-1].append(index)
        used += own
    return trees


def _size(episodes: Sequence[Episode], tree: Sequence[int]) -> int:
    prompt = len(episodes[tree[0]].turns[0].observation_ids)
    return prompt + sum(len(episodes[index].ids()) - prompt for index in tree)


class _Row:
    """A row in the making."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.position: list[int] = []
        self.tree: list[int] = []
        self.branch: list[int] = []
        self.source: list[int] = []
        self.place: list[int] = []
        self.target: list[int] = []
        self.logprob: list[float] = []
        self.episode: list[int] = []
        self.final: list[tuple[int, int]] = []

    def extend(self, ids: Sequence[int], first_position: int, tree: int, branch: int) -> None:
        """Append tokens of one text."""
        self.ids += ids
        self.position += range(first_position, first_position + len(ids))
        self.tree += [tree] * len(ids)
        self.branch += [branch] * len(ids)

    def add_tree(self, episodes: Sequence[Episode], members: Sequence[int], tree: int) -> None:
        """The prompt once, then every attempt."""
        prompt = episodes[members[0]].turns[0].observation_ids
        self.extend(prompt, 0, tree, 0)
        end_of_prompt = len(self.ids) - 1
        for branch, index in enumerate(members, start=1):
            episode, position, before = episodes[index], len(prompt), end_of_prompt
            for number, turn in enumerate(episode.turns):
                if number:
                    self.extend(turn.observation_ids, position, tree, branch)
                    position += len(turn.observation_ids)
                    before = len(self.ids) - 1
                start = len(self.ids)
                self.extend(turn.action_ids, position, tree, branch)
                position += len(turn.action_ids)
                self.source += [before, *range(start, len(self.ids) - 1)]
                self.place += range(start, len(self.ids))
                self.target += turn.action_ids
                self.logprob += turn.action_logprobs
                self.episode += [index] * len(turn.action_ids)
                before = len(self.ids) - 1
            self.extend(episode.final_ids, position, tree, branch)
            if episode.end is EndReason.TRUNCATED:
                self.final.append((len(self.ids) - 1, index))


def _row(
    episodes: Sequence[Episode],
    trees: Sequence[Sequence[int]],
    *,
    dtype: torch.dtype,
    device: torch.device | str,
) -> PackedRow:
    row = _Row()
    for number, tree in enumerate(trees):
        row.add_tree(episodes, tree, number)

    def integers(values: Sequence[int]) -> Tensor:
        return torch.tensor(values, dtype=torch.long, device=device)

    return PackedRow(
        ids=integers(row.ids),
        position=integers(row.position),
        tree=integers(row.tree),
        branch=integers(row.branch),
        source=integers(row.source),
        place=integers(row.place),
        target=integers(row.target),
        logprob_sampled=torch.tensor(row.logprob, dtype=dtype, device=device),
        episode=integers(row.episode),
        final_source=integers([place for place, _ in row.final]),
        final_episode=tuple(index for _, index in row.final),
        episodes=tuple(index for tree in trees for index in tree),
    )
