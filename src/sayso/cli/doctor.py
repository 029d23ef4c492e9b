"""``sayso doctor``: what training checks at its start, without training."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import typer

from sayso.cli import recipes
from sayso.errors import SaysoError, in_a_line

if TYPE_CHECKING:
    from sayso.algorithms.base import Learner
    from sayso.app.config import RunConfig
    from sayso.data.datasets import DataSet
    from sayso.envs.registry import EnvSource
    from sayso.models.lm import LanguageModel

MIN_FREE_GB = 2
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was checked."""

    name: str
    is_ok: bool
    says: str


def run(recipe: str | None, *, overrides: Sequence[str], as_json: bool) -> None:
    """Check the machine, then the recipe; exit code 2 when something would stop training."""
    findings = _machine()
    if recipe is not None:
        check = _control if _is_control(recipe) else _recipe
        findings += check(recipe, overrides)
    if as_json:
        rows = [{"name": f.name, "ok": f.is_ok, "says": f.says} for f in findings]
        print(json.dumps({"ok": all(f.is_ok for f in findings), "findings": rows}))
    else:
        for finding in findings:
            print(f"{'ok  ' if finding.is_ok else 'FAIL'}  {finding.name}: {finding.says}")
    if not all(f.is_ok for f in findings):
        raise typer.Exit(2)


def _machine() -> list[Finding]:
    import torch

    findings = [Finding("python", sys.version_info >= (3, 11), sys.version.split()[0])]
    for package, extra in (
        ("torch", ""), ("transformers", ""), ("gymnasium", ""), ("peft", "lora"),
        ("tensorboard", "track"), ("rouge-score", "metrics"), ("math-verify", "math"),
        ("jsonschema", "structured"), ("stable-baselines3", "sb3"), ("sb3-contrib", "sb3"),
        ("optuna", "tune"), ("reasoning-gym", "envs"), ("textarena", "envs"), ("minigrid", "envs"),
        ("textworld", "textworld"), ("aclsum", "summaries"),
    ):  # fmt: skip
        try:
            findings.append(Finding(package, True, version(package)))
        except PackageNotFoundError:
            fix = f"not installed; only needed for the extra: pip install 'sayso[{extra}]'"
            findings.append(Finding(package, bool(extra), fix if extra else "not installed"))
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    findings.append(
        Finding(
            "device", True, f"{device}, {os.cpu_count()} cores, {torch.get_num_threads()} threads"
        )
    )
    free_gb = shutil.disk_usage(Path.cwd()).free / 1e9
    findings.append(Finding("disk", free_gb > MIN_FREE_GB, f"{free_gb:.0f} GB free here"))
    return findings


def _recipe(recipe: str, overrides: Sequence[str]) -> list[Finding]:
    """Options, environment, model, one rollout, one update; nothing is kept."""
    from sayso.app.assemble import build_lm
    from sayso.app.opening import env_source, rollout_limits
    from sayso.app.schedule import follow_schedule
    from sayso.training.check import check_rollout, check_update

    findings: list[Finding] = []
    attempt = Attempts(findings)
    config = attempt(
        "options", lambda: recipes.config(recipe, overrides), lambda c: f"{c.algorithm.type}, valid"
    )
    if config is None:
        return findings
    unused = attempt("unused options", lambda: _none_unused(config), str)
    env = attempt("environment", lambda: env_source(config.env), lambda e: e.id)
    if env is None:
        return findings
    if unused is not None:
        attempt("environment check", lambda: _check_env(config, env, recipe), lambda _: "sound")
    problems = not findings[-1].is_ok
    lm = attempt("model", lambda: build_lm(config), lambda m: f"{m.name}, context {m.max_context}")
    if lm is None or problems:
        return findings
    learner = attempt(
        "algorithm", lambda: _learner(config, lm, env),
        lambda _: f"{sum(p.numel() for p in lm.trainable().values()):,} trainable parameters",
    )  # fmt: skip
    if learner is None:
        return findings
    follow_schedule(config, learner, env, is_new=True)
    if config.data.path is not None:
        _stored(config, lm, learner, attempt)
        return findings
    episodes = attempt(
        "rollout",
        lambda: check_rollout(
            learner, env, config.seed, split=config.train.split, limits=rollout_limits(config.env)
        ),
        lambda found: f"{len(found)} episodes, mean return "
        f"{sum(e.return_ or 0.0 for e in found) / len(found):.3f}",
    )  # fmt: skip
    if episodes:
        attempt("update", lambda: check_update(learner, episodes), lambda sentence: sentence)
    return findings


def _learner(config: RunConfig, lm: LanguageModel, env: EnvSource) -> Learner:
    """The learner, if the actions that the environment lists fit into its token budget."""
    from sayso.app.assemble import build_learner
    from sayso.app.choices import require_choices_fit

    learner = build_learner(config, lm)
    require_choices_fit(config, lm, env)
    return learner


def _control(recipe: str, overrides: Sequence[str]) -> list[Finding]:
    """The same of a recipe whose agent controls a frozen model."""
    from sayso.cli import control

    findings: list[Finding] = []
    control.check(recipe, overrides, Attempts(findings))
    return findings


def _is_control(recipe: str) -> bool:
    try:
        return recipes.other_kind(recipes.read(recipe)[0]) == "control"
    except SaysoError:  # told where its options are checked
        return False


@dataclass(frozen=True, slots=True)
class Attempts:
    """Tries one thing after the other and keeps what became of each."""

    findings: list[Finding]

    def __call__(self, name: str, work: Callable[[], T], say: Callable[[T], str]) -> T | None:
        """What ``work`` gives, or ``None`` if it fails; either is noted."""
        try:
            result = work()
        except SaysoError as error:
            self.findings.append(Finding(name, False, str(error)))
            return None
        except Exception as error:  # noqa: BLE001  # the user's code may raise anything
            self.findings.append(Finding(name, False, in_a_line(error)))
            return None
        self.findings.append(Finding(name, True, say(result)))
        return result


def _stored(config: RunConfig, lm: LanguageModel, learner: Learner, attempt: Attempts) -> None:
    """The data set, and an update on the beginning of it."""
    from sayso.app.stored import build_data
    from sayso.training.check import check_update

    def say(data: DataSet | None) -> str:
        return (
            "none" if data is None else " ".join([f"{len(data.episodes)} episodes.", *data.notes])
        )

    data = attempt("data", lambda: build_data(config, lm), say)
    if data is not None:
        batch = data.episodes[: config.data.batch_episodes]
        attempt("update", lambda: check_update(learner, batch), lambda sentence: sentence)


def _none_unused(config: RunConfig) -> str:
    from sayso.app.refusals import refuse_unused

    refuse_unused(config)
    return "none"


def _check_env(config: RunConfig, env: EnvSource, recipe: str) -> None:
    from sayso.app.opening import require_playable
    from sayso.app.schedule import refuse_standstill

    recipes.require_made(recipe, config)
    require_playable(config, env)
    refuse_standstill(config, env)
