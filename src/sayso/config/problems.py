"""Problems of a configuration, collected and raised together."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

from sayso.config.leaves import suggestion
from sayso.errors import ConfigError, OptionValueError, UnknownOptionError


class Problems:
    """Collects the problems of one source."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.found: list[ConfigError] = []

    def unknown(self, path: str, key: str, known: Iterable[str]) -> None:
        """A key that does not exist."""
        names = list(known)
        near = difflib.get_close_matches(key, names, n=1)
        fix = f"Did you mean `{near[0]}`?" if near else f"Options here: {', '.join(names)}."
        self.found.append(
            UnknownOptionError(where=self._where(path), problem="no such option.", fix=fix)
        )

    def value(self, path: str, problem: str, fix: str) -> None:
        """A value that is missing or wrong."""
        self.found.append(OptionValueError(where=self._where(path), problem=problem, fix=fix))

    def choice(self, path: str, value: object, choices: Sequence[object]) -> None:
        """A value that is none of a few."""
        self.value(path, f"got {value!r}.", suggestion(value, choices))

    def raise_any(self) -> None:
        """Raise the only problem, or one error that lists them all.

        Raises:
            ConfigError: If anything was collected.
        """
        if len(self.found) == 1:
            raise self.found[0]
        if self.found:
            raise ConfigError(
                where=self.source,
                problem=f"{len(self.found)} problems.",
                fix="Correct each of these:\n" + "\n".join(map(str, self.found)),
            )

    def _where(self, path: str) -> str:
        return f"{self.source}, {path}" if path else self.source
