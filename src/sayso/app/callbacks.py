"""What ``learn`` takes as a callback."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sayso.errors import OptionValueError
from sayso.training.callbacks import Callback, StepReport, TrainingContext


class _FunctionCallback(Callback):
    def __init__(self, function: Callable[..., bool | None]) -> None:
        self.function = function

    def on_step(self, context: TrainingContext, report: StepReport) -> bool | None:
        return self.function(context, report)


def callbacks_of(callback: Any) -> list[Callback]:
    """A list of callbacks from one, several, a function or nothing.

    Raises:
        OptionValueError: If one is none.
    """
    if callback is None:
        return []
    if isinstance(callback, Callback):
        return [callback]
    if callable(callback) and not isinstance(callback, type):
        return [_FunctionCallback(callback)]
    several = callback if isinstance(callback, list | tuple) else [callback]
    for each in several:
        if not isinstance(each, Callback):
            raise OptionValueError(
                where="learn, callback",
                problem=f"got {each!r}, which is no sayso.Callback.",
                fix="Pass a Callback, a list of them, or one function of (context, report).",
            )
    return list(several)
