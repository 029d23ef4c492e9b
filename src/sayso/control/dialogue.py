"""``sayso/DialogueActs-v0``: a customer is served by dialogue acts; the words are there already."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sayso.control.env import LMControlEnv

DESK = "sayso/Desk-v0"
MOST_TOKENS = 128
"""Room for the longest act, in bytes if need be."""


class DialogueActsEnv(LMControlEnv):
    """``sayso/Desk-v0`` as a choice among its dialogue acts, for agents of numbers.

    ``sayso/LMControl-v0`` in the mode ``acts`` with ``named_acts`` and ``see_state``: action i says
    ``envs.desk_acts.ACTS[i]`` in the words of the moment, ``action_masks()`` tells which can be
    said now. An act that cannot be said is replaced by one that can, and ``info["invalid_act"]``
    says so. The observation is the state of a frozen model, or of a small encoder, and behind it
    the dialogue state: what was said and shown (``envs.desk_state.STATE``).

    Args:
        lm: As in ``LMControlEnv``; many of them with one batched pass:
            ``make_vec(n, env.unwrapped.controller)``.
        task: An environment whose acts have names: Desk-v0, by default without the reminders of
            its commands, or a subclass of it.
        task_kwargs: Given to it.
        **options: Others of ``LMControlEnv``.
    """

    def __init__(
        self,
        lm: Any = "smollm2",
        task: Any = DESK,
        *,
        task_kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        own = {"remind": False} if task == DESK else {}
        given = {"max_new_tokens": MOST_TOKENS, "see_state": True, **options}
        super().__init__(
            lm, task, "acts", named_acts=True, task_kwargs={**own, **(task_kwargs or {})}, **given
        )
