"""A scorer of code by unit tests: inputs go into a sandbox, values come out and are judged here."""

from __future__ import annotations

import ast
import json
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from sayso.errors import EnvContractError, OptionValueError
from sayso.rewards.sandbox import Isolation, Limits, Output, run
from sayso.rewards.scorer import Scorer, column

FENCE = re.compile(r"```[ \t]*(?:python|py|Python)?[ \t]*\n(.*?)(?:\n[ \t]*```|\Z)", re.DOTALL)
MAX_SOURCE = 20_000
MAX_STDIN = 60_000
TOLERANCE = 1e-9
Call = tuple[str, list[Any], dict[str, Any]]
FIX = (
    'Write it as "assert f(1, 2) == 3", as {"function": "f", "args": [1, 2], "expected": 3}, or '
    'for a whole program as {"stdin": "1 2", "stdout": "3"}.'
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Test:
    """One test, as the judge knows it.

    Attributes:
        call: Function, arguments, keywords; ``None``: the code is a program.
        stdin: What the program reads.
        expected: The right value as JSON text, or what the program should print.
    """

    __test__ = False  # of pytest's concern
    call: Call | None = None
    stdin: str = ""
    expected: str = ""


@dataclass(frozen=True, kw_only=True)
class Code(Scorer):
    """Python code that passes unit tests; 0 to 1, 0 for text that is no code or an empty one.

    The code is the first block between fences of backticks, or else the whole text. Each test is
    an equality: ``"assert f(1, 2) == 3"`` with literals, ``{"function": "f", "args": [1, 2],
    "expected": 3}``, or for programs ``{"stdin": "1 2", "stdout": "3"}``. The score is the share of
    tests passed beyond what the best constant answer would pass (``return True`` earns nothing),
    scaled to end at 1; if all tests expect the same, all or nothing.

    Code runs in ``sandbox`` (read there what it stops and what not), with the standard library
    alone, and never sees what is expected: printing PASS, leaving with ``sys.exit(0)`` or patching
    anything changes nothing. It does see inputs, so tests that stand in the prompt can be learned
    by heart: keep some that do not.

    Attributes:
        tests_column: Column with a list of tests.
        timeout_s: Seconds for all calls of a text together, or for each program: see ``Limits``.
        memory_mb: Address space in 10^6 bytes.
        credit: ``"share"`` as above, or ``"all"``: 1 if every test passes, else 0.
        isolation: ``"full"``, refused where the system does not allow it; or ``"limits"``: for
            containers, no isolation but limits.
    """

    tests_column: str = "tests"
    timeout_s: float = 2.0
    memory_mb: int = 256
    credit: Literal["share", "all"] = "share"
    isolation: Isolation = "full"

    def __post_init__(self) -> None:
        problems = {
            "timeout_s": not 0 < self.timeout_s < math.inf,
            "memory_mb": self.memory_mb < 64,
            "credit": self.credit not in ("share", "all"),
            "isolation": self.isolation not in ("full", "limits"),
        }
        for name in (name for name, is_wrong in problems.items() if is_wrong):
            raise OptionValueError(
                where=f"reward Code.{name}",
                problem=f"is {getattr(self, name)!r}.",
                fix="See sayso.rewards.Code for what it may be.",
            )

    def __call__(self, prompt: Any, completion: str, **columns: Any) -> float:
        """Share of tests passed, less luck."""
        tests = parsed_tests(column(columns, self.tests_column, self), self.tests_column)
        source = source_of(completion)
        if not source.strip() or len(source) > MAX_SOURCE or "\0" in source:
            return 0.0
        passed = self._passed(source, tests)
        if self.credit == "all":
            return float(all(passed))
        return beyond_luck(passed, [test.expected for test in tests])

    def _passed(self, source: str, tests: Sequence[Test]) -> list[bool]:
        limits = Limits(
            seconds=self.timeout_s, memory_mb=self.memory_mb, isolation=self.isolation
        )  # fmt: skip
        if tests[0].call is None:
            return [
                _prints(run(source, {"stdin": test.stdin}, limits), test.expected) for test in tests
            ]
        output = run(source, {"calls": [test.call for test in tests]}, limits)
        values = values_of(output, len(tests))
        return [
            value is not None and same(value[0], json.loads(test.expected))
            for value, test in zip(values, tests, strict=True)
        ]


def source_of(completion: str) -> str:
    """The first fenced block of a text, else all of it."""
    fenced = FENCE.search(completion)
    return fenced[1] if fenced else completion


def beyond_luck(passed: Sequence[bool], expected: Sequence[str]) -> float:
    """Share of tests passed, scaled so that the best constant answer has 0 and all tests 1."""
    share = sum(passed) / len(passed)
    lucky = max(Counter(expected).values()) / len(expected)
    if lucky == 1.0:
        return float(share == 1.0)
    return max(0.0, (share - lucky) / (1.0 - lucky))


def values_of(output: Output, count: int) -> list[list[Any] | None]:
    """Results by call; ``None`` for each that failed.

    Code may write to the pipe itself, or be killed halfway: anything but ``count`` lines in their
    order, from a run that came to its end, is no result at all. So a call is answered once.
    """
    nothing: list[list[Any] | None] = [None] * count
    lines = output.data.split(b"\n")
    if not output.ended or len(lines) != count + 1 or lines[-1]:
        return nothing
    try:
        found = [json.loads(line) for line in lines[:-1]]
    except (ValueError, RecursionError):
        return nothing
    fine = all(v is None or (isinstance(v, list) and len(v) == 1) for v in found)
    return cast("list[list[Any] | None]", found) if fine else nothing


def same(value: Any, expected: Any) -> bool:
    """Equal as in Python, but true is not 1, floats count to nine digits, tuples are lists."""
    if type(value) in (int, float) and type(expected) in (int, float):
        return _close(value, expected)
    if type(value) is not type(expected):
        return False
    if isinstance(expected, list):
        return len(value) == len(expected) and all(map(same, value, expected))
    if isinstance(expected, dict):
        return value.keys() == expected.keys() and all(same(value[k], expected[k]) for k in value)
    return bool(value == expected)


def _close(value: float, expected: float) -> bool:
    if type(value) is type(expected) is int:
        return bool(value == expected)
    try:
        return math.isclose(value, expected, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    except OverflowError:  # a whole number beyond all floats
        return False


def _prints(output: Output, expected: str) -> bool:
    """Whether a program printed the right lines, spaces at their ends aside."""
    if not output.ended:
        return False
    said = output.data.decode("utf-8", "replace").rstrip().splitlines()
    return [line.rstrip() for line in said] == [
        line.rstrip() for line in expected.rstrip().splitlines()
    ]


def parsed_tests(given: Any, where: str) -> list[Test]:
    """The tests of a row.

    Raises:
        EnvContractError: If there are none, one is none of the three forms, or calls and programs
            are mixed.
    """
    listed = [given] if isinstance(given, str | Mapping) else given
    if not isinstance(listed, list | tuple) or not listed:
        raise _wrong(where, f"is {given!r:.80}, which is no list of tests")
    tests = [_parsed(test, f"{where}[{index}]") for index, test in enumerate(listed)]
    if len({test.call is None for test in tests}) > 1:
        raise _wrong(where, "mixes calls of functions and whole programs")
    return tests


def _parsed(test: Any, where: str) -> Test:
    if isinstance(test, str):
        return _asserted(test, where)
    if isinstance(test, Mapping) and {"stdin", "stdout"} == set(test):
        if len(str(test["stdin"]).encode()) > MAX_STDIN:
            raise _wrong(where, f"has more than {MAX_STDIN:,} bytes of stdin")
        return Test(stdin=str(test["stdin"]), expected=str(test["stdout"]))
    if isinstance(test, Mapping) and {"function", "expected"} <= set(test):
        arguments, keywords = list(test.get("args", [])), dict(test.get("kwargs", {}))
        return _call(test["function"], arguments, keywords, test["expected"], where)
    raise _wrong(where, f"is {test!r:.80}, which is no test")


def _asserted(line: str, where: str) -> Test:
    """``assert f(literals) == literal``, read and not run."""
    try:
        (statement,) = ast.parse(line.strip()).body
        match statement:
            case ast.Assert(
                test=ast.Compare(
                    left=ast.Call(func=ast.Name(id=name), args=args, keywords=keywords),
                    ops=[ast.Eq()],
                    comparators=[right],
                )
            ):
                arguments = [ast.literal_eval(argument) for argument in args]
                named = {str(k.arg): ast.literal_eval(k.value) for k in keywords}
                return _call(name, arguments, named, ast.literal_eval(right), where)
            case _:
                raise _wrong(where, f"is {line!r:.80}, which is no equality of a call")
    except (ValueError, SyntaxError) as error:
        if isinstance(error, EnvContractError):
            raise
        raise _wrong(where, f"is {line!r:.80}, which cannot be read ({error})") from error


def _call(
    name: str, arguments: list[Any], keywords: dict[str, Any], expected: Any, where: str
) -> Test:
    try:
        call = json.loads(json.dumps([name, arguments, keywords], allow_nan=False))
        right = json.dumps(tagged(expected), allow_nan=False, sort_keys=True)
    except (TypeError, ValueError) as error:
        raise _wrong(where, f"has an argument or a value JSON cannot hold ({error})") from error
    return Test(call=(call[0], call[1], call[2]), expected=right)


def tagged(value: Any) -> Any:
    """A right value in the form in which the sandbox sends results."""
    if isinstance(value, list | tuple):
        return [tagged(item) for item in value]
    if isinstance(value, set | frozenset):
        return {"set": sorted(map(tagged, value), key=_key)}
    if isinstance(value, Mapping):
        pairs = [[tagged(k), tagged(v)] for k, v in value.items()]
        return {"dict": sorted(pairs, key=lambda pair: _key(pair[0]))}
    return value


def _key(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _wrong(where: str, problem: str) -> EnvContractError:
    return EnvContractError(where=f"reward Code, {where}", problem=f"{problem}.", fix=FIX)
