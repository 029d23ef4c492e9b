"""What ``checker`` starts: ``python -I checker_child.py``. Imports nothing of sayso.

Reads one JSON object a line, answers with one. Ends when its standard input closes.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib
import json
import logging
import os
import re
import resource
import signal
import sys
from collections.abc import Callable
from typing import Any

PR_SET_PDEATHSIG = 1
MAX_MEMORY_BYTES = 2_000_000_000


def regex(pattern: str, text: str, *, whole: bool) -> bool:
    """Whether a text, or some of it, matches."""
    compiled = re.compile(pattern)
    return bool(compiled.fullmatch(text) if whole else compiled.search(text))


def math(right: str, text: str) -> bool:
    """Whether the answer that a text gives is equal to the right one, by math-verify.

    Its own timeouts are signals and do not reach into long computations: off, the parent kills.
    """
    library = importlib.import_module("math_verify")
    gold = library.parse(right, parsing_timeout=None)
    if not gold:
        raise ValueError(f"the right answer {right!r} has no mathematics in it")
    said = library.parse(text, parsing_timeout=None)
    return bool(said) and bool(library.verify(gold, said, timeout_seconds=None))


def json_schema(schema: str, text: str, required: list[str]) -> dict[str, Any] | None:
    """Whether JSON fits a schema, and which required properties do not; ``None`` if none can say.

    ``OverflowError`` is a number of the text's that no float holds, beside one of the schema's.
    """
    validator, found = _validator(schema), json.loads(text)
    try:
        errors = list(validator.iter_errors(found))
    except OverflowError:
        return None
    wrong = {error.absolute_path[0] for error in errors if error.absolute_path}
    return {"fits": not errors, "wrong": [name for name in required if name in wrong]}


@functools.lru_cache(maxsize=256)
def _validator(schema: str) -> Any:
    loaded = json.loads(schema)
    return importlib.import_module("jsonschema").validators.validator_for(loaded)(loaded)


CHECKS: dict[str, Callable[..., Any]] = {"regex": regex, "math": math, "json_schema": json_schema}
IMPORTS = {"regex": "re", "math": "math_verify", "json_schema": "jsonschema"}


def answer(call: dict[str, Any]) -> dict[str, Any]:
    """The answer to one call."""
    try:
        if "import" in call:
            sys.path[:] = call["path"]
            importlib.import_module(IMPORTS[call["import"]])
            return {"result": True}
        return {"result": CHECKS[call.pop("check")](**call)}
    except ImportError as error:
        return {"missing": str(error)}
    except (MemoryError, RecursionError):
        return {"result": None}
    except Exception as error:  # noqa: BLE001  # the parent raises it
        return {"error": f"{type(error).__name__}: {error}"}


def main() -> None:
    """Serve until the parent is gone."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # also while a check hangs
    with contextlib.suppress(ValueError, OSError):  # a smaller limit is set already
        resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    logging.disable(logging.ERROR)  # math-verify warns that it watches no time
    answers = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)  # what a library prints is no answer
    for line in sys.stdin:
        answers.write(json.dumps(answer(json.loads(line))) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
