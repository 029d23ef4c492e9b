"""The rewards that come with sayso, by name: what ``sayso list rewards`` shows."""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, cast

from sayso.calls import named, refuse_arguments
from sayso.errors import OptionValueError, UnknownNameError
from sayso.rewards.scorer import Rule, Scorer
from sayso.rewards.sums import Part, Scale, Sum


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One reward of the library.

    Attributes:
        home: ``"module:Class"``, imported when first used. Those that read language models live in
            ``models``, above this package.
        cost: What one call costs on one CPU core, roughly.
        extra: The extra of sayso that it needs; empty: none.
    """

    home: str
    cost: str
    extra: str = ""

    @property
    def scorer(self) -> type[Scorer]:
        """The class."""
        found: type[Scorer] = named(self.home, where=self.home)
        return found


LIBRARY: Mapping[str, Entry] = {
    "exact": Entry(home="sayso.rewards.answers:Exact", cost="5 µs"),
    "numeric": Entry(home="sayso.rewards.answers:Numeric", cost="10 µs"),
    "math": Entry(home="sayso.rewards.maths:Math", cost="1 ms, in a process", extra="math"),
    "regex": Entry(home="sayso.rewards.answers:Regex", cost="0.2 ms, in a process"),
    "json_schema": Entry(
        home="sayso.rewards.answers:JsonSchema", cost="0.4 ms, in a process", extra="structured"
    ),
    "code": Entry(home="sayso.rewards.code:Code", cost="0.1 s, a process each"),
    "uses": Entry(home="sayso.rewards.answers:Uses", cost="10 µs"),
    "length": Entry(home="sayso.rewards.surface:Length", cost="5 µs"),
    "form": Entry(home="sayso.rewards.surface:Form", cost="2 ms"),
    "distinct": Entry(home="sayso.rewards.surface:Distinct", cost="50 µs"),
    "repetition": Entry(home="sayso.rewards.surface:Repetition", cost="0.1 ms"),
    "readability": Entry(home="sayso.rewards.surface:Readability", cost="0.2 ms"),
    "sentiment": Entry(home="sayso.rewards.likeness:Sentiment", cost="0.1 ms", extra="metrics"),
    "rouge": Entry(home="sayso.rewards.likeness:Rouge", cost="0.4 ms", extra="metrics"),
    "bleu": Entry(home="sayso.rewards.likeness:Bleu", cost="0.1 ms", extra="metrics"),
    "chrf": Entry(home="sayso.rewards.likeness:ChrF", cost="0.3 ms", extra="metrics"),
    "similarity": Entry(home="sayso.models.lm_rewards:Similarity", cost="30 ms"),
    "perplexity": Entry(home="sayso.models.lm_rewards:Perplexity", cost="0.3 s"),
    "verdict": Entry(home="sayso.models.lm_judges:Verdict", cost="0.3 s"),
    "judge": Entry(home="sayso.models.lm_judges:Judge", cost="0.5 s"),
    "model": Entry(home="sayso.models.model_reward:ModelReward", cost="30 ms to 0.3 s"),
}


def names() -> list[str]:
    """Names in the order of the library."""
    return list(LIBRARY)


def make(spec: Mapping[str, Any] | str) -> Rule:
    """A reward from plain values: what a run file writes.

    Args:
        spec: ``{"type": name, option: value, ...}``; or the name alone. ``{"type": "sum", "parts":
            {name: spec}, "gates": {name: spec}}`` adds several, where a part's spec may also have
            ``weight``, ``cap`` and ``scale``. A type ``"module:name"`` is a function of yours,
            without options, or a class that makes one out of the options.

    Raises:
        UnknownNameError: If the library has no reward of this name.
        OptionValueError: If an option does not exist or does not fit.
    """
    given: dict[str, Any] = {"type": spec} if isinstance(spec, str) else dict(spec)
    kind = given.pop("type", None)
    if kind == "sum":
        return _sum(given)
    if isinstance(kind, str) and ":" in kind:
        return _own(kind, given)
    if kind not in LIBRARY:
        known = [*LIBRARY, "sum"]
        near = difflib.get_close_matches(str(kind), known, n=1)
        raise UnknownNameError(
            where=f"reward {kind!r}",
            problem="is not in the library.",
            fix=f"Did you mean {near[0]!r}?" if near else f"There are: {', '.join(known)}.",
        )
    rule: Rule = _made(LIBRARY[str(kind)].scorer, f"reward {kind!r}", given)
    return rule


def spec_of(rule: Any) -> dict[str, Any] | str | None:
    """Plain values from which ``make`` makes the same rule in another process.

    A function of a module is ``"module:function"``. ``None``: some rule is known here only.
    """
    if isinstance(rule, Sum):
        parts = {name: _spec_of_part(part) for name, part in rule.parts.items()}
        gates = {name: spec_of(gate) for name, gate in rule.gates.items()}
        is_known = None not in parts.values() and None not in gates.values()
        return {"type": "sum", "parts": parts, "gates": gates} if is_known else None
    if isinstance(rule, Scorer):
        home = f"{type(rule).__module__}:{type(rule).__qualname__}"
        kinds = [name for name, entry in LIBRARY.items() if entry.home == home] or [home]
        options = {f.name: getattr(rule, f.name) for f in fields(rule)}
        return {"type": kinds[0], **options} if _is_plain(options) else None
    module, name = getattr(rule, "__module__", ""), getattr(rule, "__qualname__", "")
    is_importable = module and module != "__main__" and str(name).isidentifier()
    return f"{module}:{name}" if is_importable else None


def _is_plain(options: Mapping[str, Any]) -> bool:
    """Whether JSON holds them: a model that was passed as an object it does not."""
    try:
        json.dumps(options)
    except TypeError:
        return False
    return True


def _spec_of_part(part: Part) -> dict[str, Any] | None:
    spec = spec_of(part.rule)
    if spec is None:
        return None
    own = {"type": spec} if isinstance(spec, str) else spec
    scale = None if part.scale is None else asdict(part.scale)
    cap = {} if math.isinf(part.cap) else {"cap": part.cap}
    return {**own, "weight": part.weight, **cap, **({"scale": scale} if scale else {})}


def _own(name: str, options: Mapping[str, Any]) -> Rule:
    """A rule of the user's own, named by the user's own run file or code."""
    found: Any = named(name, where=f"reward {name!r}")
    if isinstance(found, type):
        return cast("Rule", _made(found, f"reward {name!r}", options))
    if options:
        raise OptionValueError(
            where=f"reward {name!r}",
            problem=f"is a function and takes no options: {', '.join(options)}.",
            fix="Make it a class with these fields that can be called.",
        )
    return cast("Rule", found)


def _sum(given: dict[str, Any]) -> Sum:
    parts: dict[str, Part | Rule] = {}
    for name, spec in given.pop("parts", {}).items():
        own = {"type": spec} if isinstance(spec, str) else dict(spec)
        of_part: dict[str, Any] = {
            key: own.pop(key) for key in ("weight", "cap", "scale") if key in own
        }
        scale = of_part.get("scale")
        if isinstance(scale, Mapping):
            of_part["scale"] = _made(Scale, f"reward part {name!r}, scale", scale)
        parts[name] = _made(Part, f"reward part {name!r}", {"rule": make(own), **of_part})
    gates = {name: make(spec) for name, spec in given.pop("gates", {}).items()}
    if given:
        raise OptionValueError(
            where="reward 'sum'",
            problem=f"has no option {', '.join(given)}.",
            fix="It has parts and gates.",
        )
    return Sum(parts, gates)


def _made(maker: Callable[..., Any], where: str, options: Mapping[str, Any]) -> Any:
    refuse_arguments(maker, options, where=where)
    try:
        return maker(**options)
    except TypeError as error:  # one is missing; values are judged by the class
        raise OptionValueError(
            where=where,
            problem=f"cannot be made with {sorted(options)} ({error}).",
            fix="See docs/rewards.md for its options.",
        ) from error
