"""What users hand to the façade, as the rest of the package knows it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sayso.app.config import EnvOptions
from sayso.app.opening import env_source
from sayso.data.options import IN_PYTHON
from sayso.envs.nothing import NO_ENV
from sayso.envs.registry import EnvSource, source
from sayso.errors import OptionValueError
from sayso.training.callbacks import Callback, StepReport, TrainingContext


def source_given(env: Any, *, has_data: bool) -> EnvSource:
    """How to open what the user passed; nothing is something where there is data."""
    if env is None and not has_data:
        raise OptionValueError(
            where="env", problem="is missing.",
            fix="Pass an environment; only with data=... can it be left out.",
        )  # fmt: skip
    if env is None:
        return env_source(EnvOptions(id=NO_ENV))
    return env if isinstance(env, EnvSource) else source(env)


def data_given(data: Any) -> tuple[dict[str, Any], Any]:
    """The section of the configuration that ``data=`` stands for, and the records themselves."""
    if data is None:
        return {}, None
    if isinstance(data, str | Path):
        return {"data": {"path": str(data)}}, None
    if isinstance(data, Mapping) and "path" in data:  # the whole section, as for any other
        return {"data": dict(data)}, None
    return {"data": {"path": IN_PYTHON}}, data


class _FunctionCallback(Callback):
    def __init__(self, function: Callable[..., bool | None]) -> None:
        self.function = function

    def on_step(self, context: TrainingContext, report: StepReport) -> bool | None:
        return self.function(context, report)


def callbacks_given(callback: Any) -> list[Callback]:
    """Callbacks, from one, several, or a function.

    Raises:
        OptionValueError: If it is none of these.
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
