"""``sayso.RewardModel``, and the runs in which one learns from preferences."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from sayso.algorithms.options.optim import OptimOptions
from sayso.config.load import build, load_toml, override, to_table
from sayso.data.options import IN_PYTHON
from sayso.data.preference_files import PreferenceOptions, read_set
from sayso.data.preferences import PreferenceSet
from sayso.envs.base import Observation
from sayso.errors import OptionValueError, RunError, UnknownOptionError
from sayso.evaluation.preference import PreferenceReport
from sayso.models.options import ModelOptions
from sayso.models.reward_network import (
    RewardModelOptions,
    RewardNetwork,
    fresh_network,
    load_network,
)
from sayso.runs.meta import collect
from sayso.runs.run import Run
from sayso.training.reward_model import (
    RewardResult,
    RewardTrainer,
    RewardTrainOptions,
    train_reward_model,
)

MARK = "reward_model"
"""The table by which a recipe or a run is known as one of a reward model."""
_SECTIONS: dict[str, Any] = {
    "model": ModelOptions, MARK: RewardModelOptions, "data": PreferenceOptions,
    "optim": OptimOptions, "train": RewardTrainOptions,
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardModelConfig:
    """Everything that decides a run of a reward model; a recipe with ``[reward_model]`` is one.

    Attributes:
        name: Names the run directory when none is given.
        seed: Everything random is derived from it.
        model: Language model or encoder.
        reward_model: What is read of it, and the loss.
        data: The preferences.
        optim: Optimiser and micro-batches.
        train: How long.
    """

    name: str = "reward_model"
    seed: int = 0
    model: ModelOptions = field(default_factory=ModelOptions)
    reward_model: RewardModelOptions = field(default_factory=RewardModelOptions)
    data: PreferenceOptions
    optim: OptimOptions = field(default_factory=OptimOptions)
    train: RewardTrainOptions = field(default_factory=RewardTrainOptions)

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"seed must be in [0, 2**63), got {self.seed}")
        if self.reward_model.trains == "head" and self.model.lora is not None:
            raise ValueError("model.lora has no effect with reward_model.trains = 'head'")
        if self.reward_model.trains == "head" and self.optim.lr != OptimOptions().lr:
            raise ValueError(
                "optim.lr has no effect with reward_model.trains = 'head': set reward_model.head_lr"
            )


def is_reward_model(table: Mapping[str, Any]) -> bool:
    """Whether a recipe's or a run's table is one of a reward model."""
    return MARK in table


def reward_config(
    table: Mapping[str, Any], *, source: str, overrides: Sequence[str] = ()
) -> RewardModelConfig:
    """The configuration from a parsed TOML table and ``a.b=c`` overrides.

    Raises:
        ConfigError: Listing every problem.
    """
    return build(RewardModelConfig, override(dict(table), list(overrides)), source=source)


def reward_config_of(run: Run) -> RewardModelConfig:
    """The configuration that a run was started with.

    Raises:
        RunError: If it is no run of a reward model.
    """
    table = load_toml(run.config)
    if not is_reward_model(table):
        raise RunError(
            where=str(run.path), problem="is no run of a reward model.",
            fix="Use the ordinary commands.",
        )  # fmt: skip
    return reward_config(table, source=str(run.config))


def build_trainer(
    config: RewardModelConfig, data: PreferenceSet, given: Any = None
) -> RewardTrainer:
    """Network and optimiser of a run.

    Args:
        config: Its configuration.
        data: Its preferences.
        given: Instead of ``config.model.name``: a ``(model, tokenizer)`` pair.
    """
    network = fresh_network(config.model, config.reward_model, seed=config.seed, given=given)
    return RewardTrainer(network, data, config.reward_model, config.optim, seed=config.seed)


def read_data_of(config: RewardModelConfig) -> PreferenceSet:
    """The preferences that a configuration names."""
    return read_set(config.data.path, config.data.held_out, limit=config.data.limit)


def create_reward_run(
    config: RewardModelConfig, path: Path | None, command: Sequence[str] = ()
) -> Run:
    """A fresh run directory."""
    about = collect(seed=config.seed, argv=command)
    if path is None:
        return Run.create_next(Path("runs"), config.name, config=to_table(config), meta=about)
    return Run.create(path, config=to_table(config), meta=about)


class RewardModel:
    """A language model or an encoder that learns which of two texts people prefer.

    Args:
        model: ``"smollm2"``, ``"minilm"``, ``"tiny"``, a hub id, a directory, or ``(model,
            tokenizer)``.
        seed: Everything random is derived from it.
        **options: Options of ``[reward_model]``, ``[model]`` and ``[optim]`` by their names:
            ``pooling="mean"``, ``lora={"rank": 16}``, ``lr=1e-4``.

    Attributes:
        network: What gives a text its number.
        report: On held-out preferences, once it has learned.
    """

    def __init__(self, model: Any = "smollm2", *, seed: int = 0, **options: Any) -> None:
        is_name = isinstance(model, str | Path)
        self._pair = None if is_name else model
        self._table: dict[str, Any] = {
            "seed": seed, "model": {"name": str(model) if is_name else "custom"},
            "data": {"path": IN_PYTHON}, MARK: {},
        }  # fmt: skip
        self._place(options, ("model", MARK, "optim"))
        self.config()  # tells all that is wrong
        self.network: RewardNetwork | None = None
        self.report: PreferenceReport | None = None

    def config(self) -> RewardModelConfig:
        """All options, with those of ``learn`` once it was called."""
        return reward_config(self._table, source="RewardModel(...)")

    def learn(
        self,
        data: Any,
        held_out: Any = None,
        *,
        run: str | Path | None = None,
        **train_options: Any,
    ) -> Self:
        """Learn from preferences; goes on where ``run`` stopped if it is a run of these options.

        Args:
            data: A path, or records with ``prompt``, ``chosen``, ``rejected``.
            held_out: The same, to measure on; unset: one prompt in five of ``data``.
            run: Run directory; unset: ``runs/reward_model-<n>``.
            **train_options: Options of ``RewardTrainOptions``: ``epochs=2``.

        Returns:
            Itself; ``report`` tells how good it is.
        """
        if not self._table:
            raise OptionValueError(
                where="RewardModel.learn", problem="this one was loaded, to score with.",
                fix="Make one that learns: sayso.RewardModel(directory of a causal LM).",
            )  # fmt: skip
        self._place(train_options, ("train",))
        named = {n: str(g) for n, g in (("path", data), ("held_out", held_out))
                 if isinstance(g, str | Path)}  # fmt: skip
        self._table["data"] = {"path": IN_PYTHON, **named}
        config = self.config()
        trainer = build_trainer(config, read_set(data, held_out), self._pair)
        path = None if run is None else Path(run)
        if path is None or Run.is_free(path):
            opened = create_reward_run(config, path)
        else:
            opened = Run.open(path)
            if reward_config_of(opened) != config:
                raise RunError(
                    where=str(path), problem="holds a run with other options.",
                    fix="Name another run directory.",
                )  # fmt: skip
        with opened.lock():
            result = train_reward_model(opened, trainer, config.train)
        trainer.network.freeze()
        self.run_path, self.report, self.network = opened.path, result.report, trainer.network
        return self

    def score(self, prompt: Observation, texts: Sequence[str]) -> list[float]:
        """Raw rewards of answers to a prompt: 1.0 more is e times better odds to be preferred."""
        return self._learned().score([(prompt, text) for text in texts])

    def save(self, directory: str | Path) -> None:
        """Write a plain Hugging Face directory; see ``RewardNetwork.save``."""
        self._learned().save(directory)

    @classmethod
    def load(cls, directory: str | Path) -> RewardModel:
        """One that was saved, or that a run ended with; to score with."""
        made = object.__new__(cls)
        made._table, made._pair, made.report = {}, None, None
        made.network = load_network(directory)
        return made

    def _learned(self) -> RewardNetwork:
        if self.network is None:
            raise OptionValueError(
                where="RewardModel", problem="has not learned yet.", fix="Call learn(data) first."
            )
        return self.network

    def _place(self, options: Mapping[str, Any], sections: Sequence[str]) -> None:
        names = {s: [f.name for f in dataclasses.fields(_SECTIONS[s])] for s in sections}
        for key, value in options.items():
            home = next((s for s in sections if key in names[s]), None)
            if home is None:
                known = sorted(name for each in names.values() for name in each)
                near = difflib.get_close_matches(key, known, n=1)
                raise UnknownOptionError(
                    where=f"RewardModel, {key}", problem="no such option.",
                    fix=f"Did you mean `{near[0]}`?" if near else f"Options: {', '.join(known)}.",
                )  # fmt: skip
            self._table.setdefault(home, {})[key] = value


def longer(config: RewardModelConfig, overrides: Sequence[str]) -> RewardModelConfig:
    """The configuration of a run that is gone on with.

    Raises:
        OptionValueError: If something would change: the order of pairs and the schedule hang on it.
    """
    if overrides:
        raise OptionValueError(
            where="--set", problem=f"got {', '.join(overrides)}.",
            fix="A run of a reward model goes on with its own options.",
        )  # fmt: skip
    return config


def with_seed(config: RewardModelConfig, seed: int | None) -> RewardModelConfig:
    """The same with another seed, if one is given."""
    return config if seed is None else replace(config, seed=seed)


__all__ = ["RewardModel", "RewardModelConfig", "RewardResult"]
