"""A frozen model, a task and a mode: what an agent sees, and what its actions make the model say.

Dimensions: n = decisions, m = numbers of an action, k = slots, e = numbers that show one,
o = numbers of an observation.
"""

from __future__ import annotations

import difflib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from sayso.control.choices import Listed, Proposals, Slate, nearest, placed, taken
from sayso.control.features import Array, Components, encoder
from sayso.control.fitting import Fitter, components
from sayso.control.generate import Answer, generate
from sayso.control.moves import Decode, Mover, Prefix, Steer
from sayso.control.options import ControlOptions
from sayso.control.probes import plain_engine, prompts, said_plainly
from sayso.control.seat import Seat
from sayso.envs.registry import EnvSource, source
from sayso.errors import EnvContractError, OptionValueError, UnknownOptionError
from sayso.models.lm import LanguageModel
from sayso.models.load import load
from sayso.sampling.decisions import Asked

_log = logging.getLogger("sayso")
DISCRETE = ("candidates", "acts")
SB3_BUFFER = 1_000_000
"""Transitions that an off-policy agent of Stable-Baselines3 makes room for by default."""
TOLD_BYTES = 2**30


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """One decision as the agent meets it.

    Attributes:
        asked: Context, seed and budget.
        observation: What the agent sees ``[o]``.
        slate: What may be said, in the modes that choose.
    """

    asked: Asked
    observation: Array
    slate: Slate | None = None


