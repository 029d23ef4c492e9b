"""Scorers of an answer that is right or wrong: exact text, a number, a pattern, JSON."""

from __future__ import annotations

import functools
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sayso.errors import EnvContractError, OptionValueError
from sayso.rewards.checker import checked, require_timeout
from sayso.rewards.constraints import uses
from sayso.rewards.scorer import Scorer, column, needs, references

NUMBER = re.compile(r"(?<![\w.])[-+\u2212]?\$?(?:\d[\d,]*(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d+)?%?")
FRACTION = re.compile(r"(?<![\w./])([-+\u2212]?\d{1,15})\s*/\s*(\d{1,15})(?![\w/])")
BOX = "\\boxed{"
BRACE = re.compile(r"\\boxed\{|[{}]")
QUOTIENT = re.compile(r"\\[dt]?frac\{([-+]?\d{1,15})\}\{(\d{1,15})\}")
MARKED = re.compile(
    r"(?:####|answer\s*(?:is\b|:|=))[ \t]*(.+?)(?=\.\s|\.?$|####)", re.IGNORECASE | re.MULTILINE
)
MAX_DIGITS = 40
FENCE = re.compile(r"\A\s*```(?:json|JSON)?[ \t]*\n(.*?)\n?```\s*\Z", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Exact(Scorer):
    """The whole answer equals one of the references; 1 or 0, 0 for an empty answer.

    Attributes:
        column: Column with the right answer, or a list of right ones.
        ignore_case: "paris" is "Paris".
        ignore_marks: Marks and quotes around the answer do not count, nor does how often a space
            stands; an article before it does.
    """

    column: str = "answer"
    ignore_case: bool = True
    ignore_marks: bool = True

    def __call__(self, prompt: Any, completion: str, **columns: Any) -> float:
        """1 if it is right."""
        said = self._plain(completion)
        right = {self._plain(text) for text in references(columns, self.column, self)}
        return float(bool(said) and said in right)

    def _plain(self, text: str) -> str:
        spaced = " ".join(text.split()) if self.ignore_marks else text.strip()
        cased = spaced.casefold() if self.ignore_case else spaced
        return cased.strip(" .,;:!?\"'`\u201c\u201d\u2018\u2019") if self.ignore_marks else cased


@dataclass(frozen=True, kw_only=True)
class Numeric(Scorer):
    r"""The number that the text ends on equals the reference; 1 or 0, 0 for a text without number.

    What counts as the answer: the last ``\boxed{...}``, else what follows the last ``####`` or
    "answer is", else the last number. More than one number in a box or after a mark is no answer
    (hedging), and of a long text of numbers only the last one counts. Thousands may have commas; a
    dollar or percent sign is passed over ("50%" is 50); "3/4" is one number.

    Attributes:
        column: Column with the right number, as a number or a text.
        tolerance: Largest difference that is right, in units of the number.
        relative_tolerance: The same as a share of the right number.
    """

    column: str = "answer"
    tolerance: float = 0.0
    relative_tolerance: float = 1e-9

    def __post_init__(self) -> None:
        for name in ("tolerance", "relative_tolerance"):
            if not 0 <= getattr(self, name) < math.inf:
                raise OptionValueError(
                    where=f"reward Numeric.{name}",
                    problem=f"is {getattr(self, name)!r}.",
                    fix="Use a number of at least 0.",
                )

    def __call__(self, prompt: Any, completion: str, **columns: Any) -> float:
        """1 if the last number is right."""
        right = _right_number(column(columns, self.column, self), self.column)
        said = final_number(completion)
        if said is None:
            return 0.0
        slack = max(self.tolerance, self.relative_tolerance * abs(right))
        return float(said == right or abs(said - right) <= slack)


def final_number(text: str) -> float | None:
    """The number a text ends on, as ``Numeric`` reads it; ``None`` if there is none."""
    plain = QUOTIENT.sub(r"\1/\2", text)
    boxed = boxes(plain)
    span = plain[boxed[-1]] if boxed else None
    marked = MARKED.findall(plain)
    if span is None and marked:
        span = marked[-1]
    if span is None:
        found = _numbers(plain)
        return found[-1] if found else None
    found = _numbers(span)
    return found[0] if len(found) == 1 else None


def boxes(text: str) -> list[slice]:
    r"""Where the contents of each ``\boxed{...}`` stand; to the end if it is not closed."""
    found: list[slice] = []
    open_: list[int | None] = []  # where a box's contents begin; None for any other brace
    for match in BRACE.finditer(text):
        if match[0] != "}":
            open_.append(match.end() if match[0] == BOX else None)
        elif open_ and (start := open_.pop()) is not None:
            found.append(slice(start, match.start()))
    found += [slice(start, len(text)) for start in open_ if start is not None]
    return sorted(found, key=lambda place: int(place.start))


def _numbers(text: str) -> list[float]:
    """Numbers of a text in order; a fraction of whole numbers is one."""
    found = []
    spans = list(FRACTION.finditer(text))
    for match in spans:
        bottom = int(match[2])
        if bottom:
            found.append((match.start(), int(match[1].replace("\u2212", "-")) / bottom))
    for match in NUMBER.finditer(text):
        value = None if any(s.start() <= match.start() < s.end() for s in spans) else _value(match)
        if value is not None:
            found.append((match.start(), value))
    return [value for _, value in sorted(found)]


def _value(match: re.Match[str]) -> float | None:
    written = match[0].replace(",", "").replace("$", "").replace("\u2212", "-")
    if len(written) > MAX_DIGITS:
        return None
    value = float(written.rstrip("%"))
    return value if math.isfinite(value) else None


def _right_number(given: Any, name: str) -> float:
    try:
        found = [float(given)] if isinstance(given, int | float) else _numbers(str(given))
    except OverflowError:  # a whole number that no float holds
        found = []
    if len(found) != 1 or not math.isfinite(found[0]):
        raise EnvContractError(
            where=f"reward Numeric, column {name!r}",
            problem=f"is {_shown(given)}, which is not one number.",
            fix="Write one finite number into the column.",
        )
    return found[0]


def _shown(given: Any) -> str:
    """Beginning of a value; Python writes no whole number of thousands of digits."""
    try:
        return f"{given!r:.80}"
    except ValueError:
        return "a whole number of thousands of digits"


@dataclass(frozen=True, kw_only=True)
class Uses(Scorer):
    """Share of the words of a column that occur as whole words; 0 to 1, 0 for an empty answer.

    A plural or possessive of one counts 0.8. A list of words is enough: put ``Form`` in front.

    Attributes:
        column: Column with the words: a text, or a list.
    """

    column: str = "words"

    def __call__(self, prompt: Any, completion: str, **columns: Any) -> float:
        """Share of the words."""
        listed = " ".join(references(columns, self.column, self)).split()
        return uses(completion, words=listed)


@dataclass(frozen=True, kw_only=True)
class Regex(Scorer):
    """The answer matches a pattern of yours; 1 or 0, 0 for an empty answer.

    Matched in a process of its own, which is killed after ``timeout_s``: a pattern such as
    ``(a+)+$`` takes for ever on the wrong text. A text for which that happens does not match.

    Attributes:
        pattern: A regular expression of Python's ``re``.
        whole: The whole answer must match, spaces around it aside; else any place in it, which
            is easy to please by listing.
        timeout_s: Seconds for one match.
    """

    pattern: str
    whole: bool = True
    timeout_s: float = 2.0

    def __post_init__(self) -> None:
        require_timeout(self.timeout_s, "Regex")
        try:
            re.compile(self.pattern)
        except re.error as error:
            raise OptionValueError(
                where="reward Regex.pattern",
                problem=f"{self.pattern!r} is no regular expression ({error}).",
                fix="Mend it; in TOML write it between single quotes.",
            ) from error

    def __call__(self, prompt: Any, completion: str, **columns: Any) -> float:
        """1 if it matches."""
        if not completion.strip():
            return 0.0
        call = {"pattern": self.pattern, "text": completion.strip(), "whole": self.whole}
        return float(checked("regex", call, timeout_s=self.timeout_s) is True)


@dataclass(frozen=True, kw_only=True)
class JsonSchema(Scorer):
    """JSON that fits a schema; 0 to 1, 0 for what is no JSON.

    The answer is JSON and nothing else, perhaps inside one fence of backticks. JSON that breaks the
    schema earns ``parses``, and of the rest half the share of required properties that are there
    and valid: less than half way, whatever is stuffed into it.

    Checked in a process of its own, which is killed after ``timeout_s``: a ``pattern`` of the
    schema may take for ever, as in ``Regex``. A text for which that happens, or on which the check
    breaks (nested without end, a number that no float holds), earns 0.

    Attributes:
        schema: A JSON schema; set ``additionalProperties`` to false to refuse what is not asked.
        schema_column: Column with the schema of each row, instead.
        parses: What valid JSON earns by itself.
        timeout_s: Seconds for one check.
    """

    schema: Mapping[str, Any] | None = None
    schema_column: str = ""
    parses: float = 0.1
    timeout_s: float = 2.0

    def __post_init__(self) -> None:
        require_timeout(self.timeout_s, "JsonSchema")
        if (self.schema is None) == (not self.schema_column):
            raise OptionValueError(
                where="reward JsonSchema",
                problem="needs one of schema and schema_column.",
                fix="Pass the schema, or the name of the column that holds each row's.",
            )
        if not 0 <= self.parses < 1:
            raise OptionValueError(
                where="reward JsonSchema.parses", problem=f"is {self.parses!r}.", fix="Use 0 to 1."
            )
        if self.schema is not None:
            _require_schema(json.dumps(self.schema))

    def __hash__(self) -> int:
        return hash((json.dumps(self.schema, sort_keys=True), self.schema_column, self.parses))

    @property
    def columns(self) -> tuple[str, ...]:
        """The column of the schema, if it is one."""
        return (self.schema_column,) if self.schema_column else ()

    def __call__(self, prompt: Any, completion: str, **columns: Any) -> float:
        """Fit of the answer."""
        schema = self.schema
        if schema is None:
            given = column(columns, self.schema_column, self)
            schema = json.loads(given) if isinstance(given, str) else given
        _require_schema(json.dumps(schema))
        found = parsed_json(completion)
        if found is None:
            return 0.0
        required = schema.get("required", []) if isinstance(schema, Mapping) else []
        call = {"schema": json.dumps(schema), "text": _unfenced(completion), "required": required}
        verdict = checked("json_schema", call, timeout_s=self.timeout_s)
        if verdict is None or verdict["fits"]:
            return float(verdict is not None)
        if not required or not isinstance(found[0], dict) or _is_stuffed(schema, found[0]):
            return self.parses
        good = sum(name in found[0] and name not in verdict["wrong"] for name in required)
        return self.parses + 0.5 * (1 - self.parses) * good / len(required)


def parsed_json(text: str) -> tuple[Any] | None:
    """JSON that a text consists of, perhaps in a fence; ``None`` if it is not strictly that."""
    try:
        return (
            json.loads(
                _unfenced(text), parse_constant=_refused, object_pairs_hook=_without_doubles
            ),
        )
    except (ValueError, RecursionError):  # of the text, which is then no JSON
        return None


def _unfenced(text: str) -> str:
    fenced = FENCE.match(text)
    return fenced[1] if fenced else text


def _refused(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object; a key that stands twice would let a text say both."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice")
    return found


def _is_stuffed(schema: Mapping[str, Any], found: Mapping[str, Any]) -> bool:
    """Whether an object has more than twice the properties that the schema names."""
    return len(found) > 2 * max(1, len(schema.get("properties", schema.get("required", ()))))


@functools.lru_cache(maxsize=256)
def _require_schema(schema: str) -> None:
    """Refuse what is no schema, or cannot be checked here; each is looked at once."""
    jsonschema = needs("jsonschema", extra="structured", of="JsonSchema")
    loaded = json.loads(schema)
    kind = jsonschema.validators.validator_for(loaded)
    try:
        kind.check_schema(loaded)
    except jsonschema.SchemaError as error:
        raise OptionValueError(
            where="reward JsonSchema.schema",
            problem=f"is no JSON schema ({error.message:.120}).",
            fix="Mend it; see json-schema.org.",
        ) from error
