"""Several rewards into one: weights, caps, gates, scales; each part shown by its name."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, cast

from sayso.calls import ByName, refuse_class
from sayso.errors import EnvContractError, OptionValueError
from sayso.rewards.compose import product
from sayso.rewards.running import Running
from sayso.rewards.scorer import Rule, missing_columns, name_of, number, range_of

Scored = Callable[..., float | None]
GATE = "gate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """What turns a score into units of its own spread: ``(score - mean) / std``, within ``limit``.

    Frozen: measured once by ``calibrated``. A scale that drifted with the run would make equal
    texts earn unequal rewards, and would have to be the same in every process of environments.

    Attributes:
        mean, std: Of the scores that it was measured on.
        limit: Largest absolute value; keeps one odd text from outweighing a batch.
    """

    mean: float
    std: float
    limit: float = 5.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.mean) and 0 < self.std < math.inf and self.limit > 0):
            raise OptionValueError(
                where="reward Scale",
                problem=f"mean {self.mean!r}, std {self.std!r}, limit {self.limit!r}.",
                fix="Use finite numbers, std and limit above 0.",
            )

    def __call__(self, score: float) -> float:
        """The scaled score."""
        return max(-self.limit, min(self.limit, (score - self.mean) / self.std))


@dataclass(frozen=True, kw_only=True)
class Part(ByName):
    """One term of a sum.

    Attributes:
        rule: A scorer, or your own function ``(prompt, completion, **columns) -> float``.
        weight: Factor of the score; negative for a penalty.
        cap: Largest absolute value that the part may contribute, in units of the reward.
        scale: Applied to the score before the weight.
    """

    rule: Rule
    weight: float = 1.0
    cap: float = math.inf
    scale: Scale | None = None

    def __post_init__(self) -> None:
        rule: object = self.rule
        refuse_class(rule, where="reward Part, rule")
        if not callable(rule) or not math.isfinite(self.weight) or not self.cap > 0:
            raise OptionValueError(
                where="reward Part",
                problem=f"rule {self.rule!r:.80}, weight {self.weight!r}, cap {self.cap!r}.",
                fix="Pass a scorer or a function, a finite weight, and a cap above 0.",
            )

    def contribution(self, score: float) -> float:
        """What a score adds to the reward."""
        scaled = self.scale(score) if self.scale is not None else score
        return max(-self.cap, min(self.cap, self.weight * scaled))

    @property
    def range(self) -> tuple[float, float] | None:
        """Least and greatest contribution; ``None`` if the rule does not say its range."""
        ends: list[float] | None
        if self.scale is not None:
            ends = [-self.scale.limit, self.scale.limit]
        else:
            low, high = range_of(self.rule)
            ends = None if low is None or high is None else [low, high]
        if ends is None:
            return None if math.isinf(self.cap) else (-self.cap, self.cap)
        found = [max(-self.cap, min(self.cap, self.weight * end)) for end in ends]
        return min(found), max(found)


class Sum(ByName):
    """The reward is the sum of its parts, each shown by name: what ``PromptEnv`` takes.

    ``reward = gate * (sum of what is above 0) + (sum of what is below 0)``, with the gate the
    product of the gates. So good form cannot be had instead of the task, and bad form cannot buy
    off a penalty. What the gate takes away is a part of its own, ``"gate"``. A part that does not
    apply is ``None`` and adds nothing; if none applies, the text is not graded.

    Args:
        parts: By name: a ``Part``, or a scorer or function, which then has weight 1.
        gates: By name: scorers or functions with values in [0, 1].

    Raises:
        OptionValueError: If there is no part, one is called ``"gate"``, a part and a gate have one
            name, or one of them is a ``Sum``, whose value is no number.
    """

    def __init__(
        self,
        parts: Mapping[str, Part | Rule],
        gates: Mapping[str, Rule] = MappingProxyType({}),
    ) -> None:
        self.parts = {n: p if isinstance(p, Part) else Part(rule=p) for n, p in parts.items()}
        self.gates = dict(gates)
        for name, gate in self.gates.items():
            refuse_class(gate, where=f"reward Sum, gate {name!r}")
        if not self.parts or GATE in self.parts:
            raise OptionValueError(
                where="reward Sum",
                problem=f"has the parts {list(self.parts)}.",
                fix=f"Name at least one, and none {GATE!r}.",
            )
        self._require_sound()

    def _require_sound(self) -> None:
        twice = [name for name in self.gates if name in self.parts]
        rules = self.gates | {name: part.rule for name, part in self.parts.items()}
        sums = [name for name, rule in rules.items() if isinstance(rule, Sum)]
        if twice:
            raise OptionValueError(
                where="reward Sum",
                problem=f"name both a part and a gate: {', '.join(twice)}.",
                fix="Give each a name of its own.",
            )
        if sums:
            raise OptionValueError(
                where="reward Sum",
                problem=f"{sums[0]!r} is a Sum, which has parts and no value.",
                fix="Put its parts beside the others.",
            )

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns that some scorer reads."""
        rules = [*(part.rule for part in self.parts.values()), *self.gates.values()]
        return tuple(dict.fromkeys(name for r in rules for name in getattr(r, "columns", ())))

    @property
    def low(self) -> float | None:
        """Least reward; ``None`` if a rule does not say its range."""
        ranges = [part.range for part in self.parts.values()]
        return None if None in ranges else sum(min(0.0, r[0]) if self.gates else r[0]
                                               for r in ranges if r)  # fmt: skip

    @property
    def high(self) -> float | None:
        """Greatest reward; ``None`` if a rule does not say its range."""
        ranges = [part.range for part in self.parts.values()]
        return None if None in ranges else sum(r[1] for r in ranges if r)

    def __call__(self, prompt: Any, completion: str, **columns: Any) -> dict[str, float | None]:
        """Contributions by part; their sum is the reward."""
        scores = self.scores(prompt, completion, **columns)
        shown: dict[str, float | None] = {
            name: None if score is None else self.parts[name].contribution(score)
            for name, score in scores.items()
        }
        gate = product(self._gate(name, prompt, completion, columns) for name in self.gates)
        earned = sum(max(0.0, value) for value in shown.values() if value is not None)
        if self.gates and any(value is not None for value in shown.values()):
            shown[GATE] = (gate - 1.0) * earned
        return shown

    def scores(self, prompt: Any, completion: str, **columns: Any) -> dict[str, float | None]:
        """Plain scores by part: before scale, weight and cap."""
        return {
            name: _score(part.rule, name, prompt, completion, columns)
            for name, part in self.parts.items()
        }

    def _gate(
        self, name: str, prompt: Any, completion: str, columns: Mapping[str, Any]
    ) -> float | None:
        value = _score(self.gates[name], name, prompt, completion, columns)
        if value is not None and not 0 <= value <= 1:
            raise EnvContractError(
                where=f"reward Sum, gate {name!r}",
                problem=f"is {value!r}.",
                fix="A gate is a factor in [0, 1].",
            )
        return value


