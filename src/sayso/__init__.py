"""sayso: train language models with reinforcement learning. The reward has the say-so.

``import sayso`` loads no torch, opens no socket and writes no file; names load when first used. It
sets one environment variable, how long PyTorch's threads spin: see ``kernels/threads.py``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from sayso.envs import registry as _registry
from sayso.kernels import threads as _threads

if TYPE_CHECKING:
    from sayso.app.agents import A2C as A2C
    from sayso.app.agents import AWR as AWR
    from sayso.app.agents import BC as BC
    from sayso.app.agents import DPO as DPO
    from sayso.app.agents import GRPO as GRPO
    from sayso.app.agents import ILQL as ILQL
    from sayso.app.agents import PPO as PPO
    from sayso.app.agents import RLOO as RLOO
    from sayso.app.agents import ArCHer as ArCHer
    from sayso.app.agents import CandidateDQN as CandidateDQN
    from sayso.app.agents import CandidateSAC as CandidateSAC
    from sayso.app.agents import FilteredBC as FilteredBC
    from sayso.app.agents import MCReturns as MCReturns
    from sayso.app.agents import OfflineArCHer as OfflineArCHer
    from sayso.app.agents import QSharp as QSharp
    from sayso.app.agents import Reinforce as Reinforce
    from sayso.app.agents import ReinforcePP as ReinforcePP
    from sayso.app.agents import SoftQ as SoftQ
    from sayso.app.agents import TokenDQN as TokenDQN
    from sayso.app.audits import audit as audit
    from sayso.app.facade import (
        Agent as Agent,
    )
    from sayso.app.facade import (
        evaluate as evaluate,
    )
    from sayso.app.reward_model import RewardModel as RewardModel
    from sayso.cli.compare import compare as compare
    from sayso.control.agent import SB3Agent as SB3Agent
    from sayso.control.text import load_lm as load_lm
    from sayso.envs.base import TextEnv as TextEnv
    from sayso.envs.media import Media as Media
    from sayso.envs.prompts import PromptEnv as PromptEnv
    from sayso.envs.registry import register as register
    from sayso.envs.rewarded import RewardedBy as RewardedBy
    from sayso.envs.spaces import Chat as Chat
    from sayso.envs.spaces import Message as Message
    from sayso.envs.spaces import Utterance as Utterance
    from sayso.models.media_join import join_media as join_media
    from sayso.rollout.check import check_text_env as check_text_env
    from sayso.training.callbacks import Callback as Callback
    from sayso.training.callbacks import StopOnReward as StopOnReward
    from sayso.types import Episode as Episode
    from sayso.types import Task as Task

_HOMES = {
    "A2C": "app.agents",
    "AWR": "app.agents",
    "ArCHer": "app.agents",
    "BC": "app.agents",
    "DPO": "app.agents",
    "CandidateDQN": "app.agents",
    "CandidateSAC": "app.agents",
    "FilteredBC": "app.agents",
    "GRPO": "app.agents",
    "ILQL": "app.agents",
    "MCReturns": "app.agents",
    "OfflineArCHer": "app.agents",
    "PPO": "app.agents",
    "QSharp": "app.agents",
    "RLOO": "app.agents",
    "Reinforce": "app.agents",
    "ReinforcePP": "app.agents",
    "SoftQ": "app.agents",
    "TokenDQN": "app.agents",
    "Agent": "app.facade",
    "audit": "app.audits",
    "RewardModel": "app.reward_model",
    "RewardedBy": "envs.rewarded",
    "evaluate": "app.facade",
    "compare": "cli.compare",
    "SB3Agent": "control.agent",
    "load_lm": "control.text",
    "Callback": "training.callbacks",
    "StopOnReward": "training.callbacks",
    "Chat": "envs.spaces",
    "Media": "envs.media",
    "Message": "envs.spaces",
    "Utterance": "envs.spaces",
    "TextEnv": "envs.base",
    "PromptEnv": "envs.prompts",
    "check_text_env": "rollout.check",
    "join_media": "models.media_join",
    "register": "envs.registry",
    "Episode": "types",
    "Task": "types",
}

__version__ = "0.1.0"
__all__ = sorted(_HOMES)  # noqa: PLE0605  # one list of names, not two

_registry.register_all()
_threads.wait_briefly()


def __getattr__(name: str) -> Any:
    """Load a public name from where it is defined."""
    if name not in _HOMES:
        raise AttributeError(f"module 'sayso' has no attribute {name!r}")
    return getattr(importlib.import_module(f"sayso.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
