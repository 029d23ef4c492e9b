"""``sayso train``."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sayso.cli import recipes
from sayso.errors import ConfigError
from sayso.runs.interrupt import Interrupted
from sayso.runs.run import Run

if TYPE_CHECKING:
    from sayso.app.config import RunConfig
    from sayso.training.loop import TrainResult


def run(
    recipe: str | None,
    *,
    overrides: Sequence[str],
    resume: Path | None,
    path: Path | None,
    seed: int | None,
    tensorboard: bool,
    as_json: bool,
) -> None:
    """Train or resume, then say where the run lies and what to type next."""
    if (recipe is None) == (resume is None):
        raise ConfigError(
            where="sayso train",
            problem="needs a recipe, or --resume RUN, and not both.",
            fix=f"Recipes: {', '.join(recipes.names())}.",
        )
    if _is_other(recipe, resume, overrides, path=path, seed=seed, flags=(tensorboard, as_json)):
        return
    if resume is not None:
        if seed is not None or path is not None:
            raise ConfigError(
                where="--resume",
                problem="a run goes on with its own options: --seed and --run are refused.",
                fix="Start a new run to change them; --set train.total_episodes=N makes it longer.",
            )
        opened = Run.open(resume)
        from sayso.app.extend import extended
        from sayso.app.origin import require_named

        require_named(opened, "model", "env", "data")
        config = extended(opened, overrides)
    else:
        config = recipes.config(str(recipe), overrides, seed=seed)
        recipes.require_made(str(recipe), config)
        opened = None
    result, where = execute(config, opened, path, tensorboard=tensorboard)
    summary = {
        "run": str(where),
        "stopped_by": result.stopped_by,
        "steps": result.progress.step,
        "episodes": result.progress.num_episodes,
        "invalid_episodes": dict(result.progress.num_invalid),
        "best_step": result.progress.best_step if result.progress.best_step >= 0 else None,
        "best_return": result.progress.best_return if result.progress.best_step >= 0 else None,
        "train_s": round(result.train_s, 1),
    }
    if as_json:
        print(json.dumps(summary))
        return
    _tell(config, result, where)


def _is_other(
    recipe: str | None,
    resume: Path | None,
    overrides: Sequence[str],
    *,
    path: Path | None,
    seed: int | None,
    flags: tuple[bool, bool],
) -> bool:
    """Train an agent that controls a frozen model, or a reward model, if that was asked for."""
    from sayso.cli import control, reward_model

    tensorboard, as_json = flags
    if recipe is not None:
        table, source = recipes.read(recipe)
        other = recipes.other_kind(table)
        if other is None:
            return False
        control.refuse({"--tensorboard": tensorboard}, kind=recipes.KINDS[other])
        if other == "control":
            control.train(recipe, overrides=overrides, path=path, seed=seed, as_json=as_json)
            return True
        reward_model.train(
            table, source, overrides=overrides, path=path, seed=seed, as_json=as_json
        )
        return True
    for module, kind in ((control, "control"), (reward_model, "reward_model")):
        if resume is not None and module.is_run(resume):
            given = {"--tensorboard": tensorboard, "--seed": seed, "--run": path}
            control.refuse(given, kind=recipes.KINDS[kind])
            module.resume(resume, overrides=overrides, as_json=as_json)
            return True
    return False


def _tell(config: RunConfig, result: TrainResult, where: Path) -> None:
    """What was done, where it lies and what to type next."""
    from sayso.training.step_metrics import num_dull_steps

    num_steps, num_idle = result.progress.step, num_dull_steps(result.progress)
    steps = "step" if num_steps == 1 else "steps"
    print(f"Done: {result.progress.num_episodes} episodes in {num_steps} {steps}.")
    if num_idle:
        print(
            f"In {num_idle} of {num_steps} {steps} the reward taught nothing: all rewards of the "
            "step were equal, or none was given."
        )
    for kind, count in result.progress.num_invalid.items():
        print(f"Left out: {count} invalid episodes ({kind}); they are in {where}/episodes.")
    if result.stopped_by == "patience":
        told = f"{config.train.patience} evaluations in a row without a better mean"
        print(f"Stopped early: {told}. The best checkpoint is of step {result.progress.best_step}.")
    print(f"Run: {where}")
    best = " --checkpoint best" if result.stopped_by == "patience" else ""
    print(
        f"Next: sayso eval {where}{best}   sayso chat {where}{best}   "
        f"sayso export {where} my-model{best}"
    )
    print(f"Longer: sayso train --resume {where} --set train.total_episodes=N")


def execute(
    config: RunConfig, opened: Run | None, path: Path | None, *, tensorboard: bool = False
) -> tuple[TrainResult, Path]:
    """Train a configuration in a new run directory, or go on with an opened one."""
    from sayso.app.opening import create_run, env_source, require_playable, require_room
    from sayso.app.schedule import refuse_standstill

    env = env_source(config.env)
    if opened is None:
        require_room(config, path)
    require_playable(config, env, is_new=opened is None)
    if opened is None:
        refuse_standstill(config, env)
    # These load torch: what needs none of it has been told by now.
    from sayso.app.assemble import assemble, build_learner, build_lm
    from sayso.app.choices import require_choices_fit
    from sayso.app.extend import remember
    from sayso.app.stored import build_data
    from sayso.app.warm import FOLDER, warm_up
    from sayso.app.weights import lm_of
    from sayso.training.callbacks import Callback, TensorBoard
    from sayso.training.loop import train
    from sayso.training.view import TerminalView

    callbacks: list[Callback] = [TerminalView(), *([TensorBoard()] if tensorboard else [])]
    learner = data = None
    if opened is None:  # what cannot be built leaves no directory behind
        learner = build_learner(config, build_lm(config))
        require_choices_fit(config, learner.lm, env)
        data = build_data(config, learner.lm)
        opened = create_run(config, path, command=sys.argv)
    with opened.lock():
        remember(opened, config)
        try:
            if config.warm_start.player is not None:
                lm = build_lm(config)
                warm_up(config, lm, opened.path / FOLDER, callbacks=callbacks)
                learner = build_learner(config, lm)  # the other holds a model that is not warm
            learner = learner or build_learner(config, lm_of(opened, config))
            training = assemble(
                config, opened, learner=learner, env=env, callbacks=callbacks, data=data
            )
            result = train(training)
        except Interrupted as stopped:
            stopped.add_note(f"Go on: sayso train --resume {opened.path}")
            raise
    return result, opened.path
