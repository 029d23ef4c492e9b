"""``sayso/ReasoningGym-v0``: generated problems with a checker each; needs the extra ``envs``."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Literal, cast

import numpy as np

from sayso.envs.base import TextEnv
from sayso.envs.cut import cut_tasks, digest_of
from sayso.envs.extras import extra_module, unheard
from sayso.envs.games_answers import is_harmless
from sayso.envs.games_families import EASY, NO_REFERENCE, REFUSED, UNSEEN
from sayso.envs.scripted import Scripted
from sayso.envs.tasks import LazyTasks
from sayso.errors import EnvContractError, OptionValueError
from sayso.types import Task

ENV_ID = "sayso/ReasoningGym-v0"
NUM_TASKS = {"train": 4_000, "held_out": 1_000, "unseen": 1_000}
MAX_LEVEL = 9
SIZE = 20_000
SIZES = {"acre": 1_000}
"""Problems of a family; some list all of them when they are made, `acre` makes them."""
TAGS = ("<answer>", "</answer>")
ASKED = {"whole": "Answer with the result only.", "tag": "Write it between <answer> and </answer>."}


def _oracle(env: TextEnv, draws: np.random.Generator) -> str:
    del draws
    return cast("ReasoningGymEnv", env).worded(str(cast("ReasoningGymEnv", env).entry["answer"]))


def _other(env: TextEnv, draws: np.random.Generator) -> str:
    game = cast("ReasoningGymEnv", env)
    return game.worded(game.another_answer(int(draws.integers(SIZE))))


def _echo(env: TextEnv, draws: np.random.Generator) -> str:
    del draws
    game = cast("ReasoningGymEnv", env)
    return game.worded(str(game.entry["question"]))


class ReasoningGymEnv(TextEnv):
    """One problem of reasoning-gym, one answer; the family's own checker scores it from 0 to 1.

    The question ends with how to answer: with the result alone (``answer="whole"``), or between
    ``<answer>`` tags after whatever thinking (``"tag"``; no tags, no reward). Many checkers give
    a part of the reward for an answer that contains the right one or is close to it;
    ``partial=False`` keeps only full marks. An answer that a checker must not see (it would be
    evaluated, see ``games_answers``), or that it cannot read, earns 0 and is told by the part
    ``unread``. If the checker then fails on the right answer too, that is its fault, and raises.

    ``held_out`` are questions of the same families that are never trained on, cut by a hash of
    the question; ``unseen`` are other families.

    Reward parts, not added to it: ``exact`` (full marks), ``unread``.

    Args:
        families: Families to train on, names or one text with commas.
        unseen_families: Those of the split ``unseen``; none may be trained on.
        level: Of the family's curriculum, from 0; ``None``: the package's defaults.
        config: Changed beyond that, for families that know the names.
        answer: What counts as the answer.
        partial: Give parts of the reward as the checkers do.
    """

    max_turns = 1
    reward_low, reward_high = 0.0, 1.0
    part_low, part_high = 0.0, 1.0
    scripted: Mapping[str, Scripted] = MappingProxyType(
        {
            "oracle": Scripted(act=_oracle, about="the reference answer", is_oracle=True),
            "other": Scripted(
                act=_other, about="the answer to another question of the family", is_oracle=True
            ),
            "echo": Scripted(act=_echo, about="the question, copied"),
        }
    )

    def __init__(
        self,
        *,
        families: Sequence[str] | str = EASY,
        unseen_families: Sequence[str] | str = UNSEEN,
        level: int | None = 0,
        config: Mapping[str, Any] | None = None,
        answer: Literal["whole", "tag"] = "whole",
        partial: bool = True,
    ) -> None:
        self.families, self.unseen = _names(families), _names(unseen_families)
        if answer not in ASKED:
            raise _refusal("answer", answer, "Use 'whole' or 'tag'.")
        if level is not None and not 0 <= level <= MAX_LEVEL:
            raise _refusal("level", level, f"Use 0 to {MAX_LEVEL}, or None.")
        if not self.families or set(self.families) & set(self.unseen):
            raise _refusal(
                "families", self.families, "Name some, and none of them in unseen_families."
            )
        self.course, self.answer, self.partial = level, answer, partial
        self._config = json.dumps(dict(config or {}), sort_keys=True)
        for family in (*self.families, *self.unseen):
            require_family(family)
            if config:
                data_set(family, level, self._config)
        self._entry: dict[str, Any] | None = None
        self._task: Task | None = None

    def tasks(self, split: str) -> Sequence[Task]:
        """Families take turns."""
        families = self.unseen if split == "unseen" else self.families
        if split not in NUM_TASKS or not families:
            return ()
        return _tasks(split, families, self.course, self._config)

    def why_empty(self, split: str) -> str:
        """Families to be named."""
        return "unseen_families=[...] names families for it." if split == "unseen" else ""

    @property
    def entry(self) -> dict[str, Any]:
        """The problem with its answer; what an oracle may see."""
        if self._entry is None:
            raise EnvContractError(
                where=f"{ENV_ID}, step", problem="no question was asked.", fix="Call reset first."
            )
        return self._entry

    @property
    def family(self) -> str:
        """Of the problem."""
        return str(self._task.payload["family"]) if self._task is not None else ""

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        """Ask the task's question."""
        super().reset(seed=seed)
        self._task = task = self.choose(seed, options)
        self._entry = entry = self._problem(int(task.payload["seed"]))
        question = str(entry["question"])
        if digest_of(question) != task.payload["content_sha256"]:
            raise EnvContractError(
                where=f"{ENV_ID}, task {task.id}",
                problem="the package poses another question for this seed than it did.",
                fix="Use the version of reasoning-gym that the tasks were made with.",
            )
        return f"{question.rstrip()}\n{ASKED[self.answer]}", {}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Let the family's checker score the answer; the episode ends."""
        entry = self.entry
        score = self._score(self._answered(action), entry)
        self._entry = None
        earned = score or 0.0
        exact = float(earned >= 1.0)
        parts = {"exact": exact, "unread": float(score is None)}
        reward = earned if self.partial else exact
        return "", reward, True, False, {"reward_parts": parts}

    def worded(self, answer: str) -> str:
        """An answer in the form that is asked for."""
        return answer if self.answer == "whole" else f"{TAGS[0]}{answer}{TAGS[1]}"

    def another_answer(self, seed: int) -> str:
        """The reference answer to another question of the family."""
        return str(self._problem(seed)["answer"])

    def _answered(self, action: str) -> str | None:
        if self.answer == "whole":
            return action.strip()
        _, is_opened, rest = action.rpartition(TAGS[0])
        found, is_closed, _ = rest.partition(TAGS[1])
        return found.strip() if is_opened and is_closed else None

    def _score(self, answer: str | None, entry: Mapping[str, Any]) -> float | None:
        """From 0 to 1; ``None``: the checker may not see the answer, or cannot read it."""
        reference = "" if self.family in NO_REFERENCE else str(entry["answer"])
        is_sound = answer is not None and is_harmless(
            answer, family=self.family, reference=reference
        )
        if not answer or not is_sound:
            return None
        data = self._data_set()
        try:
            score = float(data.score_answer(answer, entry))
        except Exception:
            if not reference:
                raise
            data.score_answer(reference, entry)  # raises if it is the checker that is broken
            return None
        if not 0.0 <= score <= 1.0:
            raise EnvContractError(
                where=f"{ENV_ID}, {self.family}",
                problem=f"the checker gave {score!r}.",
                fix="Use another family, and report it to reasoning-gym.",
            )
        return score

    def _problem(self, seed: int) -> dict[str, Any]:
        return problem_of(self.family, self.course, self._config, seed)

    def _data_set(self) -> Any:
        return data_set(self.family, self.course, self._config)


