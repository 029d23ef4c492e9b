"""What is written beside a saved policy: a model card and sayso's options."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

from sayso.app.assemble import env_source
from sayso.app.config import RunConfig
from sayso.config.load import to_table
from sayso.envs.registry import EnvSource
from sayso.evaluation.evaluate import EvalReport
from sayso.models.lm import LanguageModel
from sayso.models.saving import CardData, save
from sayso.runs.failpoints import Failpoint, fp

SAVED_CONFIG = "sayso.json"


def reward_in_words(env: EnvSource) -> str:
    """What an environment pays for: the first line of its class's docstring."""
    return (inspect.getdoc(type(env.open())) or "").split("\n")[0]


def card(config: RunConfig, report: EvalReport | None, *, reward: str) -> CardData:
    """What the model card says."""
    return CardData(
        base_model=config.model.name,
        env=config.env.id,
        algorithm=config.algorithm.type,
        reward=reward,
        report=report.to_json() if report else None,
    )


def export_policy(
    config: RunConfig, lm: LanguageModel, directory: Path, *, run: Path, step: int
) -> None:
    """Write a run's policy as a Hugging Face directory; this step's evaluation goes on the card."""
    found = [p for p in (run / "eval").glob("step-*.json") if int(p.stem.split("-")[1]) == step]
    report = json.loads(found[0].read_text()) if found else None
    save(
        lm,
        directory,
        card=CardData(
            base_model=config.model.name,
            env=config.env.id,
            algorithm=config.algorithm.type,
            reward=reward_in_words(env_source(config.env)),
            report=report,
            run=f"{run.name}, step {step}" if step else f"{run.name}, before training",
        ),
    )
    fp(Failpoint.EXPORT)
    (directory / SAVED_CONFIG).write_text(json.dumps(to_table(config), indent=1))