def _score(
    rule: Rule, name: str, prompt: Any, completion: str, columns: Mapping[str, Any]
) -> float | None:
    lacking = missing_columns(rule, columns)
    if lacking:
        raise EnvContractError(
            where=f"reward {name!r} ({name_of(rule)})",
            problem=f"reads columns that the row does not have: {', '.join(lacking)}.",
            fix="Add them to every prompt, or name others.",
        )
    return number(rule(prompt, completion, **columns), f"reward {name!r} ({name_of(rule)})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A completion to measure a reward on.

    Attributes:
        prompt: What was asked.
        completion: What was answered.
        columns: The other columns of the row.
    """

    prompt: Any
    completion: str
    columns: Mapping[str, Any] = field(default_factory=dict)


def calibrated(
    reward: Sum,
    samples: Iterable[Sample],
    *,
    names: Iterable[str] | None = None,
    limit: float = 5.0,
) -> Sum:
    """The same sum with parts in units of their own spread on some samples.

    Take a hundred or more completions of the policy before training: then a weight says how much
    a part matters, whatever its range.

    Args:
        reward: What to scale.
        samples: Completions; those on which a part does not apply are left out for it.
        names: Parts to scale; unset: all.
        limit: See ``Scale``.

    Raises:
        OptionValueError: If there is no such part, or one has fewer than two scores, or always the
            same.

    Source: Ziegler et al., 2019, "Fine-Tuning Language Models from Human Preferences", section
        2.1: a reward model is scaled to mean 0 and variance 1 before training, and then kept.
    """
    chosen = list(reward.parts if names is None else names)
    unknown = [name for name in chosen if name not in reward.parts]
    if unknown:
        raise OptionValueError(
            where="calibrated",
            problem=f"names {', '.join(unknown)}; the sum has the parts: "
            f"{', '.join(reward.parts)}.",
            fix="Use names of parts.",
        )
    seen = {name: Running() for name in chosen}
    for sample in samples:
        scores = reward.scores(sample.prompt, sample.completion, **sample.columns)
        for name in chosen:
            score = scores[name]
            if score is not None:
                seen[name].add(score)
    parts = dict(reward.parts)
    for name, stats in seen.items():
        if stats.count < 2 or stats.std <= 0:  # a spread needs two
            raise OptionValueError(
                where=f"calibrated, part {name!r}",
                problem=f"has {stats.count} scores with a spread of {stats.std:g}.",
                fix="Pass more, and more varied, samples, or leave it out of names.",
            )
        scale = Scale(mean=stats.mean, std=stats.std, limit=limit)
        parts[name] = replace(parts[name], scale=scale)
    return Sum(cast("Mapping[str, Part | Rule]", parts), reward.gates)
