"""Many control environments as one ``VecEnv`` of Stable-Baselines3: one generation for all."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvStepReturn

from sayso.control.controller import Controller, Scene
from sayso.control.env import begin_info, drawn, step_info
from sayso.control.generate import Answer
from sayso.control.seat import Played
from sayso.errors import OptionValueError
from sayso.sampling.decisions import Asked


class LMControlVec(VecEnv):  # type: ignore[misc]  # the package is an extra: its types are not there
    """``num_envs`` episodes side by side that share a model and their generation.

    As ``DummyVecEnv`` does: an episode that ends is reset at once, and the observation that comes
    back is the first of the next. The last one lies in ``info["terminal_observation"]``, and
    ``info["TimeLimit.truncated"]`` says that it was cut off and is to be bootstrapped from.

    Args:
        moved: The controller they share.
        num_envs: How many.
    """

    def __init__(self, moved: Controller, num_envs: int) -> None:
        if num_envs < 1:
            raise OptionValueError(
                where="make_vec, num_envs", problem=f"got {num_envs}.", fix="Use 1 or more."
            )
        self.controller, self.render_mode = moved, None
        self._seats = [moved.seat() for _ in range(num_envs)]
        self._rngs = [np.random.default_rng() for _ in range(num_envs)]
        self._scenes: list[Scene] = []
        self._actions: NDArray[Any] = np.zeros(0)
        super().__init__(num_envs, moved.observation_space, moved.action_space)

    def reset(self) -> NDArray[np.float32]:
        """Begin every episode anew; with the seeds given to ``seed``, if any were."""
        for place, seed in enumerate(self._seeds):
            if seed is not None:
                self._rngs[place] = np.random.default_rng(seed)
        asked = [self._begin(place) for place in range(self.num_envs)]
        self._scenes = self.controller.look(asked)
        self._reset_seeds()
        self._reset_options()
        return self._observations()

    def step_async(self, actions: NDArray[Any]) -> None:
        """Take the actions; ``step_wait`` plays them."""
        self._actions = np.asarray(actions)

    def step_wait(self) -> VecEnvStepReturn:
        """Play all actions, with one generation for what is said and one look at what follows."""
        before = [
            drawn(seat, scene, action)
            for seat, scene, action in zip(self._seats, self._scenes, self._actions, strict=True)
        ]
        answers = self.controller.answer(
            [scene for scenes, _ in before for scene in scenes],
            np.concatenate([actions for _, actions in before]),
        )
        played, first = self._play([len(scenes) for scenes, _ in before], answers)
        infos = [
            step_info(self.controller, scenes[0], action, answer, done)
            for (scenes, _), action, answer, done in zip(
                before, self._actions, first, played, strict=True
            )
        ]
        self._follow(played, infos)
        rewards = np.array([one.reward for one in played], np.float32)
        dones = np.array([one.is_over for one in played])
        return self._observations(), rewards, dones, infos

    def close(self) -> None:
        """Nothing is held open."""

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """An attribute of each environment: one of the controller, or ``action_masks``.

        Raises:
            AttributeError: If there is none of this name.
        """
        places = list(self._get_indices(indices))
        if attr_name == "action_masks":
            return [self._masks_of(place) for place in places]
        if attr_name in ("render_mode", "controller"):
            return [getattr(self, attr_name)] * len(places)
        return [getattr(self.controller, attr_name)] * len(places)

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Refused: environments that share a controller have nothing of their own to set.

        Raises:
            AttributeError: Always.
        """
        raise AttributeError(f"{attr_name} cannot be set: these environments share a controller")

    def env_method(
        self, method_name: str, *args: Any, indices: VecEnvIndices = None, **kwargs: Any
    ) -> list[Any]:
        """Call a method of each environment."""
        found = self.get_attr(method_name, indices)
        return [method(*args, **kwargs) for method in found]

    def env_is_wrapped(self, wrapper_class: type[Any], indices: VecEnvIndices = None) -> list[bool]:
        """None is."""
        return [False for _ in self._get_indices(indices)]

    def _begin(self, place: int) -> Asked:
        seed = int(self._rngs[place].integers(2**31))
        asked = self._seats[place].begin(seed, self._options[place])
        self.reset_infos[place] = begin_info(self._seats[place])
        return asked

    def _play(
        self, counts: Sequence[int], answers: Sequence[Answer]
    ) -> tuple[list[Played], list[Answer]]:
        """Each seat plays its own answers; what it led to, and the first answer of each."""
        played, first, start = [], [], 0
        for seat, count in zip(self._seats, counts, strict=True):
            played.append(seat.play(answers[start : start + count]))
            first.append(answers[start])
            start += count
        return played, first

    def _follow(self, played: Sequence[Played], infos: Sequence[dict[str, Any]]) -> None:
        """What comes next in every seat, the first decision of the next episode after an end."""
        asked: list[Asked] = []
        ends: dict[int, int] = {}
        for place, one in enumerate(played):
            infos[place]["TimeLimit.truncated"] = one.truncated
            if one.is_over and one.asked is not None:
                ends[place] = len(asked)
                asked.append(one.asked)
            if one.is_over:
                asked.append(self._begin(place))
            elif one.asked is not None:
                asked.append(one.asked)
        scenes = self.controller.look(asked)
        for place, one in enumerate(played):
            if place in ends:
                infos[place]["terminal_observation"] = scenes[ends[place]].observation
            elif one.is_over:
                infos[place]["terminal_observation"] = np.zeros(
                    self.observation_space.shape, np.float32
                )
        self._scenes = [scene for place, scene in enumerate(scenes) if place not in ends.values()]

    def _observations(self) -> NDArray[np.float32]:
        return np.stack([copy.copy(scene.observation) for scene in self._scenes])

    def _masks_of(self, place: int) -> Any:
        if self.controller.options.mode not in ("candidates", "acts"):
            raise AttributeError("action_masks")
        return lambda: self.controller.mask(self._scenes[place])
