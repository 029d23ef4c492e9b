"""Do the actions that an environment lists fit into the token budget of one?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sayso.app.config import RunConfig
from sayso.app.opening import rollout_limits
from sayso.envs.registry import EnvSource
from sayso.errors import OptionValueError
from sayso.rollout.preflight import listed_actions

if TYPE_CHECKING:
    from sayso.models.lm import LanguageModel

ROOM = 16
"""A budget is suggested in these steps, above the longest action by a quarter: others may come."""


def require_choices_fit(config: RunConfig, lm: LanguageModel, env: EnvSource) -> None:
    """Refuse a budget that a listed action is longer than, before anything is learned.

    Only for learners that choose among listed actions, in tasks that they play.

    Raises:
        OptionValueError: With the longest of those that a few tasks list, and a budget that holds
            it.
    """
    options: Any = getattr(config.algorithm, "candidates", None)
    if options is None or options.source == "proposed" or config.data.path is not None:
        return
    texts = listed_actions(
        env, seed=config.seed, split=config.train.split, limits=rollout_limits(config.env)
    )
    whole = {text: lm.chat.action(text) for text in texts}
    sizes = {text: len(ids) - lm.chat.is_closed(ids) for text, ids in whole.items()}
    limit, longest = config.sampling.max_new_tokens, max(sizes, key=sizes.__getitem__, default="")
    if longest and sizes[longest] > limit:
        enough = -(-(sizes[longest] * 5 // 4) // ROOM) * ROOM
        raise OptionValueError(
            where="sampling.max_new_tokens",
            problem=f"is {limit}, and of {len(texts)} actions that {env.id} lists in a few tasks "
            f"the longest has {sizes[longest]} tokens: {longest[:60]!r}.",
            fix=f"Set sampling.max_new_tokens = {enough}; in Python, max_new_tokens={enough}.",
        )
