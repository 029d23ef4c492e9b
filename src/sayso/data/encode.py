"""Stored text to episodes: the tokens that the sampler would have recorded."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from functools import cache

from sayso.envs.base import Observation
from sayso.envs.scripted import Game, Move
from sayso.envs.spaces import media_keys
from sayso.models.chat import ChatFormat
from sayso.types import Context, EndReason, Episode, FinishReason, Task, Turn

STORED = -1
"""Version of the policy behind a stored episode: none of this run's."""
UNKNOWN = math.nan
"""Log-probability of a token whose author did not record it. A ratio to it is not a number, so the
guards refuse the step: nothing can take it for a probability."""

NUM_COMPARED = 100
"""Recorded actions whose tokens are compared with their text: are they of this tokeniser?"""
NO_PARTS: dict[str, float | None] = {}


class Encoder:
    """Makes episodes of games for one model.

    Every text is tokenised once; equal tokens, turns' tokens and log-probabilities are shared, so
    that a hundred thousand short games take a few hundred megabytes.

    Attributes:
        num_shortened: Episodes cut off at the last turn that fits the context.
        num_too_long: Episodes left out because not even the first turn fits.
        num_cut_actions: Actions whose text is longer than ``max_new_tokens``, cut off there.
        num_failed: Episodes left out because a run's ledger says that they failed.
    """

    def __init__(
        self,
        chat: ChatFormat,
        *,
        max_new_tokens: int,
        max_context: int,
        num_ids: int,
        context: Context = "episode",
    ) -> None:
        """Set up.

        Args:
            chat: How text becomes tokens.
            max_new_tokens: Token budget of an action.
            max_context: Length at which an episode is cut off.
            num_ids: Size of the vocabulary.
            context: What a policy sees at each turn; see ``Episode``.
        """
        self.chat, self.max_new_tokens, self.context = chat, max_new_tokens, context
        self.max_context, self.num_ids = max_context, num_ids
        self.num_shortened = self.num_too_long = self.num_cut_actions = self.num_failed = 0
        self._num_to_compare = NUM_COMPARED
        self._known = tuple(range(num_ids))  # one object per id, however often it is met
        self._same: dict[tuple[int, ...], tuple[int, ...]] = {}
        self._texts: dict[str, str] = {}
        self._tasks: dict[str, Task] = {}
        self._prompt_of: dict[str, tuple[int, ...]] = {}
        self._num_attempts: Counter[str] = Counter()
        self._logprobs = cache(lambda length: (UNKNOWN,) * length)
        self._prompt = cache(lambda shown: self.shared(chat.prompt(shown)))
        self._reply = cache(lambda shown, closed: self.shared(chat.reply(shown, closed=closed)))
        self._action = cache(self._tokenised)

    def shared(self, ids: Iterable[int]) -> tuple[int, ...]:
        """The same ids, as the one tuple of them that is kept."""
        found = tuple(ids)
        if found not in self._same:
            unknown = [token for token in found if not self._has(token)]
            if unknown:
                raise ValueError(
                    f"holds the token {max(unknown, key=abs)}; this model's vocabulary has "
                    f"{self.num_ids}"
                )
            if self.chat.media is not None:
                self.chat.media.check_row(found)
            known = tuple(self._known[i] if i < self.num_ids else i for i in found)
            self._same[known] = known
        return self._same[found]

    def _has(self, token: int) -> bool:
        media = self.chat.media
        return 0 <= token < self.num_ids or (media is not None and media.knows(token))

    def encode(self, game: Game) -> Episode | None:
        """The episode of a game; ``None`` if not even its first turn fits."""
        turns: list[Turn] = []
        num_tokens, cut = 0, 0
        pending = self._prompt(game.moves[0].observation)
        for number, move in enumerate(game.moves):
            ids, is_cut = self._action(move.action)
            if num_tokens + len(pending) + len(ids) > self.max_context:
                break
            turns.append(self._turn(move, pending, ids))
            num_tokens += self._kept(pending, ids)
            cut += is_cut
            is_last = number + 1 == len(game.moves)
            if not is_last or not game.terminated:
                shown = game.last if is_last else game.moves[number + 1].observation
                pending = self._following(shown, ids)
        if not turns:
            self.num_too_long += 1
            return None
        is_whole = len(turns) == len(game.moves)
        self.num_shortened += not is_whole
        self.num_cut_actions += cut
        is_over = is_whole and game.terminated
        fits = not is_over and num_tokens + len(pending) <= self.max_context
        next_choices = game.last_choices if is_whole else game.moves[len(turns)].choices
        return self.named(
            Episode(
                task=game.task, sample_index=0, policy_version=STORED, turns=tuple(turns),
                end=EndReason.TERMINATED if is_over else EndReason.TRUNCATED,
                context=self.context,
                final_ids=pending if fits else (),
                final_choices=() if is_over else next_choices,
            )
        )  # fmt: skip

    def recorded(self, episode: Episode) -> Episode | None:
        """An episode of a ledger, whose tokens are this model's own; ``None`` if it is left out.

        Raises:
            ValueError: If it cannot be learned from, its tokens are of another tokeniser, or it was
                played with another context.
        """
        if episode.end is EndReason.FAILED:
            self.num_failed += 1
            return None
        if episode.context != self.context:
            raise ValueError(
                f"was recorded with env.context = {episode.context!r}, and this run's is "
                f"{self.context!r}: set it to {episode.context!r}, or read games as text"
            )
        turns: list[Turn] = []
        num_tokens = 0
        for turn in episode.turns:
            if num_tokens + len(turn.observation_ids) + len(turn.action_ids) > self.max_context:
                break
            turns.append(self._recorded_turn(turn))
            num_tokens += self._kept(turn.observation_ids, turn.action_ids)
        if not turns:
            self.num_too_long += 1
            return None
        is_whole = len(turns) == len(episode.turns)
        pending = episode.final_ids if is_whole else episode.turns[len(turns)].observation_ids
        choices = episode.final_choices if is_whole else episode.turns[len(turns)].choices
        self.num_shortened += not is_whole
        fits = num_tokens + len(pending) <= self.max_context
        return self.named(
            replace(
                episode, turns=tuple(turns), final_choices=choices,
                end=episode.end if is_whole else EndReason.TRUNCATED,
                final_ids=self.shared(pending) if fits else (),
            )
        )  # fmt: skip

    def _kept(self, observation: tuple[int, ...], action: tuple[int, ...]) -> int:
        """Of a turn, tokens that the next one's context begins with."""
        return 0 if self.context == "turn" else len(observation) + len(action)

    def _following(self, shown: Observation, action: tuple[int, ...]) -> tuple[int, ...]:
        """Tokens of what is shown after an action."""
        if self.context == "turn":
            return self._prompt(shown)
        return self._reply(shown, self.chat.is_closed(action))

    def _recorded_turn(self, turn: Turn) -> Turn:
        if not turn.action_ids or not turn.observation_ids:
            raise ValueError("a turn holds no tokens")
        if turn.reward is not None and not math.isfinite(turn.reward):
            raise ValueError(f"reward is {turn.reward}, which is not finite")
        ids = self.shared(turn.action_ids)
        if self._num_to_compare > 0:
            self._num_to_compare -= 1
            if turn.action not in self.chat.text(ids):
                raise ValueError(
                    f"the tokens of the action {turn.action[:40]!r} read "
                    f"{self.chat.text(ids)[:40]!r}: they are of another tokeniser"
                )
        return replace(
            turn, observation_ids=self.shared(turn.observation_ids), action_ids=ids,
            observation=self._text(turn.observation), action=self._text(turn.action),
        )  # fmt: skip

    def named(self, episode: Episode) -> Episode:
        """The same, stamped as stored, with a task id that stands for one prompt only.

        Attempts that share an id share the prompt in a packed batch; where a data set gives one id
        to several prompts, those after the first get a name of their own.
        """
        task, prompt = episode.task, episode.turns[0].observation_ids
        if self._prompt_of.setdefault(task.id, prompt) != prompt:
            digest = hashlib.sha256(repr(prompt).encode()).hexdigest()[:12]
            task = Task(
                id=f"{task.id}~{digest}", env=task.env, split=task.split, payload=task.payload
            )
            self._prompt_of[task.id] = prompt
        known = self._tasks.setdefault(task.id, task)
        task = known if known == task else task
        sample = self._num_attempts[task.id]
        self._num_attempts[task.id] += 1
        return replace(episode, task=task, sample_index=sample, policy_version=STORED)

    def notes(self) -> list[str]:
        """What was changed or left out, in sentences."""
        found = []
        if self.num_failed:
            found.append(f"{self.num_failed} stored episodes failed and were left out.")
        if self.num_too_long:
            found.append(
                f"{self.num_too_long} stored episodes were left out: their first turn does not fit "
                f"a context of {self.max_context} tokens."
            )
        if self.num_shortened:
            found.append(
                f"{self.num_shortened} stored episodes do not fit a context of {self.max_context} "
                "tokens and were cut off at the last whole turn. Raise the model's context, or let "
                'it see the latest observation alone: env.context = "turn".'
            )
        if self.num_cut_actions:
            found.append(
                f"{self.num_cut_actions} stored actions are longer than sampling.max_new_tokens = "
                f"{self.max_new_tokens} and were cut off there: raise it to learn them whole."
            )
        return found

    def _turn(self, move: Move, pending: tuple[int, ...], ids: tuple[int, ...]) -> Turn:
        listed = move.choices if move.action in move.choices else ()
        return Turn(
            observation_ids=pending,
            action_ids=ids,
            action_logprobs=self._logprobs(len(ids)),
            finish=FinishReason.STOP if self.chat.is_closed(ids) else FinishReason.LENGTH,
            reward=move.reward,
            reward_parts=move.parts or NO_PARTS,
            observation=self._text(as_text(move.observation)),
            action=self._text(move.action),
            choices=move.choices,
            candidates=tuple(self._action(choice)[0] for choice in listed),
            media=media_keys(move.observation),
        )

    def _text(self, text: str) -> str:
        return self._texts.setdefault(text, text)

    def _tokenised(self, text: str) -> tuple[tuple[int, ...], bool]:
        """Ids of an action, and whether its text, not only its stop token, was cut off."""
        longer = self.chat.action(text, max_tokens=self.max_new_tokens + 1)
        is_longer = len(longer) > self.max_new_tokens
        is_cut = is_longer and not self.chat.is_closed(longer)
        return self.shared(longer[: self.max_new_tokens]), is_cut


def as_text(observation: Observation) -> str:
    """What a ledger shows of an observation."""
    if isinstance(observation, str):
        return observation
    return "\n".join(f"{message.role}: {message.content}" for message in observation)
