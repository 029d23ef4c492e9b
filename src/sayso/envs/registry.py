"""Environments by name, and how to open one as often as needed."""

from __future__ import annotations

import copy
import difflib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import gymnasium

from sayso.calls import imported, refuse_arguments
from sayso.envs.adapt import adapted
from sayso.envs.base import SPLITS, TextEnv
from sayso.envs.listed import num_tasks
from sayso.errors import EnvContractError, SaysoError, UnknownNameError, in_a_line

_ENTRY_POINTS: dict[str, tuple[str, dict[str, Any]]] = {}
BUILT_IN = {
    "sayso/Writing-v0": "sayso.envs.writing:WritingEnv",
    "sayso/Maze-v0": "sayso.envs.maze:MazeEnv",
    "sayso/TinyLang-v0": "sayso.envs.tinylang:TinyLangEnv",
    "sayso/RandomWalks-v0": "sayso.envs.random_walks:RandomWalksEnv",
    "sayso/Wordle-v0": "sayso.envs.wordle:WordleEnv",
    "sayso/TextNav-v0": "sayso.envs.text_nav:TextNavEnv",
    "sayso/TwentyQuestions-v0": "sayso.envs.twenty_questions:TwentyQuestionsEnv",
    "sayso/Desk-v0": "sayso.envs.desk:DeskEnv",
    "sayso/Tutor-v0": "sayso.envs.tutor:TutorEnv",
    "sayso/Persona-v0": "sayso.envs.persona:PersonaEnv",
    "sayso/Summary-v0": "sayso.envs.summary:SummaryEnv",
    "sayso/Recommend-v0": "sayso.envs.recommend:RecommendEnv",
    "sayso/Vision-v0": "sayso.envs.vision:VisionEnv",
    "sayso/Sound-v0": "sayso.envs.sound:SoundEnv",
    "sayso/Gym-v0": "sayso.envs.games_gym:GymTextEnv",
    "sayso/BabyAI-v0": "sayso.envs.games_babyai:BabyAIEnv",
    "sayso/ReasoningGym-v0": "sayso.envs.games_reasoning:ReasoningGymEnv",
    "sayso/TextArena-v0": "sayso.envs.games_arena:TextArenaEnv",
    "sayso/TextWorld-v0": "sayso.envs.games_textworld:TextWorldEnv",
}

