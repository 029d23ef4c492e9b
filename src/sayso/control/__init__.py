"""A frozen language model as a plain Gymnasium environment, for stock Stable-Baselines3 agents."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sayso.control.agent import SB3Agent as SB3Agent
    from sayso.control.defaults import sb3_defaults as sb3_defaults
    from sayso.control.dialogue import DialogueActsEnv as DialogueActsEnv
    from sayso.control.env import LMControlEnv as LMControlEnv
    from sayso.control.env import make_vec as make_vec
    from sayso.control.text import load_lm as load_lm

_HOMES = {
    "DialogueActsEnv": "dialogue",
    "LMControlEnv": "env",
    "SB3Agent": "agent",
    "load_lm": "text",
    "make_vec": "env",
    "sb3_defaults": "defaults",
}
__all__ = sorted(_HOMES)  # noqa: PLE0605  # one list of names, not two


def __getattr__(name: str) -> Any:
    """Load a public name from where it is defined: neither torch nor SB3 before it is needed."""
    if name not in _HOMES:
        raise AttributeError(f"module 'sayso.control' has no attribute {name!r}")
    return getattr(importlib.import_module(f"sayso.control.{_HOMES[name]}"), name)
