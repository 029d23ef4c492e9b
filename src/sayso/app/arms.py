"""Arms of a comparison: what differs between them, and the run that one of them is."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sayso.algorithms.kinds import HEADS_ONLY
from sayso.app.config import RunConfig, load_config
from sayso.app.control import ControlConfig, control_config, is_control
from sayso.app.opening import env_source
from sayso.app.refusals import has_beta
from sayso.config.load import flat, to_table
from sayso.envs.nothing import NO_ENV
from sayso.envs.registry import EnvSource, source
from sayso.errors import OptionValueError
from sayso.training.budget import Budget
from sayso.training.options import TrainOptions

SHARED = ("model", "env", "sampling", "data", "warm_start")
"""Sections that arms are meant to have in common; what differs there is told."""
DECISIVE = ("env.reward", "warm_start.")
"""What is rewarded, and where training begins: told whatever else an arm has options for."""
OF_CONTROL = {
    "sampling.max_new_tokens": "control.max_new_tokens",
    "sampling.temperature": "control.temperature",
    "env.context": "control.context",
    "env.max_turns": "control.max_turns",
}
"""What a control recipe calls options that other recipes have as well."""
LONG = 10**9
"""Episodes of a run that something else stops."""
PLAYED = ("env_tokens", "reward_queries")
"""Axes that a run on stored episodes does not move along."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One strategy on one environment.

    Attributes:
        name: Of the strategy; the same name on another environment is the same strategy.
        recipe: Where its options came from.
        config: The resolved options, as a table.
    """

    name: str
    recipe: str
    config: Mapping[str, Any]

    @property
    def key(self) -> str:
        """Names its directory: letters, digits and dashes."""
        stem = self.recipe.rsplit("/", 1)[-1].removesuffix(".toml")
        return re.sub(r"[^A-Za-z0-9_-]+", "-", f"{stem}-{self.name}").strip("-")

    @property
    def env(self) -> str:
        """Id of its environment."""
        return str(self.config["env"]["id"])

    @property
    def is_control(self) -> bool:
        """Whether its agent is one of Stable-Baselines3, and its model frozen."""
        return is_control(self.config)

    @property
    def learner(self) -> str:
        """What learns in it."""
        return str(self.config["learner" if self.is_control else "algorithm"]["type"])

    def resolved(self) -> RunConfig:
        """Its options as records."""
        return load_config(dict(self.config), source=f"arm {self.name}")

    def controlled(self) -> ControlConfig:
        """As ``resolved``, of an arm under control."""
        return control_config(self.config, source=f"arm {self.name}")

    def source(self) -> EnvSource:
        """How to open its environment."""
        if self.is_control:
            task = self.controlled().env
            return source(task.id, **task.kwargs)
        return env_source(self.resolved().env)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"name": self.name, "recipe": self.recipe, "config": dict(self.config)}


def arm_of(config: RunConfig | ControlConfig, *, recipe: str, name: str = "") -> Arm:
    """An arm with these options; unnamed, it is called after what learns."""
    arm = Arm(name=name, recipe=recipe, config=to_table(config))
    return dataclasses.replace(arm, name=name or arm.learner)


def trial_config(arm: Arm, budget: Budget, seed: int) -> RunConfig:
    """The options of one run of an arm.

    The seed decides the first weights of what is random in them, so arms that have a model in
    common begin alike. Evaluations of the recipe's own are left out, unless it stops early by them.
    """
    config = arm.resolved()
    total = round(budget.amount) if budget.axis == "episodes" else LONG
    train = dataclasses.replace(config.train, total_episodes=max(1, total))
    if not train.patience:
        plain = TrainOptions()
        train = dataclasses.replace(
            train, eval_every=0, eval_split=plain.eval_split, eval_episodes=plain.eval_episodes
        )
    return dataclasses.replace(config, seed=seed, train=train)


def refuse_lonely(arms: Sequence[Arm]) -> None:
    """Refuse what is no comparison.

    Raises:
        OptionValueError: If there are not two arms.
    """
    if len(arms) == 1:
        recipe, first = arms[0].recipe, arms[0].learner
        second = "rloo" if first == "ppo" else "ppo"
        two = f"{recipe}:{first} {recipe}:{second}"
        if arms[0].is_control:
            two = f"{recipe} writing:grpo"
        raise OptionValueError(
            where="compare",
            problem=f"got one arm, {arms[0].name}: there is nothing to compare it with.",
            fix=f"Name two: {two}.",
        )


def refuse_arms(arms: Sequence[Arm]) -> None:
    """Refuse arms that cannot be measured or told apart.

    Raises:
        OptionValueError: If there is none, one has no environment, or two of an environment share a
            name.
    """
    if not arms:
        raise OptionValueError(
            where="compare", problem="got no arm.", fix="Name two: writing:grpo writing:ppo."
        )
    for arm in arms:
        refuse_homeless(arm)
    seen: set[tuple[str, str]] = set()
    for arm in arms:
        place = (arm.env, arm.name)
        if place in seen or sum(other.key == arm.key for other in arms) > 1:
            raise OptionValueError(
                where="compare",
                problem=f"two arms on {arm.env} are called {arm.name!r}.",
                fix=f"Name one: {arm.recipe}:{arm.learner},name=other.",
            )
        seen.add(place)


def refuse_homeless(arm: Arm) -> None:
    """Refuse an arm that cannot be measured.

    Raises:
        OptionValueError: If it learns from stored episodes and names no environment.
    """
    if arm.env == NO_ENV:
        raise OptionValueError(
            where=f"arm {arm.name}", problem="has no environment to be evaluated in.",
            fix="Set env.id.",
        )  # fmt: skip


def refuse_under(arm: Arm, budget: Budget) -> None:
    """Refuse an arm that the budget cannot stop, or not where its learning rate ends.

    Raises:
        OptionValueError: Saying which budget or option would do.
    """
    refuse_homeless(arm)
    where = f"arm {arm.name}"
    if arm.is_control:
        if budget.axis == "learner_tokens":
            raise OptionValueError(
                where=where,
                problem="is an agent of numbers: its updates read no tokens.",
                fix="Count what all arms use: --budget env_tokens=N, reward_queries=N or "
                "wall_clock=S.",
            )
        return
    config = arm.resolved()
    if config.data.path is not None and budget.axis in PLAYED:
        raise OptionValueError(
            where=where,
            problem=f"learns from stored episodes, and a budget of {budget.axis} never ends.",
            fix="Count what all arms use: --budget learner_tokens=N or episodes=N.",
        )
    optim = config.optim
    if budget.axis != "episodes" and optim.schedule != "constant" and optim.total_steps is None:
        raise OptionValueError(
            where=f"{where}, optim.schedule",
            problem=f"{optim.schedule!r} ends with train.total_episodes, and how many episodes "
            f"{budget.axis}={budget.amount:g} are is not known before.",
            fix="Use --budget episodes=N, set optim.total_steps, or optim.schedule=constant.",
        )


def refuse_selection(arm: Arm, splits: Sequence[str]) -> None:
    """Refuse an arm that stops early by, and keeps the best of, what all arms are judged on.

    Raises:
        OptionValueError: If it has patience, and its evaluations are on a split that is measured.
    """
    if arm.is_control:  # it learns to the end and keeps the last
        return
    train = arm.resolved().train
    if train.patience and train.eval_split in splits:
        raise OptionValueError(
            where=f"arm {arm.name}, train.patience",
            problem=f"chooses its best checkpoint by tasks of {train.eval_split!r}, which all arms "
            "are judged on.",
            fix="Set train.patience=0 (the budget ends a run), or measure other splits: "
            "--with splits=... without that one.",
        )


def refuse_adapting(arm: Arm) -> None:
    """Refuse an arm whose training cannot go on with other tasks.

    Raises:
        OptionValueError: If it learns from stored episodes, which are of the tasks they are of, or
            is an agent of numbers, whose directions and components are fitted to tasks of training.
    """
    if arm.is_control:
        raise OptionValueError(
            where=f"arm {arm.name}",
            problem="controls a frozen model by what was fitted to its tasks of training.",
            fix="Leave --adapt out, or compare arms that change the model.",
        )
    if arm.resolved().data.path is not None:
        raise OptionValueError(
            where=f"arm {arm.name}",
            problem="learns from stored episodes, and there are none of unseen tasks to adapt to.",
            fix="Leave --adapt out, or compare arms that play.",
        )


def differences(arms: Sequence[Arm]) -> list[str]:
    """What arms on the same environment do not have in common, and should: sentences."""
    told: list[str] = []
    for env in dict.fromkeys(arm.env for arm in arms):
        here = [arm for arm in arms if arm.env == env]
        flats = {arm.name: _shared(arm) for arm in here}
        mixed = len({arm.is_control for arm in here}) > 1
        found = [set(table) for table in flats.values()]
        names = set.union(*found)
        if mixed:  # an agent of numbers has fewer options, and none of these
            names = {n for n in names if n.startswith(DECISIVE)} | set.intersection(*found)
        for name in sorted(names):
            values = {arm: table.get(name, "unset") for arm, table in flats.items()}
            if len({repr(v) for v in values.values()}) > 1:
                each = ", ".join(f"{arm} {_short(value)}" for arm, value in values.items())
                told.append(f"{env}: {name} is not the same in all arms ({each}).")
    return told


def _shared(arm: Arm) -> dict[str, Any]:
    """Options that arms should have in common, by the names that most arms give them."""
    table = flat(dict(arm.config))
    if arm.is_control:
        table |= {name: table[own] for name, own in OF_CONTROL.items() if own in table}
    is_warm = table.get("warm_start.player") not in (None, "none")
    sections = SHARED if is_warm else [name for name in SHARED if name != "warm_start"]
    return {name: value for name, value in table.items() if name.split(".")[0] in sections}


def speaks_tokens(config: RunConfig) -> bool:
    """Whether the policy draws tokens, or else chooses among whole texts of an unchanged model."""
    return config.algorithm.type not in HEADS_ONLY or has_beta(config)


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
