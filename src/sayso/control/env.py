"""``sayso/LMControl-v0``: steer a frozen language model, through a plain Gymnasium environment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from sayso.control.controller import Controller, Scene, controller
from sayso.control.features import Array
from sayso.control.seat import Played, Seat
from sayso.errors import EnvContractError, ExtraMissingError

if TYPE_CHECKING:
    from stable_baselines3.common.vec_env import VecEnv

Observation = NDArray[np.float32]


class LMControlEnv(gymnasium.Env[Observation, Any]):
    """One step is one utterance of a frozen model, moved by an action of numbers.

    The observation is what the frozen model makes of the conversation so far; the reward is the
    task's. ``info`` holds ``text`` (what was said), ``reward_parts``, ``task``, ``prompt`` (the
    task's last message) and in mode ``wolpertinger`` ``executed_action``. After a real end the
    observation is 0: nothing follows, so its value is 0 whatever it shows.

    Nothing here is particular to Stable-Baselines3. For many environments with one batched
    generation see ``make_vec``.

    Args:
        lm: A name, directory, ``(model, tokenizer)`` pair, ``LanguageModel``, or a ``Controller``,
            in which case nothing else may be given.
        task: The text environment, as ``sayso.GRPO`` takes it.
        mode: What an action is; see ``ControlOptions``.
        task_kwargs: Given to the text environment.
        fitted: See ``Controller``.
        render_mode: ``"ansi"``: ``render()`` returns the last prompt and answer.
        **options: Any of ``ControlOptions``.
    """

    observation_space: gymnasium.Space[Any]
    action_space: gymnasium.Space[Any]
    metadata: dict[str, Any] = {"render_modes": ["ansi"]}  # noqa: RUF012  # Gymnasium's own type

    def __init__(
        self,
        lm: Any = "smollm2",
        task: Any = "sayso/Writing-v0",
        mode: str = "steer",
        *,
        task_kwargs: Mapping[str, Any] | None = None,
        fitted: Mapping[str, Array] | None = None,
        render_mode: str | None = None,
        **options: Any,
    ) -> None:
        if isinstance(lm, Controller):
            self.controller = lm
        else:
            self.controller = controller(
                lm, task, mode, task_kwargs=task_kwargs, fitted=fitted, **options
            )
        self.render_mode = render_mode
        self.observation_space = self.controller.observation_space
        self.action_space = self.controller.action_space
        self._seat: Seat = self.controller.seat()
        self._scene: Scene | None = None
        self._shown = ("", "")

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Pose a task.

        Args:
            seed: The same seed poses the same tasks, and draws the same tokens for the same
                actions, from here on.
            options: ``{"task": id, "split": name}``, both optional.
        """
        super().reset(seed=seed)
        asked = self._seat.begin(int(self.np_random.integers(2**31)), options)
        (self._scene,) = self.controller.look([asked])
        self._shown = (self._seat.observation, "")
        return self._scene.observation, begin_info(self._seat)

    def step(self, action: Any) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Let the model speak under an action."""
        if self._scene is None:
            raise EnvContractError(
                where="sayso/LMControl-v0, step",
                problem="came before reset or after the end of the episode.",
                fix="Call reset first.",
            )
        scenes, actions = drawn(self._seat, self._scene, action)
        answers = self.controller.answer(scenes, actions)
        prompt = self._seat.observation
        played = self._seat.play(answers)
        self._shown = (prompt, played.text)
        following = self.controller.look([] if played.asked is None else [played.asked])
        info = step_info(self.controller, scenes[0], action, answers[0], played)
        self._scene = None if played.is_over else following[0]
        observation = following[0].observation if following else self.nothing()
        return observation, played.reward, played.terminated, played.truncated, info

    def action_masks(self) -> NDArray[np.bool_]:
        """Which discrete actions may be taken now, for agents that take masks (sb3-contrib).

        Raises:
            EnvContractError: Outside an episode.
            AttributeError: In a mode whose actions are not discrete.
        """
        if self._scene is None:
            raise EnvContractError(
                where="action_masks", problem="no episode is running.", fix="Call reset first."
            )
        return self.controller.mask(self._scene)

    def render(self) -> str:
        """The last prompt and answer."""
        prompt, text = self._shown
        return f"{prompt}\n> {text}"

    def nothing(self) -> Observation:
        """What is observed after a real end."""
        return np.zeros(self.controller.observation_space.shape, np.float32)


def drawn(seat: Seat, scene: Scene, action: Any) -> tuple[list[Scene], NDArray[Any]]:
    """One decision and its action, once for each answer that is drawn to it."""
    scenes = [
        Scene(asked=asked, observation=scene.observation, slate=scene.slate)
        for asked in seat.draws(scene.asked)
    ]
    return scenes, np.stack([np.asarray(action)] * len(scenes))


def begin_info(seat: Seat) -> dict[str, Any]:
    """``info`` of a reset."""
    task = seat.task
    return {"task": "" if task is None else task.id, "prompt": seat.observation}


def step_info(
    moved: Controller, scene: Scene, action: Any, answer: Any, played: Played
) -> dict[str, Any]:
    """``info`` of a step."""
    info: dict[str, Any] = {
        "text": played.text,
        "reward_parts": dict(played.parts),
        "num_tokens": len(answer.ids),
        "num_env_tokens": played.num_env_tokens,
        "num_rewards": played.num_rewards,
    }
    if answer.executed is not None:
        info["executed_action"] = np.array(answer.executed, np.float32)
    if moved.options.mode == "acts" and scene.slate is not None:
        info["invalid_act"] = int(action) not in scene.slate.slots
    return info


def make_vec(
    num_envs: int,
    lm: Any = "smollm2",
    task: Any = "sayso/Writing-v0",
    mode: str = "steer",
    *,
    task_kwargs: Mapping[str, Any] | None = None,
    fitted: Mapping[str, Array] | None = None,
    **options: Any,
) -> VecEnv:
    """Many environments whose answers are generated in one batch, as Stable-Baselines3 wants them.

    Args:
        num_envs: How many.
        lm: As in ``LMControlEnv``.
        task: As there.
        mode: As there.
        task_kwargs: As there.
        fitted: As there.
        **options: As there.

    Returns:
        A ``VecEnv`` in a ``VecMonitor``: it resets by itself, puts the last observation of an
        episode under ``terminal_observation`` and cut-offs under ``TimeLimit.truncated``.

    Raises:
        ExtraMissingError: If Stable-Baselines3 is not installed.
    """
    require_sb3("make_vec")
    from stable_baselines3.common.vec_env import VecMonitor

    from sayso.control.vec import LMControlVec

    moved = (
        lm
        if isinstance(lm, Controller)
        else controller(lm, task, mode, task_kwargs=task_kwargs, fitted=fitted, **options)
    )
    monitored: VecEnv = VecMonitor(LMControlVec(moved, num_envs))
    return monitored


def require_sb3(where: str, module: str = "stable_baselines3") -> None:
    """Say which extra is missing, where one is.

    Raises:
        ExtraMissingError: If the package is not installed.
    """
    import importlib

    try:
        importlib.import_module(module)
    except ImportError as error:
        raise ExtraMissingError(
            where=where,
            problem=f"{module.replace('_', '-')} is not installed.",
            fix="Run: pip install 'sayso[sb3]'",
        ) from error
