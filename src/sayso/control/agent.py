"""An agent of Stable-Baselines3 as a policy over text: what ``sayso.evaluate`` measures."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sayso.control.controller import Controller, Scene
from sayso.control.defaults import controller_of
from sayso.control.generate import Answer
from sayso.control.wrapped import chosen_by, drawing, refuse_memory, same, seen_through
from sayso.envs.base import Observation
from sayso.envs.registry import EnvSource, source
from sayso.envs.spaces import observation_of
from sayso.errors import OptionValueError
from sayso.evaluation.evaluate import evaluate
from sayso.evaluation.report import EvalReport
from sayso.rollout.limits import RolloutLimits
from sayso.sampling.base import Completion, Policy, Request
from sayso.sampling.decisions import Asked, Decided, DecisionQueue
from sayso.seeds import derive

Choose = Callable[[Sequence[Scene]], NDArray[Any]]
"""From decisions to actions ``[n, m]`` or slots ``[n]``."""


class ControlEngine:
    """Answers requests by a controlled model. Satisfies ``Engine``.

    Each request is a decision; all that are queued are met together. Log-probabilities are those
    of the tokens under the control.

    Args:
        moved: What an agent sees and does.
        choose: Who chooses; ``None``: nobody, the model speaks as it is.
    """

    def __init__(self, moved: Controller, choose: Choose | None) -> None:
        self._moved, self._choose = moved, choose
        self._queue = DecisionQueue(moved.lm)

    @property
    def max_context(self) -> int:
        """Most tokens a session may hold, less what the control needs; an act needs to be whole."""
        moved = self._moved
        return moved.lm.max_context - moved.reserve - (moved.options.least_room - 1)

    @property
    def path(self) -> str:
        """How it computes."""
        return f"a controlled model, mode {self._moved.options.mode}"

    def submit(self, request: Request) -> None:
        """Queue a request; see ``Engine``."""
        self._queue.submit(request)

    def poll(self) -> list[Completion]:
        """Answer all that is queued, in order of submission."""
        least = self._moved.options.least_room  # kept free by ``max_context``
        asked = [
            replace(one, max_new_tokens=max(one.max_new_tokens, least))
            for one in self._queue.asked()
        ]
        if not asked:
            return []
        return self._queue.answer(
            [
                Decided(ids=answer.ids, logprobs=answer.logprobs, finish=answer.finish)
                for answer in self._answers(asked)
            ]
        )

    def close(self, session: str) -> None:
        """Forget a session."""
        self._queue.close(session)

    def sync(self) -> None:
        """Drop every session."""
        self._queue.clear()

    def _answers(self, asked: Sequence[Asked]) -> list[Answer]:
        if self._choose is None:
            return self._moved.answer_plainly(asked)
        scenes = self._moved.look(asked)
        return self._moved.answer(scenes, self._choose(scenes))


class SB3Agent:
    """An agent of Stable-Baselines3 or sb3-contrib, as a policy over a text environment.

    ``sayso.evaluate(SB3Agent(model), split="held_out")`` measures it as it measures every other
    agent: the same tasks, seeds and intervals, so that two of them can be paired. It sees what it
    saw while it learned: observations are normalised by the ``VecNormalize`` of its environment.

    Args:
        model: The agent; anything with ``predict(observations, deterministic=...)``.
        env: Its control environment or ``Controller``; unset: the one it learned in.
        deterministic: Act by the mean or the best action, not by a draw; draws follow the seeds
            of the evaluation.

    Attributes:
        controller: What it sees and does.

    Raises:
        OptionValueError: If the agent's actions are others than the environment's, a wrapper may
            change what it sees or does, or it carries a state from turn to turn.
    """

    def __init__(self, model: Any, env: Any = None, *, deterministic: bool = True) -> None:
        if env is None:
            env = model.get_env() if hasattr(model, "get_env") else None
        self.model, self.controller = model, controller_of(env)
        self.deterministic = deterministic
        space = getattr(model, "action_space", self.controller.action_space)
        if space != self.controller.action_space:
            raise OptionValueError(
                where="SB3Agent",
                problem=f"the agent's actions are {space}, the environment's "
                f"{self.controller.action_space}.",
                fix="Pass the environment that it learned in, with the same options.",
            )
        refuse_memory(model)
        self._seen = seen_through(env, model)
        self._choose: Choose | None = self._predicted

    @classmethod
    def uncontrolled(cls, env: Any) -> SB3Agent:
        """The model by itself, as what an agent must beat."""
        return cls._chosen_by(env, None)

    @classmethod
    def constant(cls, env: Any, action: Any) -> SB3Agent:
        """One action always, whatever is seen."""
        return cls._chosen_by(env, lambda scenes: np.stack([np.asarray(action)] * len(scenes)))

    @classmethod
    def _chosen_by(cls, env: Any, choose: Choose | None) -> SB3Agent:
        agent = object.__new__(cls)
        agent.model, agent.controller = None, controller_of(env)
        agent.deterministic, agent._choose, agent._seen = True, choose, same
        return agent

    def policy(self) -> Policy:
        """Who acts, for the rollout."""
        options = self.controller.options
        return Policy(
            engine=ControlEngine(self.controller, self._choose),
            chat=self.controller.lm.chat,
            max_new_tokens=options.max_new_tokens,
            name=type(self.model).__name__ if self.model is not None else "model",
        )

    def limits(self) -> RolloutLimits:
        """Where its episodes are cut off."""
        options = self.controller.options
        return RolloutLimits(max_turns=options.max_turns, context=options.context)

    def evaluate(
        self,
        env: Any = None,
        *,
        split: str = "held_out",
        num_episodes: int = 100,
        seed: int = 0,
    ) -> EvalReport:
        """Mean return with its interval, per part of the reward.

        Args:
            env: Another text environment than its own.
            split: Which tasks.
            num_episodes: How many.
            seed: Same seed, same agent: same report.

        Raises:
            UnknownNameError: If the split has no tasks.
        """
        played = self.controller.task if env is None else _opened(env)
        played.open().require_tasks(split, where=played.id)
        return evaluate(
            self.policy(), played, split=split, num_episodes=num_episodes, seed=seed,
            limits=self.limits(),
        )  # fmt: skip

    def predict(
        self, observation: Observation, *, seed: int = 0, choices: Sequence[str] = ()
    ) -> str:
        """What the agent makes the model say to one text or conversation."""
        policy = self.policy()
        policy.engine.submit(
            Request(
                session="predict",
                new_ids=policy.chat.prompt(observation_of(observation, where="predict")),
                seed=derive(seed, "predict"),
                max_new_tokens=policy.max_new_tokens,
                choices=tuple(choices),
            )
        )
        (completion,) = policy.engine.poll()
        return policy.chat.answer(completion.ids, ())

    def _predicted(self, scenes: Sequence[Scene]) -> NDArray[Any]:
        if self.deterministic:
            return self._acted(scenes)
        # One by one, each under its own seed: the draw is the same whoever is asked beside it.
        drawn = []
        for scene in scenes:
            with drawing(derive(scene.asked.seed, "action"), self.model.action_space):
                drawn.append(self._acted([scene]))
        return np.concatenate(drawn)

    def _acted(self, scenes: Sequence[Scene]) -> NDArray[Any]:
        options: dict[str, Any] = {"deterministic": self.deterministic}
        if "action_masks" in inspect.signature(self.model.predict).parameters:
            options["action_masks"] = np.stack([self.controller.mask(one) for one in scenes])
        seen = self._seen(np.stack([scene.observation for scene in scenes]))
        return chosen_by(self.model, seen, options)


def best_constant(
    env: Any, *, split: str = "train", num_episodes: int = 64, seed: int = 0
) -> tuple[NDArray[np.float32], EvalReport]:
    """The best of the actions that turn one number fully up or down: what an agent can hope for.

    The oracle direction, found by trying: 2m actions of one entry ±1, the rest neutral. It is the
    best of these on the tasks tried, which flatters it a little there; measure it again elsewhere.

    Args:
        env: A control environment with actions of numbers.
        split: Tasks to try them on.
        num_episodes: Episodes for each.
        seed: Of the evaluations: all meet the same tasks.

    Returns:
        The action and its report.

    Raises:
        OptionValueError: If actions are slots.
    """
    moved = controller_of(env)
    shape = moved.action_space.shape
    if not shape:
        raise OptionValueError(
            where="best_constant",
            problem=f"mode {moved.options.mode!r} has no directions.",
            fix="Use it with steer, prefix or decode.",
        )
    middle = moved.neutral()
    base = np.zeros(shape, np.float32) if middle is None else middle
    tried = []
    for place in range(shape[0]):
        for value in (-1.0, 1.0):
            action = base.copy()
            action[place] = value
            report = SB3Agent.constant(moved, action).evaluate(
                split=split, num_episodes=num_episodes, seed=seed
            )
            tried.append((action, report))
    return max(tried, key=lambda pair: pair[1].mean.mean)


def _opened(env: Any) -> EnvSource:
    return env if isinstance(env, EnvSource) else source(env)