NUMERIC = {
    "sayso/LMControl-v0": "sayso.control.env:LMControlEnv",
    "sayso/DialogueActs-v0": "sayso.control.dialogue:DialogueActsEnv",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvSource:
    """Opens an environment; a rollout needs many of the same kind.

    Attributes:
        id: Its name, for logs and task records.
        opener: Makes a fresh one.
        spec: JSON from which a process of its own can open it: ``{"env": id or "module:Class",
            "kwargs": {...}}``; ``None`` for objects that only this process knows.
    """

    id: str
    opener: Callable[[], TextEnv]
    spec: Mapping[str, Any] | None = None

    def open(self) -> TextEnv:
        """A fresh environment."""
        return self.opener()


def register(env_id: str, entry_point: str | type[Any], **kwargs: Any) -> None:
    """Make an environment known by name, to sayso and to Gymnasium.

    Args:
        env_id: ``"namespace/Name-v0"``. Any change of reward or rules bumps the version.
        entry_point: ``"module:Class"``, imported when first opened; or a class of a module.
        **kwargs: Given to the class.

    Raises:
        EnvContractError: If the entry point is no ``"module:Class"``, or the name stands for
            something else already. Registering the same again changes nothing.
    """
    if isinstance(entry_point, type):
        entry_point = f"{entry_point.__module__}:{entry_point.__qualname__}"
    module, _, attribute = str(entry_point).partition(":")
    if not module or not attribute.isidentifier():
        raise EnvContractError(
            where=f"register({env_id!r})",
            problem=f"the entry point {entry_point!r} names no module and class.",
            fix="Use 'module:Class', or the class itself, at the top of its module.",
        )
    known = gymnasium.registry.get(env_id)
    if known is not None and (known.entry_point, known.kwargs) != (entry_point, kwargs):
        raise EnvContractError(
            where=f"register({env_id!r})",
            problem=f"the name stands for {known.entry_point!r} with {known.kwargs} already.",
            fix="Choose another name or the next version, for example '…-v1'.",
        )
    _ENTRY_POINTS[env_id] = (entry_point, kwargs)
    if known is None:
        gymnasium.register(env_id, entry_point=entry_point, kwargs=kwargs, order_enforce=False)


def register_all() -> None:
    """Register what comes with sayso; nothing is imported or opened."""
    for env_id, entry_point in BUILT_IN.items():
        register(env_id, entry_point)
    for env_id, entry_point in NUMERIC.items():  # known to Gymnasium alone: they are not of text
        if env_id not in gymnasium.registry:
            gymnasium.register(env_id, entry_point=entry_point)


def ids() -> list[str]:
    """Registered names."""
    if not _ENTRY_POINTS:
        register_all()
    return sorted(_ENTRY_POINTS)


def describe(env_id: str) -> tuple[str, dict[str, int]]:
    """First line of an environment's docstring and the size of each of its splits."""
    env = source(env_id).open()
    about = (inspect.getdoc(type(env)) or "").split("\n")[0]
    return about, {split: num_tasks(env, split) for split in SPLITS}


def source(env: Any, /, **kwargs: Any) -> EnvSource:
    """How to open an environment.

    Args:
        env: A registered id (``"module:Id"`` imports the module first), ``"module:Class"``, a
            class or function that makes one, or an environment, which is copied for each use.
        **kwargs: Given to the class or function.

    Raises:
        UnknownNameError: If no environment has this name.
        EnvContractError: If it is not an environment of text.
    """
    if isinstance(env, str):
        return _named(env, kwargs)
    if isinstance(env, gymnasium.Env):
        if kwargs:
            raise EnvContractError(
                where=type(env).__name__,
                problem=f"is made already, so {sorted(kwargs)} cannot be passed on.",
                fix="Pass the class, or give them to its constructor.",
            )
        name = env.spec.id if env.spec is not None else type(env).__name__
        again = getattr(env, "process_spec", None)
        return EnvSource(id=name, opener=lambda: adapted(_copied(env, name), name), spec=again)
    if callable(env):
        name = getattr(env, "__name__", type(env).__name__)
        spec = None
        module = getattr(env, "__module__", "")
        if isinstance(env, type) and "." not in env.__qualname__ and module != "__main__":
            spec = {"env": f"{module}:{env.__qualname__}", "kwargs": kwargs}
        return EnvSource(id=name, opener=lambda: _called(env, kwargs, name), spec=spec)
    raise EnvContractError(
        where=repr(env),
        problem="is no environment.",
        fix="Pass a registered id, an environment, or a class or function that makes one.",
    )


def from_spec(spec: Mapping[str, Any]) -> TextEnv:
    """Open an environment from ``EnvSource.spec``; what a process of its own does."""
    return source(spec["env"], **spec["kwargs"]).open()


def _copied(env: gymnasium.Env[Any, Any], name: str) -> gymnasium.Env[Any, Any]:
    try:
        return copy.deepcopy(env)
    except Exception as error:
        raise EnvContractError(
            where=name,
            problem=f"cannot be copied ({type(error).__name__}: {error}); a rollout needs many.",
            fix="Pass the class, or a function that makes a fresh one.",
        ) from error


def _maker(module: str, attribute: str, name: str) -> Callable[..., Any]:
    """What an entry point names, imported now."""
    found = _module(module, name)
    if not hasattr(found, attribute):
        raise UnknownNameError(
            where=f"environment {name!r}",
            problem=f"its entry point '{module}:{attribute}': the module has no such attribute.",
            fix="Register it as 'module:Class'.",
        )
    maker: Callable[..., Any] = getattr(found, attribute)
    return maker


def _module(module: str, name: str) -> ModuleType:
    fix = "Use 'module:Id' or 'module:Class' with a module on the Python path."
    return imported(module, where=f"environment {name!r}", fix=fix)


def _called(maker: Callable[..., Any], kwargs: Mapping[str, Any], name: str) -> TextEnv:
    """A fresh environment of the caller's own class, whose errors the caller wants as they are."""
    refuse_arguments(maker, kwargs, where=name)
    return adapted(maker(**kwargs), name)


def _made(maker: Callable[..., Any], kwargs: Mapping[str, Any], name: str) -> TextEnv:
    """A fresh environment; whatever its constructor raises is told in one line."""
    if maker is not gymnasium.make:
        refuse_arguments(maker, kwargs, where=f"environment {name!r}")
    try:
        env = adapted(maker(**kwargs), name)
    except SaysoError:
        raise
    except Exception as error:
        raise EnvContractError(
            where=f"environment {name!r}",
            problem=f"cannot be made: {in_a_line(error)}.",
            fix="Check the arguments it is given, or mend its constructor.",
        ) from error
    env.opened_as = name
    return env


def _named(name: str, kwargs: dict[str, Any]) -> EnvSource:
    if not _ENTRY_POINTS:
        register_all()
    spec = {"env": name, "kwargs": kwargs}
    module, _, rest = name.partition(":")
    if rest and "/" not in module:
        found = _module(module, name)
        if hasattr(found, rest):
            maker = getattr(found, rest)
            return EnvSource(id=name, opener=lambda: _made(maker, kwargs, name), spec=spec)
        name = rest
    if name in _ENTRY_POINTS:
        entry_point, defaults = _ENTRY_POINTS[name]
        if spec["env"] == name and name not in BUILT_IN:  # another process has not registered it
            spec = {"env": entry_point, "kwargs": {**defaults, **kwargs}}
        module, _, attribute = entry_point.partition(":")

        def open_registered() -> TextEnv:
            maker = _maker(module, attribute, name)
            return _made(maker, {**defaults, **kwargs}, name)

        return EnvSource(id=name, opener=open_registered, spec=spec)
    if name in gymnasium.registry:
        return EnvSource(
            id=name,
            opener=lambda: _made(
                gymnasium.make, {"id": name, "disable_env_checker": True, **kwargs}, name
            ),
            spec=spec,
        )
    near = difflib.get_close_matches(name, [*ids(), *gymnasium.registry], n=1)
    raise UnknownNameError(
        where=f"environment {name!r}",
        problem="is not registered.",
        fix=f"Did you mean {near[0]!r}?" if near else f"There are: {', '.join(ids())}.",
    )
