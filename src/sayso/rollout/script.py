"""What an attempt must say before it may choose: the beginning of an episode that was played."""

from __future__ import annotations

from dataclasses import dataclass

from sayso.types import Episode, Turn


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """The first decisions of an attempt, token by token.

    Attributes:
        turns: Whole turns to play again.
        beginning: First tokens of the turn after them.
        beginning_logprobs: As they were recorded.
        observation_ids: What that turn must begin with; ``None``: whatever comes.
    """

    turns: tuple[Turn, ...] = ()
    beginning: tuple[int, ...] = ()
    beginning_logprobs: tuple[float, ...] = ()
    observation_ids: tuple[int, ...] | None = None

    @property
    def num_tokens(self) -> int:
        """Action tokens that are not chosen."""
        return sum(len(turn.action_ids) for turn in self.turns) + len(self.beginning)

    @property
    def num_turns(self) -> int:
        """Turns that must come about."""
        return len(self.turns) + (self.observation_ids is not None)

    def expected_ids(self, place: int) -> tuple[int, ...] | None:
        """Observation tokens of turn ``place`` when it was played; ``None``: not known."""
        if place < len(self.turns):
            return self.turns[place].observation_ids
        return self.observation_ids if place == len(self.turns) else None


def script_of(episode: Episode, num_tokens: int) -> Script:
    """The first so many action tokens of an episode.

    Raises:
        ValueError: If it has fewer, or the number is negative.
    """
    if not 0 <= num_tokens <= episode.num_action_tokens:
        raise ValueError(
            f"num_tokens must be in [0, {episode.num_action_tokens}], got {num_tokens}"
        )
    left = num_tokens
    for place, turn in enumerate(episode.turns):
        if left < len(turn.action_ids):
            return Script(
                turns=episode.turns[:place],
                beginning=turn.action_ids[:left],
                beginning_logprobs=turn.action_logprobs[:left],
                observation_ids=turn.observation_ids,
            )
        left -= len(turn.action_ids)
    return Script(turns=episode.turns)