def _names(given: Sequence[str] | str) -> tuple[str, ...]:
    listed = given.split(",") if isinstance(given, str) else given
    return tuple(dict.fromkeys(name.strip() for name in listed if name.strip()))


def _refusal(option: str, value: Any, fix: str) -> OptionValueError:
    return OptionValueError(where=f"{ENV_ID}, {option}", problem=f"got {value!r}.", fix=fix)


def require_family(family: str) -> None:
    """Refuse what is no family, or one that is unsound, with the reason.

    Raises:
        OptionValueError: With the reason, or the names there are.
        ExtraMissingError: If reasoning-gym is not installed.
    """
    if family in REFUSED:
        raise _refusal("families", family, f"It is refused: {REFUSED[family]}.")
    factory = extra_module("reasoning_gym.factory", extra="envs", where=ENV_ID)
    extra_module("reasoning_gym", extra="envs", where=ENV_ID)
    if family not in factory.DATASETS:
        known = ", ".join(sorted(set(factory.DATASETS) - set(REFUSED)))
        raise _refusal("families", family, f"There are: {known}.")


def problem_of(family: str, level: int | None, config: str, seed: int) -> dict[str, Any]:
    """The problem that a seed poses: question, answer, and what its checker needs."""
    data = data_set(family, level, config)
    found: dict[str, Any] = data[seed % data.size]
    return found


@lru_cache(maxsize=128)
def data_set(family: str, level: int | None, config: str) -> Any:
    """The problems of a family at a level, as many as there are seeds.

    Raises:
        OptionValueError: If ``config`` or the level does not fit.
    """
    require_family(family)
    factory = extra_module("reasoning_gym.factory", extra="envs", where=ENV_ID)
    changes = {**json.loads(config), "seed": 0, "size": SIZES.get(family, SIZE)}
    made, options = factory.DATASETS[family]
    curriculum = factory.CURRICULA.get(family)
    try:
        base = options()
        if curriculum is not None and level is not None:
            course = curriculum()
            course.set_global_level(level)
            base = course.generate_configuration()
        with unheard():  # some leave files open
            return made(config=dataclasses.replace(base, **changes))
    except (AssertionError, TypeError, ValueError) as error:
        fix = f"{family} does not take it: {type(error).__name__}: {error}."
        raise _refusal("level, config", (level, changes), fix) from error


@lru_cache(maxsize=16)
def _tasks(split: str, families: tuple[str, ...], level: int | None, config: str) -> LazyTasks:
    """Shared by all environments of the same families."""

    def pose(index: int, seed: int) -> tuple[dict[str, Any], str]:
        family = families[index % len(families)]
        entry = problem_of(family, level, config, seed)
        payload = {"family": family, "level": level, "config": config}
        return payload, str(entry["question"])

    return cut_tasks(ENV_ID, split, NUM_TASKS[split], pose)
