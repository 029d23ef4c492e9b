"""``sayso train`` and ``sayso eval`` of runs in which an agent controls a frozen model."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sayso.cli import recipes
from sayso.errors import OptionValueError
from sayso.runs.interrupt import Interrupted
from sayso.runs.run import Run

if TYPE_CHECKING:
    from sayso.app.control import ControlConfig
    from sayso.cli.doctor import Attempts
    from sayso.control.controller import Controller
    from sayso.control.run import AgentResult


def train(
    recipe: str,
    *,
    overrides: Sequence[str],
    path: Path | None,
    seed: int | None,
    as_json: bool,
) -> None:
    """Train a control recipe in a new run directory."""
    from sayso.app import control as app

    config = recipes.control_config(recipe, overrides, seed=seed)
    if path is not None:
        Run.require_free(path)
    moved = app.build_controller(config)
    # An agent that cannot be made leaves no directory behind.
    from sayso.control.run import make_agent

    app.require_tasks(config, moved.task)
    fresh = make_agent(moved, config.learner, seed=config.seed)
    opened = app.create_control_run(config, path, sys.argv)
    _learn(opened, config, moved, fresh, as_json=as_json)


def resume(path: Path, *, overrides: Sequence[str], as_json: bool) -> None:
    """Go on with a control run."""
    from sayso.app import control as app

    opened = Run.open(path)
    config = app.longer(app.control_config_of(opened), overrides)
    _learn(opened, config, app.build_controller(config, opened), None, as_json=as_json)


def evaluate(
    path: Path, *, split: str | None, episodes: int, checkpoint: str, seed: int, as_json: bool
) -> None:
    """Print what a run's agent makes the model earn."""
    from sayso.app import control as app
    from sayso.cli.evaluate import first_with_tasks

    agent, step = app.restored_agent(Run.open(path), checkpoint)
    split = split or first_with_tasks(agent.controller.task)
    report = agent.evaluate(split=split, num_episodes=episodes, seed=seed)
    if as_json:
        print(json.dumps({"run": str(path), "step": step, **report.to_json()}))
    else:
        print(f"{path} at step {step}, {report}")


def check(recipe: str, overrides: Sequence[str], attempt: Attempts) -> None:
    """What ``sayso doctor`` tries of a control recipe: everything up to the first steps."""
    from sayso.app import control as app
    from sayso.control.controller import Controller
    from sayso.control.defaults import algorithm_class
    from sayso.envs.registry import source
    from sayso.models.load import load

    config = attempt(
        "options",
        lambda: recipes.control_config(recipe, overrides),
        lambda c: f"{c.learner.type}, mode {c.control.mode}, valid",
    )
    if config is None:
        return
    kind, task = config.learner.type, config.env
    known = attempt("learner", lambda: algorithm_class(kind), lambda c: f"{c.__name__}")
    env = attempt(
        "environment",
        lambda: app.require_tasks(config, source(task.id, **task.kwargs)),
        lambda e: e.id,
    )
    lm = attempt(
        "model",
        lambda: load(config.model.name, config.model, seed=config.seed),
        lambda m: f"{m.name}, context {m.max_context}, frozen",
    )
    if known is None or env is None or lm is None:
        return
    moved = attempt(
        "control",
        lambda: Controller(lm, env, config.control),
        lambda m: (
            f"observations of {m.observation_space.shape[0]} numbers, actions {m.action_space}"
        ),
    )
    if moved is not None:
        attempt("first steps", lambda: app.first_steps(config, moved), lambda said: said)


def is_run(path: Path) -> bool:
    """Whether a directory holds a control run."""
    from sayso.config.load import load_toml

    return "control" in load_toml(Run.open(path).config)


def refuse(settings: Mapping[str, object], *, kind: str = "a control run") -> None:
    """Refuse flags that mean nothing for a run of another kind than the ordinary one.

    Raises:
        OptionValueError: Naming the first that was given.
    """
    for flag, value in settings.items():
        if value:
            raise OptionValueError(
                where=flag, problem=f"has no effect on {kind}.", fix="Leave it out."
            )


def _learn(
    opened: Run, config: ControlConfig, moved: Controller, fresh: Any, *, as_json: bool
) -> None:
    from sayso.control.run import train_agent

    with opened.lock():
        try:
            result = train_agent(
                opened, moved, config.learner, config.train, seed=config.seed, fresh=fresh
            )
        except Interrupted as stopped:
            stopped.add_note(f"Go on: sayso train --resume {opened.path}")
            raise
    _tell(opened, result, as_json=as_json)


def _tell(opened: Run, result: AgentResult, *, as_json: bool) -> None:
    """What was learned, and what to type next."""
    from sayso.evaluation.evaluate import paired

    before, after = result.before, result.after
    gain = None if before is None or after is None else paired(before, after)
    if as_json:
        means = {"before": before and before.mean, "after": after and after.mean, "gain": gain}
        told = {name: None if mean is None else mean.to_json() for name, mean in means.items()}
        head = {"run": str(opened.path), "steps": result.num_steps,
                "episodes": result.num_episodes, "train_s": round(result.train_s, 1)}  # fmt: skip
        print(json.dumps({**head, **told}))
        return
    print(f"Done: {result.num_episodes} episodes in {result.num_steps} steps.")
    if before is not None and after is not None:
        print(f"Mean return on {after.split} tasks, with 95 % intervals:")
        print(f"  the model by itself  {before.mean}\n  under the agent      {after.mean}")
        print(f"  difference           {gain}")
    print(f"Run: {opened.path}; the agent: checkpoints/step-*/model.zip")
    print(f"Next: sayso eval {opened.path}   sayso train --resume {opened.path} "
          "--set train.total_steps=N")  # fmt: skip
