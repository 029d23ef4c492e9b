"""One episode of a text task, played by answers of a controlled model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sayso.control.generate import Answer
from sayso.control.options import ControlOptions
from sayso.envs.base import SPLITS, TextEnv
from sayso.envs.registry import EnvSource
from sayso.errors import EnvContractError, OptionValueError
from sayso.models.lm import LanguageModel
from sayso.models.slates import fitting
from sayso.rollout.boundary import Bounds, Outcome, reset_env, step_env
from sayso.rollout.limits import RolloutLimits
from sayso.sampling.decisions import Asked
from sayso.seeds import derive
from sayso.types import Failure, Task

_LIMITS = RolloutLimits()
BOUNDS = Bounds(max_reward=_LIMITS.max_reward, max_chars=_LIMITS.max_observation_chars)


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """What an answer led to.

    Attributes:
        reward: Its reward, the mean over draws; 0.0 for a turn that was not graded.
        terminated: The task ended: nothing follows.
        truncated: It was cut off: ``asked`` is what the value of the rest is read from.
        text: The answer, or the first of several.
        parts: Parts of the first answer's reward.
        asked: The decision that follows; ``None`` after a real end.
        num_env_tokens: Tokens that passed between model and task, over all draws: what was asked
            and what was answered.
        num_rewards: Answers that were graded.
    """

    reward: float
    terminated: bool
    truncated: bool
    text: str
    parts: Mapping[str, float | None]
    asked: Asked | None
    num_env_tokens: int
    num_rewards: int

    @property
    def is_over(self) -> bool:
        """Whether the episode ended, one way or the other."""
        return self.terminated or self.truncated


class Seat:
    """One episode at a time: the environment, the tokens of the conversation, the turns.

    Args:
        lm: Its chat format turns text into tokens and back.
        source: Opens the task's environment.
        options: Limits and number of draws.
        reserve: Tokens that the control itself needs in the context.

    Raises:
        OptionValueError: If several draws are asked for and the task has more than one turn.
    """

    def __init__(
        self, lm: LanguageModel, source: EnvSource, options: ControlOptions, *, reserve: int = 0
    ) -> None:
        self.lm, self.source, self.options, self.reserve = lm, source, options, reserve
        self.envs = [source.open() for _ in range(options.num_draws)]
        self.max_turns = options.max_turns or self.envs[0].max_turns
        if options.num_draws > 1 and self.max_turns != 1:
            raise OptionValueError(
                where="control.num_draws",
                problem=f"got {options.num_draws}, but {source.id} has more than one turn: "
                "answers lead to different places.",
                fix="Use num_draws = 1.",
            )
        self.task: Task | None = None
        self.observation = ""
        self._seed = self._num_turns = 0
        self._was_graded = False
        self._asked: Asked | None = None

    def begin(self, seed: int, wanted: Mapping[str, Any] | None = None) -> Asked:
        """Pose a task.

        Args:
            seed: Decides everything of the episode.
            wanted: ``{"task": id, "split": name}``, both optional.

        Raises:
            UnknownNameError: If there is no such task.
            EnvContractError: If the environment fails, or its prompt leaves no room in the context.
        """
        self.task = self._chosen(seed, dict(wanted or {}))
        self._seed, self._num_turns, self._was_graded = seed, 0, False
        outcomes = [
            self._sound(reset_env(env, self.task, derive(seed, "env") & 0x7FFF_FFFF, BOUNDS))
            for env in self.envs
        ]
        ids, most = self.lm.chat.prompt(outcomes[0].observation), self.lm.max_context - self.reserve
        least = self.options.least_room
        if len(ids) + least > most:  # as the rollout has it, where such an attempt fails
            raise EnvContractError(
                where=f"{self.source.id}, task {self.task.id}",
                problem=f"the first prompt has {len(ids)} tokens and leaves no room in a context "
                f"of {most}" + (f" for an act of {least}." if least > 1 else "."),
                fix="Shorten it, or use a model with a longer context.",
            )
        return self._ask((), ids, outcomes[0])

    def draws(self, asked: Asked) -> list[Asked]:
        """The decision, once for each answer that is to be drawn."""
        return [asked, *(_reseeded(asked, draw) for draw in range(1, self.options.num_draws))]

    def play(self, answers: Sequence[Answer]) -> Played:
        """Give the answers to one action to the environment.

        Raises:
            EnvContractError: If it fails, came before ``begin``, or graded nothing at all.
        """
        asked, task = self._asked, self.task
        if asked is None or task is None:
            raise EnvContractError(
                where=f"{self.source.id}, step",
                problem="came before reset or after the end of the episode.",
                fix="Call reset first.",
            )
        texts = [self.lm.chat.answer(answer.ids, ()) for answer in answers]
        outcomes = [
            self._sound(step_env(env, task, text, BOUNDS))
            for env, text in zip(self.envs, texts, strict=True)
        ]
        self._num_turns += 1
        graded = [outcome.reward for outcome in outcomes if outcome.reward is not None]
        self._was_graded = self._was_graded or bool(graded)
        first, self._asked = outcomes[0], None
        out_of_turns = self.max_turns is not None and self._num_turns >= self.max_turns
        truncated, following = first.truncated or out_of_turns, None
        if not first.terminated:
            following, room = self._follow(asked, answers[0], first)
            truncated = truncated or room < self.options.least_room
            self._asked = None if truncated else following
        if (first.terminated or truncated) and not self._was_graded:
            raise EnvContractError(
                where=f"{self.source.id}, task {task.id}",
                problem="gave no reward in the whole episode.",
                fix="Grade at least one turn: an agent of numbers cannot skip an episode.",
            )
        return Played(
            reward=sum(graded) / len(graded) if graded else 0.0,
            terminated=first.terminated,
            truncated=truncated and not first.terminated,
            text=texts[0],
            parts=dict(first.parts),
            asked=following,
            num_env_tokens=sum(len(asked.observation) + len(answer.ids) for answer in answers),
            num_rewards=len(graded),
        )

    def _follow(self, asked: Asked, answer: Answer, outcome: Outcome) -> tuple[Asked, int]:
        """The next decision, and how many tokens an answer to it may have."""
        chat = self.lm.chat
        if self.options.context == "turn":
            before: tuple[int, ...] = ()
            new = chat.prompt(outcome.observation)
        else:
            before = asked.context + answer.ids
            new = chat.reply(outcome.observation, closed=chat.is_closed(answer.ids))
        following = self._ask(before, new, outcome)
        return following, self.lm.max_context - self.reserve - len(before) - len(new)

    def _ask(self, before: tuple[int, ...], new: tuple[int, ...], outcome: Outcome) -> Asked:
        # Cut only where the episode is cut off: nothing is said to it, its value is read from it.
        least = self.options.least_room
        whole = fitting(before + new, least, self.lm.max_context - self.reserve)
        room = self.lm.max_context - self.reserve - len(whole)
        shown = outcome.observation
        self.observation = (
            shown if isinstance(shown, str) else "\n".join(f"{m.role}: {m.content}" for m in shown)
        )
        self._asked = Asked(
            context=whole,
            observation=new,
            choices=outcome.choices,
            seed=derive(self._seed, "turn", self._num_turns),
            max_new_tokens=min(self.options.max_new_tokens, room),
        )
        return self._asked

    def _chosen(self, seed: int, wanted: dict[str, Any]) -> Task:
        env: TextEnv = self.envs[0]
        wanted.setdefault("split", self.options.split)
        if wanted["split"] in SPLITS or "task" not in wanted:
            env.require_tasks(str(wanted["split"]), where=self.source.id)
        return env.choose(seed, wanted)

    def _sound(self, result: Outcome | Failure) -> Outcome:
        """A failed call stops the agent: it is no reward of 0, and nothing else can be learned."""
        if isinstance(result, Outcome):
            return result
        raise EnvContractError(
            where=self.source.id,
            problem=f"{result.kind}: {result.message}.",
            fix="Mend the environment or its reward; sayso.check_text_env(env) tries it out.",
        )


def _reseeded(asked: Asked, draw: int) -> Asked:
    return Asked(
        context=asked.context, observation=asked.observation, choices=asked.choices,
        seed=derive(asked.seed, "draw", draw), max_new_tokens=asked.max_new_tokens,
    )  # fmt: skip
