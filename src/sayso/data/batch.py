"""Episodes become tensors here and nowhere else.

A packed row is one forward pass: several *trees* side by side, no padding. A tree is the prompt of
a group, stored once, and one branch per attempt that continues it. Where a decision sees its own
observation alone (``Episode.context``), a tree is an observation, and a branch an action that was
taken then, each stored once, however often and by whomever it was met. What may look at what is
said by ``PackedRow.forest``, where a token stands in its own text by ``position``.

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
from sayso.types import EndReason, Episode, Turn


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedRow:
    """One forward pass.

    Attributes:
        ids: Token ids.
        position: Place of each token in its own text, from 0.
        tree: Which tree each token belongs to.
        branch: Which branch of it; 0 is the shared prompt.
        source: For each action token, where in the row the token before it (in its text) is.
            Those of an episode are adjacent and in order.
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
    """Pack episodes: a prompt that several texts begin with is stored once.

    Args:
        episodes: Valid ones, each with at least one action token.
        max_tokens: Budget of a row, for its tokens and its action tokens. A tree that exceeds it is
            cut into trees that repeat the prompt; only a single episode longer than that makes a
            longer row.
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
        whole = [index for index in members if episodes[index].context == "episode"]
        trees += _trees(episodes, whole, len(prompt), max_tokens)
    alone = [i for members in groups.values() for i in members if episodes[i].context == "turn"]
    trees += _thickets(episodes, alone, max_tokens)
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


Text = tuple[tuple[int, ...], tuple[int, ...]]
"""A context, and an action in it; an empty one stands for the context itself."""


def _texts(episode: Episode) -> dict[Text, int]:
    """What is read of an episode turn by turn, contexts before actions: tokens of each."""
    found: dict[Text, int] = {}
    for turn in episode.turns:
        found[turn.observation_ids, ()] = len(turn.observation_ids)
        found[turn.observation_ids, turn.action_ids] = len(turn.action_ids)
    if episode.final_ids:
        found[episode.final_ids, ()] = len(episode.final_ids)
    return found


def _thickets(
    episodes: Sequence[Episode], members: Sequence[int], max_tokens: int
) -> list[list[int]]:
    """Cut episodes of separate turns into parts that fit the budget; what is equal counts once.

    Actions that share a text have states and logits of their own, so those fit the budget as well.
    """
    parts: list[list[int]] = []
    known: set[Text] = set()
    used = num_actions = 0
    for index in members:
        own, actions = _texts(episodes[index]), episodes[index].num_action_tokens
        more = sum(count for text, count in own.items() if text not in known)
        if not parts or max(used + more, num_actions + actions) > max_tokens:
            parts.append([])
            known, used, num_actions, more = set(), 0, 0, sum(own.values())
        parts[-1].append(index)
        known |= own.keys()
        used, num_actions = used + more, num_actions + actions
    return parts


def _size(episodes: Sequence[Episode], tree: Sequence[int]) -> int:
    """Tokens in a row, or action tokens where more of them share those."""
    if episodes[tree[0]].context == "turn":
        texts: dict[Text, int] = {}
        for index in tree:
            texts |= _texts(episodes[index])
        num_actions = sum(episodes[index].num_action_tokens for index in tree)
        return max(sum(texts.values()), num_actions)
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
        self.num_trees = 0

    def add(self, episodes: Sequence[Episode], members: Sequence[int]) -> None:
        """Attempts at one task, or episodes of separate turns."""
        if episodes[members[0]].context == "turn":
            self._add_thicket(episodes, members)
        else:
            self._add_tree(episodes, members)

    def _extend(self, ids: Sequence[int], first_position: int, branch: int) -> None:
        """Append tokens of one text to the latest tree; branch 0 begins a new one."""
        self.num_trees += branch == 0
        self.ids += ids
        self.position += range(first_position, first_position + len(ids))
        self.tree += [self.num_trees - 1] * len(ids)
        self.branch += [branch] * len(ids)

    def _note(self, turn: Turn, index: int, *, before: int, start: int) -> None:
        """An action of an episode: where it stands, and where the token before it does."""
        stop = start + len(turn.action_ids)
        self.source += [before, *range(start, stop - 1)]
        self.place += range(start, stop)
        self.target += turn.action_ids
        self.logprob += turn.action_logprobs
        self.episode += [index] * len(turn.action_ids)

    def _add_thicket(self, episodes: Sequence[Episode], members: Sequence[int]) -> None:
        """Every context once, behind it once every action that was taken there."""
        taken: dict[tuple[int, ...], list[tuple[int, ...]]] = {}
        for context, action in dict.fromkeys(t for i in members for t in _texts(episodes[i])):
            branches = taken.setdefault(context, [])
            if action:
                branches.append(action)
        end: dict[Text, int] = {}
        for context, actions in taken.items():
            self._extend(context, 0, 0)
            end[context, ()] = len(self.ids) - 1
            for branch, action in enumerate(actions, start=1):
                self._extend(action, len(context), branch)
                end[context, action] = len(self.ids) - 1
        for index in members:
            episode = episodes[index]
            for turn in episode.turns:
                context, action = turn.observation_ids, turn.action_ids
                start = end[context, action] + 1 - len(action)
                self._note(turn, index, before=end[context, ()], start=start)
            if episode.end is EndReason.TRUNCATED:
                last = episode.turns[-1]
                behind = last.observation_ids, last.action_ids
                where = (episode.final_ids, ()) if episode.final_ids else behind
                self.final.append((end[where], index))

    def _add_tree(self, episodes: Sequence[Episode], members: Sequence[int]) -> None:
        """The prompt once, then every attempt."""
        prompt = episodes[members[0]].turns[0].observation_ids
        self._extend(prompt, 0, 0)
        end_of_prompt = len(self.ids) - 1
        for branch, index in enumerate(members, start=1):
            episode, position, before = episodes[index], len(prompt), end_of_prompt
            for number, turn in enumerate(episode.turns):
                if number:
                    self._extend(turn.observation_ids, position, branch)
                    position += len(turn.observation_ids)
                    before = len(self.ids) - 1
                self._note(turn, index, before=before, start=len(self.ids))
                self._extend(turn.action_ids, position, branch)
                position += len(turn.action_ids)
                before = len(self.ids) - 1
            self._extend(episode.final_ids, position, branch)
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
    for tree in trees:
        row.add(episodes, tree)

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
