"""Runs in which an agent of Stable-Baselines3 controls a frozen model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sayso.app.opening import require_same
from sayso.config.load import build, load_toml, override, to_table
from sayso.control.learner import AgentTrainOptions, LearnerOptions, TaskOptions
from sayso.control.options import ControlOptions
from sayso.envs.registry import EnvSource, source
from sayso.errors import CheckpointError, OptionValueError, RunError
from sayso.models.options import ModelOptions
from sayso.runs import commit
from sayso.runs.meta import collect
from sayso.runs.run import Run

if TYPE_CHECKING:
    from sayso.control.agent import SB3Agent
    from sayso.control.controller import Controller


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlConfig:
    """Everything that decides a control run; a recipe is one of these if it has ``[control]``.

    Attributes:
        name: Names the run directory when none is given.
        seed: Everything random is derived from it.
        model: The frozen language model.
        env: The text task.
        control: What the agent sees and does.
        learner: The agent.
        train: How long.
    """

    name: str = "control"
    seed: int = 0
    model: ModelOptions = field(default_factory=ModelOptions)
    env: TaskOptions
    control: ControlOptions = field(default_factory=ControlOptions)
    learner: LearnerOptions = field(default_factory=LearnerOptions)
    train: AgentTrainOptions = field(default_factory=AgentTrainOptions)

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"seed must be in [0, 2**63), got {self.seed}")
        if self.model.lora is not None:
            raise ValueError("model.lora has no effect: the model is frozen")


def is_control(table: Mapping[str, Any]) -> bool:
    """Whether a recipe's or a run's table is one of a control run."""
    return "control" in table


def control_config(
    table: Mapping[str, Any], *, source: str, overrides: Sequence[str] = ()
) -> ControlConfig:
    """The configuration from a parsed TOML table and ``a.b=c`` overrides.

    Raises:
        ConfigError: Listing every problem.
    """
    return build(ControlConfig, override(dict(table), list(overrides)), source=source)


def control_config_of(run: Run) -> ControlConfig:
    """The configuration that a run was started with.

    Raises:
        RunError: If it is no control run.
    """
    table = load_toml(run.config)
    if not is_control(table):
        raise RunError(
            where=str(run.path), problem="is no control run.", fix="Use the ordinary commands."
        )
    return control_config(table, source=str(run.config))


def build_controller(config: ControlConfig, run: Run | None = None) -> Controller:
    """Model, task and mode; directions and components are those of the run's newest checkpoint.

    Raises:
        ExtraMissingError: If Stable-Baselines3 is not installed: before a model is loaded.
    """
    from sayso.control.env import require_sb3

    require_sb3("a control run")
    from sayso.control.controller import Controller
    from sayso.control.store import fitted_of
    from sayso.models.load import load

    found = commit.newest(run.checkpoints) if run is not None else None
    lm = load(config.model.name, config.model, seed=config.seed)
    task = source(config.env.id, **config.env.kwargs)
    return Controller(
        lm, task, config.control, fitted=fitted_of(found) if found is not None else None
    )


def require_tasks(config: ControlConfig, task: EnvSource) -> EnvSource:
    """The tasks that are learned and measured on must be there before anything is learned.

    Raises:
        EnvContractError: If a split has none.
    """
    env = task.open()
    env.require_tasks(config.control.split, where=task.id)
    if config.train.eval_episodes:
        env.require_tasks(config.train.eval_split, where=task.id)
    return task


def first_steps(config: ControlConfig, moved: Controller) -> str:
    """Make the agent, and play one step of every environment by actions drawn at random.

    Returns:
        What they earned, in a sentence.
    """
    import numpy as np

    from sayso.control.run import make_agent

    env = make_agent(moved, config.learner, seed=config.seed).get_env()
    env.reset()
    _, rewards, _, infos = env.step(
        np.stack([env.action_space.sample() for _ in range(env.num_envs)])
    )
    return f"{len(infos)} answers, mean reward {float(rewards.mean()):.3f}"


def create_control_run(config: ControlConfig, path: Path | None, command: Sequence[str]) -> Run:
    """A fresh run directory."""
    about = collect(seed=config.seed, argv=command)
    if path is None:
        return Run.create_next(Path("runs"), config.name, config=to_table(config), meta=about)
    return Run.create(path, config=to_table(config), meta=about)


def open_or_create(config: ControlConfig, path: Path, *, command: Sequence[str]) -> Run:
    """The run at ``path``: a fresh one, or the one to go on with if its options are the same.

    Raises:
        RunError: If the run there was started with other options.
    """
    if Run.is_free(path):
        return create_control_run(config, path, command)
    run = Run.open(path)
    there = to_table(control_config_of(run))
    require_same(path, to_table(config), there, but="train.total_steps")
    return run


def longer(config: ControlConfig, overrides: Sequence[str]) -> ControlConfig:
    """The configuration of a run that is gone on with: only its length may change.

    Raises:
        OptionValueError: If something else is asked for.
    """
    table = override({}, list(overrides))
    steps = table.get("train", {}).pop("total_steps", config.train.total_steps)
    if any(table.get("train", {})) or set(table) - {"train"} or not isinstance(steps, int):
        raise OptionValueError(
            where="--set",
            problem=f"got {', '.join(overrides)}.",
            fix="A run goes on with its own options: only train.total_steps=N can change.",
        )
    return replace(config, train=replace(config.train, total_steps=steps))


def restored_agent(run: Run, checkpoint: str) -> tuple[SB3Agent, int]:
    """A run's agent and the step it is of.

    Args:
        run: A control run.
        checkpoint: ``"last"``, ``"base"`` (the model by itself) or a step number.

    Raises:
        CheckpointError: If there is no such checkpoint.
    """
    config = control_config_of(run)
    moved = build_controller(config, run)
    from sayso.control.agent import SB3Agent

    if checkpoint == "base":
        return SB3Agent.uncontrolled(moved), 0
    from sayso.control.run import make_agent
    from sayso.control.store import restore

    found = commit.newest(run.checkpoints) if checkpoint == "last" else None
    if checkpoint.isascii() and checkpoint.isdecimal():
        found = commit.at(run.checkpoints, int(checkpoint))
    if found is None:
        there = ", ".join(str(step) for step in commit.steps(run.checkpoints)) or "none"
        raise CheckpointError(
            where=f"{run.path}, --checkpoint {checkpoint}",
            problem="no such checkpoint.",
            fix=f"Use last, base or a step; there are: {there}.",
        )
    model = make_agent(moved, config.learner, seed=config.seed)
    restore(model, found)
    return SB3Agent(model), found.step
