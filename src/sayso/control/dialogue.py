"""``sayso/DialogueActs-v0``: a customer is served by dialogue acts; the words are there already."""

from __future__ import annotations

from typing import Any

from sayso.control.env import LMControlEnv

MOST_TOKENS = 128
"""Room for the longest act, in bytes if need be."""


class DialogueActsEnv(LMControlEnv):
    """``sayso/Desk-v0`` as a choice among its dialogue acts, for agents of numbers.

    ``sayso/LMControl-v0`` in the mode ``acts`` with ``named_acts``: action i says
    ``envs.desk_acts.ACTS[i]`` in the words of the moment, ``action_masks()`` tells which can be
    said now. An act that cannot be said is replaced by one that can, and ``info["invalid_act"]``
    says so. The observation is the state of a frozen model, or of a small encoder.

    Args:
        lm: As in ``LMControlEnv``; many of them with one batched pass:
            ``make_vec(n, env.unwrapped.controller)``.
        task: An environment whose acts have names: Desk-v0, or a subclass of it.
        **options: Others of ``LMControlEnv``.
    """

    def __init__(self, lm: Any = "smollm2", task: Any = "sayso/Desk-v0", **options: Any) -> None:
        options.setdefault("max_new_tokens", MOST_TOKENS)
        super().__init__(lm, task, "acts", named_acts=True, **options)