class Controller:
    """Turns decisions into observations and actions into answers, many at once.

    It holds no episode, so that any number of environments and agents share one. The model is only
    read: no weight, buffer or mode of it changes.

    Args:
        lm: The frozen model.
        task: Opens the task's environment.
        options: Mode and all else.
        fitted: Arrays of an earlier controller (its ``fitted``), instead of fitting anew; or
            ``{"directions": array}`` with directions of the user's own.

    Attributes:
        fitted: Directions, components and token space, by name: what a checkpoint keeps.
        observation_space: ``Box`` of float32.
        action_space: ``Box(-1, 1)`` or ``Discrete``.
    """

    def __init__(
        self,
        lm: LanguageModel,
        task: EnvSource,
        options: ControlOptions,
        *,
        fitted: Mapping[str, Array] | None = None,
    ) -> None:
        self.lm, self.task, self.options = lm, task, options
        self._encoder = encoder(lm, options.observation)
        self._engine = plain_engine(lm, options)
        task.open().require_tasks(options.split, where=task.id)
        needed = ("state_names", "state_of(conversation, listed)")
        self._tracker = self._able("see_state", *needed) if options.see_state else None
        self.fitted = Fitter(lm, task, options, self._encoder, self._engine).fitted(fitted or {})
        self._state = components(self.fitted, "state")
        self._mover: Mover | None = None
        self._slots: Proposals | Listed | None = None
        if options.mode in ("steer", "prefix", "decode"):
            self._mover = self._made_mover()
            self.reserve = self._mover.reserve
            num_actions = self._mover.size
        else:
            self._slots, self.reserve = self._made_slots(), 0
            num_actions = options.num_dims
        self.action_space: spaces.Space[Any] = spaces.Box(-1.0, 1.0, (num_actions,), np.float32)
        if options.mode in DISCRETE and self._slots is not None:
            self.action_space = spaces.Discrete(self._slots.num_slots)
        self.observation_space = self._space()
        self._tell_memory()

    def seat(self) -> Seat:
        """A place for one episode."""
        return Seat(self.lm, self.task, self.options, reserve=self.reserve)

    def look(self, asked: Sequence[Asked]) -> list[Scene]:
        """Decisions as the agent meets them; proposals of all are drawn together."""
        if not asked:
            return []
        states = self._encoder.contexts(asked)
        if self._state is not None:
            states = self._state(states)
        slates = self._slots.slates(asked) if self._slots is not None else [None] * len(asked)
        return [
            Scene(asked=one, observation=self._seen(one, state, slate), slate=slate)
            for one, state, slate in zip(asked, states, slates, strict=True)
        ]

    def answer(self, scenes: Sequence[Scene], actions: NDArray[Any]) -> list[Answer]:
        """What the model says under each action.

        Args:
            scenes: Decisions.
            actions: ``[n, m]`` in [-1, 1], beyond which they are cut off; or ``[n]`` slots.

        Raises:
            EnvContractError: If a number is not finite.
        """
        if not np.isfinite(np.asarray(actions, np.float64)).all():
            raise EnvContractError(
                where="control, action",
                problem=f"holds a number that is not finite: {actions!r}.",
                fix="The agent has diverged: lower its learning rate.",
            )
        if self._mover is not None:
            clipped = np.clip(np.asarray(actions, np.float32), -1.0, 1.0)
            return generate(self.lm, [one.asked for one in scenes], self._mover.control(clipped))
        return [self._chosen(scene, action) for scene, action in zip(scenes, actions, strict=True)]

    def answer_plainly(self, asked: Sequence[Asked]) -> list[Answer]:
        """What the model says under no control."""
        return said_plainly(self._engine, asked)

    def mask(self, scene: Scene) -> NDArray[np.bool_]:
        """Which slots may be taken ``[k]``.

        Raises:
            AttributeError: In a mode whose actions are not slots, as if it had no masks at all.
        """
        if scene.slate is None or self.options.mode not in DISCRETE:
            raise AttributeError(f"mode {self.options.mode!r} has no action masks")
        return scene.slate.is_live

    def neutral(self) -> NDArray[np.float32] | None:
        """The action under which the model speaks as it is; ``None`` if there is none."""
        if self.options.mode == "steer":
            return np.zeros(self.action_space.shape or (), np.float32)
        if self.options.mode == "decode":
            from sayso.control.decoding import neutral

            return np.array(neutral(self.options.knobs), np.float32)
        return None

    def _chosen(self, scene: Scene, action: Any) -> Answer:
        if scene.slate is None:
            raise TypeError("a mode that chooses has a slate")
        if self.options.mode == "wolpertinger":
            point = np.clip(np.asarray(action, np.float32), -1.0, 1.0)
            return nearest(
                scene.slate, point, scene.asked.seed, num_neighbours=self.options.num_neighbours
            )
        return taken(scene.slate, int(action))

    def _seen(self, asked: Asked, state: Array, slate: Slate | None) -> Array:
        """Everything that the agent sees: what the text is read as, dialogue state, slots."""
        parts: list[NDArray[Any]] = [state]
        if self._tracker is not None:
            tracked = self._tracker.state_of(self.lm.chat.text(asked.context), asked.choices)
            parts.append(np.asarray(tracked, np.float32).clip(-1.0, 1.0))
        if slate is not None and slate.shown is not None:
            shown = placed(slate) if self.options.mode == "wolpertinger" else slate.shown
            parts.append(shown.reshape(-1))
        return np.concatenate(parts).astype(np.float32)

    def _space(self) -> spaces.Box:
        """Every entry is bounded, because states have length √d; shown slots come behind."""
        width = self._encoder.width
        parts = [self._bounds(self._state, width)]
        if self._tracker is not None:
            parts.append(np.ones(len(self._tracker.state_names)))
        if self._slots is not None and self._slots.size:
            bounds = (
                np.ones(self._slots.size)
                if self.options.mode == "wolpertinger"
                else self._bounds(components(self.fitted, "answer"), width)
            )
            parts += [bounds] * self._slots.num_slots
        high = np.concatenate(parts).astype(np.float32)
        return spaces.Box(-high, high, dtype=np.float32)

    def _bounds(self, projected: Components | None, width: int) -> NDArray[np.float64]:
        if projected is None:
            return np.full(width, np.sqrt(width) + 1e-3)
        reach = np.sqrt(width) + np.linalg.norm(projected.mean)
        found: NDArray[np.float64] = reach / projected.scale + 1e-3
        return found

    def _made_mover(self) -> Mover:
        options, fitted = self.options, self.fitted
        if options.mode == "decode":
            return Decode(options)
        if options.mode == "prefix":
            return Prefix(self.lm, options, fitted["token_mean"], fitted["token_axes"])
        return Steer(self.lm, options, np.asarray(fitted["directions"], np.float32))

    def _made_slots(self) -> Proposals | Listed:
        options = self.options
        if options.mode == "acts":
            (first,) = prompts(self.lm, self.task, options, 1)
            count = options.num_acts or len(first.choices)
            if not first.choices:
                raise OptionValueError(
                    where=f"control.mode = 'acts', {self.task.id}",
                    problem="the environment lists no actions (info['choices']).",
                    fix="Use an environment that does, such as sayso/Maze-v0, or another mode.",
                )
            needed = ("act_names", "names_of(listed)")
            named = self._able("named_acts", *needed) if options.named_acts else None
            count = count if named is None else len(named.act_names)
            return Listed(self.lm, self._encoder, options, count, named=named)
        return Proposals(self._engine, self._encoder, options, components(self.fitted, "answer"))

    def _able(self, option: str, *needed: str) -> Any:
        """An environment that has what an option asks of it."""
        env = self.task.open()
        if any(not hasattr(env, name.partition("(")[0]) for name in needed):
            raise OptionValueError(
                where=f"control.{option}, {self.task.id}",
                problem=f"the environment has no {' and '.join(needed)}.",
                fix="Use sayso/Desk-v0, or give yours these.",
            )
        return env

    def _tell_memory(self) -> None:
        (width,) = self.observation_space.shape
        num_bytes = replay_bytes(width, SB3_BUFFER)
        if num_bytes > TOLD_BYTES:
            _log.warning(
                "Observations have %d numbers: the replay buffer that SAC, TD3, DDPG and DQN make "
                "room for by default takes up to %.1f GB. Pass buffer_size=20_000, or all of "
                "sayso.control.sb3_defaults(SAC, env).", width, num_bytes / 1e9,
            )  # fmt: skip


