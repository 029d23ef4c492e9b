"""``sayso demo``: what ``make demo`` runs."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sayso.cli import recipes
from sayso.runs.interrupt import Interrupted
from sayso.runs.terminal import printable

if TYPE_CHECKING:
    from sayso.evaluation.report import EvalReport

NUM_EVAL_TASKS = 96
NUM_SHOWN = 2


def run(*, seed: int | None, path: Path | None, overrides: Sequence[str]) -> None:
    """Train ``writing`` and compare held-out texts before and after; JSON on the last line."""
    from sayso.app.opening import (
        create_run,
        env_source,
        require_playable,
        require_room,
        rollout_limits,
    )

    start = float(os.environ.get("SAYSO_DEMO_START", time.time()))
    config = recipes.config("writing", overrides, seed=seed)
    env, limits = env_source(config.env), rollout_limits(config.env)
    require_room(config, path)
    require_playable(config, env)
    # These load torch: what needs none of it has been told by now.
    from sayso.app.assemble import assemble, build_learner, build_lm
    from sayso.evaluation.evaluate import evaluate, paired
    from sayso.training.logs import write_evaluation
    from sayso.training.loop import train
    from sayso.training.view import TerminalView

    print(f"Loading the language model `{config.model.name}` (converted once, then cached) ...")
    learner = build_learner(config, build_lm(config))

    def measure() -> EvalReport:
        return evaluate(
            learner.policy(), env, split="held_out", num_episodes=NUM_EVAL_TASKS, seed=config.seed,
            limits=limits,
        )  # fmt: skip

    print(f"Measuring it on {NUM_EVAL_TASKS} held-out tasks, never trained on ...")
    before = measure()
    print(f"Before: {before.mean}\nTraining with {config.algorithm.type} ...")
    opened = create_run(config, path, command=sys.argv)
    training = assemble(config, opened, learner=learner, env=env, callbacks=[TerminalView()])
    try:
        with opened.lock():
            result = train(training)
    except Interrupted as stopped:
        stopped.add_note(_how_it_goes_on(opened.path))
        raise
    print(f"Measuring it on the same {NUM_EVAL_TASKS} tasks again ...")
    after = measure()
    write_evaluation(opened, result.progress.step, after.to_json())
    difference = paired(before, after)
    _show_texts(before, after)
    _tell_means(before, after, difference)
    _tell_next(opened.path)
    print(
        json.dumps(
            {
                "before": before.mean.to_json(),
                "after": after.mean.to_json(),
                "difference": difference.to_json(),
                "run": str(opened.path),
                "train_s": round(result.train_s, 1),
                "total_s": round(time.time() - start, 1),
            }
        )
    )


def _tell_means(before: EvalReport, after: EvalReport, difference: object) -> None:
    print(f"\nMean reward on held-out tasks (0 to 1), with 95 % intervals, n = {before.mean.n}:")
    print(f"  before      {before.mean}\n  after       {after.mean}\n  difference  {difference}")


def _how_it_goes_on(path: Path) -> str:
    measured = f"sayso eval {path} --episodes {NUM_EVAL_TASKS} --checkpoint"
    return (
        f"Go on: sayso train --resume {path}\n"
        f"What the demo measures: {measured} base, then {measured} last"
    )


def _tell_next(path: Path) -> None:
    print(f"\nThe run lies in {path}. What to type next:")
    print(f"  sayso chat {path}                    talk to the trained model")
    print(f"  sayso eval {path} --split unseen     kinds of constraints never trained on")
    print(f"  sayso export {path} my-model         a plain Hugging Face directory")
    print("  sayso list recipes                          what else there is")


def _show_texts(before: EvalReport, after: EvalReport) -> None:
    """The first tasks of the split, untouched by hand: what was asked, written then and now."""
    now = {(s.task_id, s.sample_index): s for s in after.samples}
    for sample in before.samples[:NUM_SHOWN]:
        later = now[(sample.task_id, sample.sample_index)]
        print(f"\nAsked:  {printable(sample.observation)}")
        print(f"Before: {printable(sample.action)}   [{sample.reward:.2f}]")
        print(f"After:  {printable(later.action)}   [{later.reward:.2f}]")
