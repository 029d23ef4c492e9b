"""``sayso train`` and ``sayso eval`` of reward models."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sayso.cli.control import refuse
from sayso.errors import DataError, OptionValueError
from sayso.runs.interrupt import Interrupted
from sayso.runs.run import Run

if TYPE_CHECKING:
    from sayso.training.reward_model import RewardTrainer, RewardTrainOptions

KIND = "a run of a reward model"


def train(
    table: Mapping[str, Any],
    told: str,
    *,
    overrides: Sequence[str],
    path: Path | None,
    seed: int | None,
    as_json: bool,
) -> None:
    """Train the reward model of a recipe in a new run directory."""
    from sayso.app import reward_model as app

    command = table.get("made_by")
    kept = {key: value for key, value in table.items() if key != "made_by"}
    config = app.with_seed(app.reward_config(kept, source=told, overrides=overrides), seed)
    if path is not None:
        Run.require_free(path)
    is_own = config.data.path == table.get("data", {}).get("path")
    if command and is_own and not Path(config.data.path).exists():
        raise DataError(
            where=f"{told}, data.path", problem=f"there is no {config.data.path} here yet.",
            fix=f"Make it: {command}",
        )  # fmt: skip
    trainer = app.build_trainer(config, app.read_data_of(config))
    opened = app.create_reward_run(config, path, sys.argv)
    _learn(opened, trainer, config.train, as_json=as_json)


def resume(path: Path, *, overrides: Sequence[str], as_json: bool) -> None:
    """Go on with a run of a reward model."""
    from sayso.app import reward_model as app

    opened = Run.open(path)
    config = app.longer(app.reward_config_of(opened), overrides)
    trainer = app.build_trainer(config, app.read_data_of(config))
    _learn(opened, trainer, config.train, as_json=as_json)


def evaluate(path: Path, *, split: str | None, checkpoint: str, seed: int, as_json: bool) -> None:
    """Print how a run's reward model does on its held-out preferences."""
    from sayso.app import reward_model as app
    from sayso.evaluation.preference import judge_preferences
    from sayso.models.reward_network import load_network

    refuse({"--checkpoint": checkpoint != "last"}, kind=KIND)
    config = app.reward_config_of(Run.open(path))
    if split not in (None, "train", "held_out"):
        raise OptionValueError(
            where="--split", problem=f"got {split!r}.", fix="Use train or held_out."
        )
    data = app.read_data_of(config)
    pairs = data.train if split == "train" else data.held_out
    said = load_network(path).score(
        [(pair.prompt, text) for pair in pairs for text in (pair.chosen, pair.rejected)]
    )
    gaps = [one - other for one, other in zip(said[::2], said[1::2], strict=True)]
    report = judge_preferences(pairs, gaps, seed=seed)
    print(json.dumps({"run": str(path), **report.to_json()}) if as_json else f"{path}: {report}")


def is_run(path: Path) -> bool:
    """Whether a directory holds a run of a reward model."""
    from sayso.config.load import load_toml

    return "reward_model" in load_toml(Run.open(path).config)


def _learn(
    opened: Run, trainer: RewardTrainer, options: RewardTrainOptions, *, as_json: bool
) -> None:
    from sayso.training.reward_model import train_reward_model

    with opened.lock():
        try:
            result = train_reward_model(opened, trainer, options)
        except Interrupted as stopped:
            stopped.add_note(f"Go on: sayso train --resume {opened.path}")
            raise
    if as_json:
        head = {"run": str(opened.path), "steps": result.num_steps,
                "train_s": round(result.train_s, 1)}  # fmt: skip
        print(json.dumps({**head, **result.report.to_json()}))
        return
    print(f"Done: {result.num_steps} steps on {len(trainer.data.train)} pairs. {result.report}")
    print(f"Run: {opened.path}; the model: {opened.path}/model")
    print(
        "Next: sayso train persona_ppo_rm --set env.reward.model="
        + str(opened.path)
        + "   (any recipe: --set env.reward.type=model --set env.reward.model=...)"
    )
