"""A policy that values steer, measured under several ways of acting."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sayso.algorithms.acting import Actable
from sayso.algorithms.base import Learner
from sayso.app.config import RunConfig
from sayso.app.refusals import refuse_beta
from sayso.envs.registry import EnvSource
from sayso.errors import OptionValueError
from sayso.evaluation.evaluate import evaluate
from sayso.evaluation.report import EvalReport
from sayso.rollout.limits import RolloutLimits
from sayso.sampling.base import Policy
from sayso.sampling.make import make_engine
from sayso.sampling.options import Decode


@dataclass(frozen=True, slots=True, kw_only=True)
class Acted:
    """One row of a sweep.

    Attributes:
        beta: Weight of the advantages; ``None``: that of the run, or none at all.
        decode: Drawn, or the likeliest each time; ``None``: as the run says.
        report: What came of it.
    """

    beta: float | None
    decode: Decode | None
    report: EvalReport

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"beta": self.beta, "decode": self.decode, **self.report.to_json()}


def policy_as(
    learner: Learner,
    config: RunConfig,
    *,
    beta: float | None = None,
    decode: Decode | None = None,
) -> Policy:
    """A learner's policy, acting otherwise than its options say.

    Args:
        learner: Whose.
        config: Its configuration.
        beta: How strongly values steer; ``None``: as the options say.
        decode: ``"sampled"``; ``"greedy"``: the likeliest token or candidate each time; ``None``:
            as the options say, which is sampled where they say nothing.

    Raises:
        OptionValueError: If β is asked of an algorithm without values, or is out of range.
    """
    if beta is not None:
        refuse_beta(config)
    if isinstance(learner, Actable) and (beta is not None or decode is not None):
        at: dict[str, Any] = {} if beta is None else {"beta": beta}
        try:
            return learner.acting_as(greedy=decode == "greedy", **at)
        except ValueError as error:
            raise OptionValueError(where="beta", problem=f"{error}.", fix="Change it.") from error
    if decode != "greedy":
        return learner.policy()
    exactly = dataclasses.replace(
        config.sampling, temperature=1.0, top_k=1, top_p=1.0, min_p=0.0, precision="exact"
    )
    return dataclasses.replace(learner.policy(), engine=make_engine(learner.lm, exactly))


def sweep(  # noqa: PLR0913  # what to measure, and how each time
    learner: Learner,
    config: RunConfig,
    env: EnvSource,
    *,
    betas: Sequence[float | None],
    decodes: Sequence[Decode | None],
    split: str,
    num_episodes: int,
    seed: int,
    limits: RolloutLimits,
) -> list[Acted]:
    """Every β with every decoding, on the same tasks with the same draws.

    Raises:
        OptionValueError: If β is asked of an algorithm without values.
    """
    ways = [(beta, decode) for beta in betas for decode in decodes]
    policies = [policy_as(learner, config, beta=beta, decode=decode) for beta, decode in ways]
    return [
        Acted(
            beta=beta,
            decode=decode,
            report=evaluate(
                policy, env, split=split, num_episodes=num_episodes, seed=seed, limits=limits
            ),
        )
        for (beta, decode), policy in zip(ways, policies, strict=True)
    ]