def replay_bytes(width: int, num_transitions: int) -> int:
    """Memory of Stable-Baselines3's replay buffer: each observation and its successor, float32."""
    return num_transitions * width * 2 * 4


def controller(
    lm: Any = "smollm2",
    task: Any = "sayso/Writing-v0",
    mode: str = "steer",
    *,
    task_kwargs: Mapping[str, Any] | None = None,
    fitted: Mapping[str, Array] | None = None,
    **options: Any,
) -> Controller:
    """A controller from names.

    Args:
        lm: What ``sayso.GRPO`` takes as a model, or a ``LanguageModel``.
        task: A registered text environment, an environment, or a function that makes one.
        mode: See ``ControlOptions``.
        task_kwargs: Given to the environment.
        fitted: See ``Controller``.
        **options: Other options of ``ControlOptions`` by name.

    Raises:
        UnknownOptionError: If there is no such option, with the nearest.
        OptionValueError: If one has a wrong value.
    """
    chosen = control_options(mode, options)
    opened = task if isinstance(task, EnvSource) else source(task, **(task_kwargs or {}))
    model = lm if isinstance(lm, LanguageModel) else load(_named(lm))
    return Controller(model, opened, chosen, fitted=fitted)


def control_options(mode: Any, options: Mapping[str, Any]) -> ControlOptions:
    """Options from names; see ``controller``."""
    names = [field.name for field in fields(ControlOptions)]
    for name in options:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            fix = f"Did you mean `{near[0]}`?" if near else f"Options: {', '.join(names)}."
            raise UnknownOptionError(where=f"control, {name}", problem="no such option.", fix=fix)
    from sayso.config.load import build

    return build(ControlOptions, {"mode": mode, **options}, source="control")


def _named(lm: Any) -> Any:
    return str(lm) if isinstance(lm, Path) else lm
