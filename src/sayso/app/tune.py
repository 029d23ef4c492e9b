"""Search for a recipe's options under a budget that is the same for each trial; needs Optuna."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sayso.app.allowance import allowed
from sayso.app.arms import Arm, arm_of, refuse_under
from sayso.app.plan import Plan
from sayso.app.space import Config, Range, Space, own_values, with_values
from sayso.config.load import to_table
from sayso.errors import (
    ConfigError,
    ExtraMissingError,
    GuardError,
    OptionValueError,
    SamplingError,
)
from sayso.runs.agreed import agree
from sayso.runs.durable import replace_file
from sayso.sampling.options import Decode
from sayso.seeds import derive
from sayso.toml import dump_toml
from sayso.training.budget import Budget

FIRST_SEED = 1_000
"""Far from those of a comparison: what was chosen on a seed must not be judged on it."""
BY_OPTIONS = (ConfigError, GuardError, SamplingError)
"""Errors that options can cause: a result. Any other ends the search; the trial goes on later."""
STUDY, JOURNAL, BEST = "tune.json", "study.journal", "best.toml"


@dataclass(frozen=True, slots=True, kw_only=True)
class TuneOptions:
    """How options are searched; ``sayso tune`` has a flag for each.

    Attributes:
        trials: Sets of options to try, the recipe's own first.
        seeds: Runs of each; a trial counts by their mean.
        budget: Of each run, as in ``CompareOptions``; empty: worked out from the recipe.
        split: Measured on. Tasks that a comparison is to be judged on should not be searched on.
        episodes: Of the evaluation of each run.
        decode: How the policy acts then.
        out: Directory; empty: ``runs/tune-<recipe>``.
    """

    trials: int = 20
    seeds: int = 2
    budget: str = ""
    split: str = "train"
    episodes: int = 100
    decode: Decode = "sampled"
    out: Path | str = ""

    def __post_init__(self) -> None:
        for name in ("trials", "seeds", "episodes"):
            if getattr(self, name) < 1:
                raise OptionValueError(
                    where=f"tune, {name}", problem=f"got {getattr(self, name)}.",
                    fix="Use 1 or more.",
                )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """One set of options.

    Attributes:
        number: Of the trial.
        values: The options that were searched.
        mean: Mean return over its runs; NaN if it failed.
        reason: Why it failed; empty if it did not.
    """

    number: int
    values: Mapping[str, Any]
    mean: float
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        mean = self.mean if math.isfinite(self.mean) else None
        return {**dataclasses.asdict(self), "mean": mean, "values": dict(self.values)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuned:
    """What a search found.

    Attributes:
        best: The trial with the greatest mean.
        trials: All, in order.
        recipe: A recipe with the options of the best, as a TOML file.
        path: Directory of the study.
        budget: Of each run.
    """

    best: Tried
    trials: tuple[Tried, ...]
    recipe: Path
    path: Path
    budget: Budget


def tune(
    config: Config, space: Space, options: TuneOptions, *, recipe: str,
    tell: Callable[[str], None],
) -> Tuned:  # fmt: skip
    """Try sets of options, each under the same budget with the same seeds; the best is a recipe.

    The study lies in its directory: asked again, it goes on, a trial that was cut short with its
    own options from its own runs, and more ``trials`` add to it.

    Args:
        config: Where to start from; tried first.
        space: What may change.
        options: How.
        recipe: What it is called.
        tell: Takes a line of progress.

    Raises:
        ExtraMissingError: If Optuna is not installed.
        RunError: If the directory holds another study, or a run is in use by another process.
        GuardError: If every trial failed.
        SaysoError: What stopped a run and is not its options' doing.
    """
    arm = arm_of(config, recipe=recipe)
    arm.source().open().require_tasks(options.split, where=arm.env)
    optuna = _optuna()
    budget = allowed(options.budget, [arm])
    refuse_under(arm, budget)
    folder = Path(options.out or Path("runs") / f"tune-{arm.key}")
    _store(folder, arm, space, budget, options)
    tell(f"{options.trials} trials of {options.seeds} runs, {budget} each, in {folder}")
    study = _study(optuna, folder)
    if not study.trials and (own := own_values(space, config)) is not None:
        study.enqueue_trial({path: _packed(value) for path, value in own.items()})
    found = [_finished(trial) for trial in study.trials if trial.state.is_finished()]
    while len(found) < options.trials:
        number, values = _next(optuna, study, space)
        plan = _plan(arm_of(with_values(config, values), recipe=recipe), budget, options)
        tried = _tried(folder, plan, number, values, seeds=options.seeds)
        failed = optuna.trial.TrialState.FAIL
        study.tell(number, None if tried.reason else tried.mean,
                   state=failed if tried.reason else None)  # fmt: skip
        found.append(tried)
        told = tried.reason or f"{tried.mean:.4f}"
        tell(f"{len(found)}/{options.trials}  {told}  {_in_words(values)}")
    done = [tried for tried in found if math.isfinite(tried.mean)]
    if not done:
        raise GuardError(
            where=str(folder), problem=f"every trial failed; the first: {found[0].reason}",
            fix="Mend that, and search in a fresh directory.",
        )  # fmt: skip
    best = max(done, key=lambda tried: tried.mean)
    table = to_table(with_values(config, best.values))
    replace_file(folder / BEST, dump_toml(table).encode())
    return Tuned(best=best, trials=tuple(found), recipe=folder / BEST, path=folder, budget=budget)


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise ExtraMissingError(
            where="sayso tune", problem="optuna is not installed.",
            fix="Run: pip install 'sayso[tune]'",
        ) from error  # fmt: skip
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _study(optuna: Any, folder: Path) -> Any:
    """The study in a directory; a journal is read back line by line, a torn one up to its tear."""
    backend = optuna.storages.journal.JournalFileBackend(str(folder / JOURNAL))
    return optuna.create_study(
        study_name="tune", storage=optuna.storages.JournalStorage(backend),
        direction="maximize", load_if_exists=True,
    )  # fmt: skip


def _next(optuna: Any, study: Any, space: Space) -> tuple[int, dict[str, Any]]:
    """The trial that was cut short, or a new one, whose draws depend on its number alone."""
    running = [t for t in study.trials if t.state == optuna.trial.TrialState.RUNNING]
    if running:
        return running[0].number, _plain(running[0].params)
    seed = derive(0, "tune", len(study.trials)) % 2**32
    study.sampler = optuna.samplers.TPESampler(seed=seed)
    trial = study.ask({path: _distribution(optuna, entry) for path, entry in space.items()})
    return trial.number, _plain(trial.params)


def _distribution(optuna: Any, entry: Range | tuple[Any, ...]) -> Any:
    kinds = optuna.distributions
    if not isinstance(entry, Range):
        # Optuna keeps plain values only: lists travel as text.
        return kinds.CategoricalDistribution([_packed(value) for value in entry])
    if entry.whole:
        return kinds.IntDistribution(int(entry.low), int(entry.high), log=entry.log)
    return kinds.FloatDistribution(entry.low, entry.high, log=entry.log)


_LIST = "json:"


def _packed(value: Any) -> Any:
    return f"{_LIST}{json.dumps(value)}" if isinstance(value, tuple) else value


def _plain(params: Mapping[str, Any]) -> dict[str, Any]:
    return {
        path: tuple(json.loads(value.removeprefix(_LIST)))
        if isinstance(value, str) and value.startswith(_LIST)
        else value
        for path, value in params.items()
    }


def _finished(trial: Any) -> Tried:
    mean = trial.value if trial.value is not None else math.nan
    reason = "" if math.isfinite(mean) else "failed when it was tried"
    return Tried(number=trial.number, values=_plain(trial.params), mean=mean, reason=reason)


def _plan(arm: Arm, budget: Budget, options: TuneOptions) -> Plan:
    return Plan(
        arms=(arm,), budget=budget, splits={arm.env: (options.split,)},
        ranges={arm.env: (None, None)}, episodes=options.episodes, points=1, point_episodes=1,
        decode=(options.decode,),
    )  # fmt: skip


def _tried(
    folder: Path, plan: Plan, number: int, values: Mapping[str, Any], *, seeds: int
) -> Tried:
    """Run a trial with all its seeds; options that cannot train are a result as well."""
    from sayso.app.trial import run_trial  # loads torch: not before all else is known to be right

    place, means = folder / f"trial-{number:04d}", []
    (place / plan.arms[0].key).mkdir(parents=True, exist_ok=True)
    try:
        for seed in range(FIRST_SEED, FIRST_SEED + seeds):
            found = run_trial(place, plan, plan.arms[0], seed)
            means.append(found["evals"][0]["mean"])
    except BY_OPTIONS as error:
        return Tried(number=number, values=values, mean=math.nan, reason=f"failed: {error}")
    if None in means:
        return Tried(number=number, values=values, mean=math.nan, reason="no episode was graded")
    return Tried(number=number, values=values, mean=float(np.mean(means)))


def _store(folder: Path, arm: Arm, space: Space, budget: Budget, options: TuneOptions) -> None:
    """Write what is searched, or see that it is the same.

    Raises:
        RunError: If the directory holds another study, or something else.
    """
    ranges = {p: dataclasses.asdict(e) if isinstance(e, Range) else e for p, e in space.items()}
    told = {
        "arm": arm.to_json(),
        "space": ranges,
        "budget": budget.to_json(),
        **{name: getattr(options, name) for name in ("seeds", "split", "episodes", "decode")},
    }  # fmt: skip
    agree(
        folder / STUDY, told, other="a study of other options, space or budget",
        fix="Name another directory (--out); only --trials may change in this one.",
    )  # fmt: skip


def _in_words(values: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{path}={value:.3g}" if isinstance(value, float) else f"{path}={value}"
        for path, value in values.items()
    )
