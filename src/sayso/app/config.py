"""The whole configuration of a run, as one typed tree."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

from sayso.algorithms.options.a2c import A2COptions
from sayso.algorithms.options.archer import ArCHerOptions
from sayso.algorithms.options.awr import AWROptions
from sayso.algorithms.options.bc import BCOptions
from sayso.algorithms.options.candidate_dqn import CandidateDQNOptions
from sayso.algorithms.options.candidate_sac import CandidateSACOptions
from sayso.algorithms.options.dpo import DPOOptions
from sayso.algorithms.options.filtered_bc import FilteredBCOptions
from sayso.algorithms.options.grpo import GRPOOptions
from sayso.algorithms.options.ilql import ILQLOptions
from sayso.algorithms.options.kl import KLOptions
from sayso.algorithms.options.mc_returns import MCReturnsOptions
from sayso.algorithms.options.offline_archer import OfflineArCHerOptions
from sayso.algorithms.options.optim import OptimOptions
from sayso.algorithms.options.ppo import PPOOptions
from sayso.algorithms.options.q_sharp import QSharpOptions
from sayso.algorithms.options.reinforce import ReinforceOptions
from sayso.algorithms.options.reinforce_pp import ReinforcePPOptions
from sayso.algorithms.options.rloo import RLOOOptions
from sayso.algorithms.options.soft_q import SoftQOptions
from sayso.algorithms.options.token_dqn import TokenDQNOptions
from sayso.config.load import build_into, override
from sayso.config.problems import Problems
from sayso.data.options import DataOptions, WarmStartOptions
from sayso.envs.nothing import NO_ENV
from sayso.errors import ConfigError
from sayso.models.options import ModelOptions
from sayso.rollout.limits import RolloutLimits
from sayso.sampling.options import SamplingOptions
from sayso.training.options import TrainOptions
from sayso.types import Context


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvOptions:
    """Which environment, and the limits around it; written in a run file under ``[env]``.

    Attributes:
        id: Registered id, or ``"module:Id"`` to import a module that registers it.
        kwargs: Passed to the environment's constructor.
        reward: A reward of ``sayso.rewards`` in place of the environment's own, such as
            ``{ type = "model", model = "runs/persona_rm-1" }``; its own stays among the parts, as
            ``true``.
        max_turns: Decisions after which an episode is cut off; unset: what the environment says.
        max_context_tokens: Context length at which an episode is cut off; unset: the model's.
        context: What the policy sees at each turn: ``"episode"``: everything so far; ``"turn"``:
            the latest observation alone, for games whose observation says all that matters.
        timeout_s: Run the environment in a process of its own and give each call this many
            seconds; unset: what the environment asks for.
        num_workers: Processes at work at the same time, where it runs in processes of its own.
        max_reward: Largest absolute reward that is believed; beyond it an episode is invalid.
        max_observation_chars: Of a longer observation the beginning is kept, with a warning.
        strict: Stop at the first invalid episode, instead of leaving it out and going on.
    """

    id: str
    kwargs: dict[str, Any] = field(default_factory=dict)
    reward: dict[str, Any] = field(default_factory=dict)
    max_turns: int | None = None
    max_context_tokens: int | None = None
    context: Context = "episode"
    timeout_s: float | None = None
    num_workers: int = 4
    max_reward: float = 1e6
    max_observation_chars: int = 100_000
    strict: bool = False

    def __post_init__(self) -> None:
        self.limits()

    def limits(self) -> RolloutLimits:
        """Limits of one episode."""
        return RolloutLimits(
            max_turns=self.max_turns,
            max_context_tokens=self.max_context_tokens,
            context=self.context,
            env_timeout_s=self.timeout_s,
            num_workers=self.num_workers,
            max_reward=self.max_reward,
            max_observation_chars=self.max_observation_chars,
            strict=self.strict,
        )


AlgorithmOptions = (
    GRPOOptions
    | RLOOOptions
    | ReinforceOptions
    | ReinforcePPOptions
    | A2COptions
    | PPOOptions
    | MCReturnsOptions
    | ILQLOptions
    | TokenDQNOptions
    | BCOptions
    | FilteredBCOptions
    | AWROptions
    | DPOOptions
    | SoftQOptions
    | QSharpOptions
    | ArCHerOptions
    | OfflineArCHerOptions
    | CandidateDQNOptions
    | CandidateSACOptions
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    """Everything that decides a run; read from TOML, written resolved to the run directory.

    Attributes:
        name: Names the run directory when none is given.
        seed: Everything random is derived from it.
        model: The language model.
        env: The environment.
        sampling: How actions are drawn.
        algorithm: Which algorithm, with its options; chosen by ``type``.
        optim: Optimiser and micro-batches.
        kl: Distance to the reference model.
        train: The loop.
        data: A stored data set to learn from, instead of playing.
        warm_start: A scripted player to imitate before training.
    """

    name: str = "run"
    seed: int = 0
    env: EnvOptions
    model: ModelOptions = field(default_factory=ModelOptions)
    sampling: SamplingOptions = field(default_factory=SamplingOptions)
    algorithm: AlgorithmOptions = field(default_factory=GRPOOptions)
    optim: OptimOptions = field(default_factory=OptimOptions)
    kl: KLOptions = field(default_factory=KLOptions)
    train: TrainOptions = field(default_factory=TrainOptions)
    data: DataOptions = field(default_factory=DataOptions)
    warm_start: WarmStartOptions = field(default_factory=WarmStartOptions)

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**63:  # what a TOML file can hold and every generator takes
            raise ValueError(f"seed must be in [0, 2**63), got {self.seed}")


def has_reference(config: RunConfig) -> bool:
    """Whether training measures the distance from the model as it was before."""
    return config.kl.coef > 0 or config.algorithm.type == "soft_q"


def needs_base(config: RunConfig) -> bool:
    """Whether an agent reads the model as it was before training: a reference, or its critic."""
    is_pairs = config.algorithm.type == "dpo"  # whose reference no filter of the sampler cuts
    return has_reference(config) or is_pairs or getattr(config.algorithm, "trunk", "") == "frozen"


def keeps_critic(config: RunConfig) -> bool:
    """Whether heads are saved: not those that read a trunk of their own, which is not."""
    return getattr(config.algorithm, "trunk", "frozen") == "frozen"


SECTIONS = ("model", "env", "sampling", "algorithm", "optim", "kl", "train", "data", "warm_start")


def load_config(
    table: Mapping[str, Any],
    *,
    source: str,
    overrides: tuple[str, ...] = (),
    also: Callable[[RunConfig], None] | None = None,
) -> RunConfig:
    """A run's configuration from a parsed TOML table and ``a.b=c`` overrides.

    Args:
        table: Not modified.
        source: Shown in errors.
        overrides: Applied in order.
        also: Raises a ``ConfigError`` for options that make no sense together, one at a time; its
            ``where`` is their dotted paths. All that it finds in what is right by itself is listed.

    Raises:
        ConfigError: Listing every problem at once.
    """
    problems = Problems(source, RunConfig)
    given = override(dict(table), list(overrides), problems)
    stored = given.get("data")
    if "env" not in given and isinstance(stored, Mapping) and stored.get("path") is not None:
        given["env"] = {"id": NO_ENV}
    config = build_into(RunConfig, given, problems)
    if also is not None:
        problems.found += _contradictions(given, problems.paths, also)
    problems.raise_any()
    return config  # type: ignore[return-value]  # what is not built has raised


def _contradictions(
    table: dict[str, Any], wrong: Sequence[str], also: Callable[[RunConfig], None]
) -> list[ConfigError]:
    """What ``also`` says of the options that are right by themselves."""
    found: list[ConfigError] = []
    left, taken = _without(table, wrong), True
    while taken:
        config = build_into(RunConfig, left, Problems("", RunConfig))
        if config is None:
            break
        try:
            also(config)
            break
        except ConfigError as error:
            if not any(path in str(error) for path in wrong):  # else it may only follow from that
                found.append(error)
            fewer = _without(left, error.where.split(", "))
            left, taken = fewer, fewer != left
    return found


def _without(table: Mapping[str, Any], paths: Sequence[str]) -> dict[str, Any]:
    """A copy without the options at these dotted paths."""
    return {
        key: _without(value, [p[len(key) + 1 :] for p in paths if p.startswith(f"{key}.")])
        if isinstance(value, Mapping)
        else value
        for key, value in table.items()
        if key not in paths
    }


def options_of(algorithm: object) -> type[Any] | None:
    """The record of an algorithm's options by its name; ``None`` if there is none."""
    for record in AlgorithmOptions.__args__:
        if any(f.name == "type" and f.default == algorithm for f in fields(record)):
            found: type[Any] = record
            return found
    return None


def option_names(record: type[Any]) -> list[str]:
    """Field names of an options record."""
    return [f.name for f in fields(record)] if is_dataclass(record) else []
