"""Errors that sayso raises on purpose.

Every error says four things in this order: a stable code, where it happened, what is
wrong (with the offending value), and what to do about it. The codes are listed in
docs/errors.md, and a test fails when a code is missing there.
"""

from __future__ import annotations

import traceback
from functools import partial
from pathlib import Path
from typing import ClassVar


class SaysoError(Exception):
    """Base of all deliberate errors.

    Attributes:
        code: Stable identifier, for example ``"CFG-001"``.
    """

    code: ClassVar[str] = "SAY-000"

    def __init__(self, *, where: str, problem: str, fix: str) -> None:
        """Build the message.

        Args:
            where: The place in the user's terms: file and key, or run, step and episode.
            problem: What is wrong, quoting the value that was found.
            fix: One action the reader can take.
        """
        super().__init__(f"[{self.code}] {where}: {problem} {fix}")
        self.where, self.problem, self.fix = where, problem, fix

    def __reduce__(self) -> tuple[partial[SaysoError], tuple[()]]:
        """Travel by keyword: errors cross process boundaries."""
        return partial(type(self), where=self.where, problem=self.problem, fix=self.fix), ()


class ConfigError(SaysoError, ValueError):
    """One or more options are wrong; the message lists every problem, one a line."""

    code = "CFG-000"


class UnknownOptionError(ConfigError):
    """A configuration names an option that does not exist."""

    code = "CFG-001"


class OptionValueError(ConfigError):
    """An option is missing, has the wrong type, lies outside its range or contradicts another."""

    code = "CFG-002"


class UnusedOptionError(ConfigError):
    """An option has no effect for what was chosen elsewhere, so it is refused."""

    code = "CFG-003"


class EpisodeError(SaysoError, ValueError):
    """An episode contradicts itself, for example ids and log-probabilities differ in length."""

    code = "EPI-001"


class EnvContractError(SaysoError, ValueError):
    """An environment breaks the contract of ``TextEnv``."""

    code = "ENV-001"


class UnknownNameError(SaysoError, LookupError):
    """No environment, algorithm, recipe or task has this name."""

    code = "ENV-002"


class ModelError(SaysoError, ValueError):
    """A language model cannot be used as asked."""

    code = "MDL-001"


class ModelMissingError(SaysoError, FileNotFoundError):
    """A language model or one of its files is not there and cannot be fetched."""

    code = "MDL-002"


class SamplingError(SaysoError, ValueError):
    """A sampler cannot serve a request: too long, empty, its session busy, or logits not finite."""

    code = "SMP-001"


class ExtraMissingError(SaysoError, ImportError):
    """An optional dependency is not installed; the message names the extra."""

    code = "DEP-001"


class RunError(SaysoError, ValueError):
    """A run directory cannot be used: taken, locked, or not a run."""

    code = "RUN-001"


class CheckpointError(SaysoError, ValueError):
    """No checkpoint verifies, or one is of a newer schema."""

    code = "RUN-002"


class LogError(SaysoError, ValueError):
    """A log of a run is damaged in the middle."""

    code = "RUN-003"


class DataError(SaysoError, ValueError):
    """A stored data set cannot be read or learned from; the message names file and line."""

    code = "DAT-001"


class GuardError(SaysoError, RuntimeError):
    """Training was stopped by a guard; the last good checkpoint is kept. Exit code 3."""

    code = "GRD-001"


def in_a_line(error: BaseException) -> str:
    """What someone else's code raised and where: ``KeyError: 'answer' (judge.py, line 7)``."""
    said = f"{type(error).__name__}: {' '.join(str(error).split())}"
    frames = traceback.extract_tb(error.__traceback__)
    return (
        f"{said} ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else said
    )
