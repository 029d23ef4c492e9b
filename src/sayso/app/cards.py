"""What is written beside a saved policy: a model card and sayso's options."""

from __future__ import annotations

import dataclasses
import inspect
import json
from pathlib import Path
from typing import Any

from sayso.app.config import RunConfig, keeps_critic
from sayso.app.opening import env_source
from sayso.app.origin import Origin, origin_or_plain, write_saved
from sayso.app.refusals import is_beside
from sayso.envs.registry import EnvSource
from sayso.evaluation.report import EvalReport
from sayso.models.lm import LanguageModel
from sayso.models.saving import CardData, save
from sayso.runs.failpoints import Failpoint, fp
from sayso.runs.run import Run


def reward_in_words(env: EnvSource) -> str:
    """What an environment pays for: the first line of its class's docstring."""
    return (inspect.getdoc(type(env.open())) or "").split("\n")[0]


def card(config: RunConfig, origin: Origin, report: EvalReport | None, *, reward: str) -> CardData:
    """What the model card says."""
    return CardData(
        base_model=origin.base_model,
        env=config.env.id,
        algorithm=config.algorithm.type,
        reward=reward,
        report=report.to_json() if report else None,
        is_trained=origin.num_learns > 0,
        is_steered=is_beside(config),
        keeps_critic=keeps_critic(config),
    )


def export_policy(
    config: RunConfig,
    lm: LanguageModel,
    directory: Path,
    *,
    run: Run,
    step: int,
    is_base: bool,
) -> None:
    """Write a run's policy as a Hugging Face directory; its own evaluation goes on the card.

    Args:
        config: The run's configuration.
        lm: The policy, put back.
        directory: Where to write.
        run: The run.
        step: The policy's step.
        is_base: These are the weights before all training. The run's evaluation at step 0 is of
            other ones if it began with trained weights.
    """
    origin = origin_or_plain(run, config)
    began_trained = origin.num_learns > 0
    report = None if is_base and began_trained else _report(run, step)
    is_trained = step > 0 or (began_trained and not is_base)
    reward = "" if "env" in origin.unnamed else reward_in_words(env_source(config.env))
    save(
        lm,
        directory,
        card=CardData(
            base_model=origin.base_model,
            env=config.env.id,
            algorithm=config.algorithm.type,
            reward=reward,
            report=report,
            run=f"{run.name}, step {step}" if is_trained else f"{run.name}, before training",
            is_trained=is_trained,
            is_steered=is_beside(config),
            keeps_critic=keeps_critic(config),
        ),
    )
    fp(Failpoint.EXPORT)
    write_saved(
        directory, config, dataclasses.replace(origin, num_learns=origin.num_learns + is_trained)
    )


def _report(run: Run, step: int) -> dict[str, Any] | None:
    found = [p for p in run.eval.glob("step-*.json") if int(p.stem.split("-")[1]) == step]
    return json.loads(found[0].read_text()) if found else None
