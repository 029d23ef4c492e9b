"""Reward functions written for TRL, as they are."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import MappingProxyType
from typing import Any

from sayso.errors import EnvContractError, OptionValueError
from sayso.rewards.scorer import Rule, name_of, number
from sayso.rewards.sums import Part, Sum

TrlFunction = Callable[..., Any]
NOT_HERE = ("completion_ids", "prompt_ids", "trainer_state", "environments")
"""What TRL's trainer passes besides, and an environment of text does not have."""


class TrlReward:
    """One reward function of TRL's form as a rule; see ``trl``.

    Args:
        function: ``(prompts, completions, **columns) -> list of float or None``.
    """

    def __init__(self, function: TrlFunction) -> None:
        if not callable(function):
            raise OptionValueError(
                where="rewards.trl",
                problem=f"got {function!r:.80}, which cannot be called.",
                fix="Pass reward functions; a reward model is a scorer of its own.",
            )
        self.function, self.__name__ = function, name_of(function)
        wanted = _required(function)
        lacking = [name for name in NOT_HERE if name in wanted]
        if lacking:
            raise OptionValueError(
                where=f"rewards.trl, {self.__name__}",
                problem=f"needs {', '.join(lacking)}, which only TRL's trainer has.",
                fix="Give the parameter a default, or read the texts instead of the tokens.",
            )
        self.columns = tuple(n for n in wanted if n not in ("prompts", "completions"))

    def __deepcopy__(self, memo: dict[int, Any]) -> TrlReward:
        return self

    def __call__(self, prompt: Any, completion: str, **columns: Any) -> float | None:
        """Call it with lists of one."""
        said: Any = completion
        if not isinstance(prompt, str):  # conversational: TRL's completions are then messages
            said = [{"role": "assistant", "content": completion}]
        given = {"prompts": [prompt], "completions": [said]}
        given |= {name: [value] for name, value in columns.items()}
        result = self.function(**_accepted(self.function, given))
        if inspect.isawaitable(result):
            result = _finished(result)
        if hasattr(result, "tolist"):
            result = result.tolist()
        if (
            isinstance(result, str | Mapping)
            or not isinstance(result, Sequence)
            or len(result) != 1
        ):
            raise EnvContractError(
                where=f"reward {self.__name__}",
                problem=f"returned {result!r:.80} for one completion.",
                fix="A function of TRL's form returns a list with a number, or None, for each.",
            )
        return number(result[0], f"reward {self.__name__}")


def trl(
    functions: TrlFunction | Sequence[TrlFunction],
    weights: Sequence[float] | None = None,
) -> Rule:
    """A reward for ``PromptEnv`` out of reward functions written for TRL, unchanged.

    They take lists, ``(prompts, completions, **columns)``, and return one; here the lists hold one
    completion each. Where the prompts are conversations, completions are too, as in TRL. A function
    that compares the completions of a batch with each other finds nothing to compare.

    Args:
        functions: One, or the list of ``GRPOTrainer(reward_funcs=...)``.
        weights: As TRL's ``reward_weights``; unset: 1 each.

    Returns:
        The function as a rule, or the weighted sum of several, each a part by its name.

    Raises:
        OptionValueError: If one cannot be called, or needs token ids or the state of a trainer; or
            if the weights are not as many.

    Example:
        >>> def short(completions, **kwargs):
        ...     return [float(len(text) < 20) for text in completions]
        >>> trl(short)("Name a colour.", "Blue.")
        1.0
    """
    if callable(functions):
        if weights is None:
            return TrlReward(functions)
        functions = [functions]
    if weights is not None and len(weights) != len(functions):
        raise OptionValueError(
            where="rewards.trl",
            problem=f"got {len(functions)} functions and {len(weights)} weights.",
            fix="Pass one weight for each.",
        )
    rules = [TrlReward(function) for function in functions]
    if len({rule.__name__ for rule in rules}) < len(rules):
        raise OptionValueError(
            where="rewards.trl",
            problem=f"two functions have one name: {', '.join(r.__name__ for r in rules)}.",
            fix="Names are those of the parts; set __name__.",
        )
    parts = zip(rules, weights or [1.0] * len(rules), strict=True)
    return Sum({rule.__name__: Part(rule=rule, weight=weight) for rule, weight in parts})


def _finished(result: Awaitable[Any]) -> Any:
    """What it comes to; in a thread of its own where a loop runs already, as in a notebook."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(_awaited(result))
    with ThreadPoolExecutor(max_workers=1) as aside:
        return aside.submit(asyncio.run, _awaited(result)).result()


async def _awaited(result: Awaitable[Any]) -> Any:
    return await result


def _parameters(function: TrlFunction) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(function).parameters
    except (TypeError, ValueError):  # some functions do not tell
        return MappingProxyType({})


def _required(function: TrlFunction) -> list[str]:
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [
        name
        for name, parameter in _parameters(function).items()
        if parameter.kind in named and parameter.default is inspect.Parameter.empty
    ]


def _accepted(function: TrlFunction, given: Mapping[str, Any]) -> dict[str, Any]:
    """All of it where the function takes ``**kwargs``, else what it names.

    TRL itself would raise there: it passes more than the columns, so functions take ``**kwargs``.
    """
    parameters = _parameters(function)
    if not parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return dict(given)
    return {name: value for name, value in given.items() if name in parameters}
