"""Algorithms by the name that a run file gives them."""

from __future__ import annotations

from typing import Any

from sayso.algorithms.a2c import A2C
from sayso.algorithms.archer import ArCHer
from sayso.algorithms.awr import AWR
from sayso.algorithms.bc import BC
from sayso.algorithms.candidate_dqn import CandidateDQN
from sayso.algorithms.candidate_sac import CandidateSAC
from sayso.algorithms.dpo import DPO
from sayso.algorithms.filtered_bc import FilteredBC
from sayso.algorithms.grpo import GRPO
from sayso.algorithms.ilql import ILQL
from sayso.algorithms.mc_returns import MCReturns
from sayso.algorithms.offline_archer import OfflineArCHer
from sayso.algorithms.ppo import PPO
from sayso.algorithms.q_sharp import QSharp
from sayso.algorithms.reinforce import Reinforce
from sayso.algorithms.reinforce_pp import ReinforcePP
from sayso.algorithms.rloo import RLOO
from sayso.algorithms.soft_q import SoftQ
from sayso.algorithms.token_dqn import TokenDQN

ALGORITHMS: dict[str, Any] = {
    "grpo": GRPO,
    "rloo": RLOO,
    "reinforce": Reinforce,
    "reinforce_pp": ReinforcePP,
    "a2c": A2C,
    "ppo": PPO,
    "bc": BC,
    "filtered_bc": FilteredBC,
    "awr": AWR,
    "dpo": DPO,
    "mc_returns": MCReturns,
    "ilql": ILQL,
    "token_dqn": TokenDQN,
    "soft_q": SoftQ,
    "q_sharp": QSharp,
    "archer": ArCHer,
    "offline_archer": OfflineArCHer,
    "candidate_sac": CandidateSAC,
    "candidate_dqn": CandidateDQN,
}
ON_POLICY = frozenset({"grpo", "rloo", "reinforce", "reinforce_pp", "a2c", "ppo", "archer"})
"""They learn from what their own policy has just sampled, never from a stored data set."""
OFFLINE_ONLY = frozenset({"bc", "awr", "dpo", "offline_archer"})
"""They learn from a stored data set and do not play."""
HEADS_ONLY = frozenset({"q_sharp", "candidate_dqn", "candidate_sac"})
"""They leave the language model as it is and train what they add."""
WITHOUT_KL = HEADS_ONLY | {
    "bc", "filtered_bc", "awr", "dpo", "offline_archer", "mc_returns", "ilql", "token_dqn",
    "soft_q",
}  # fmt: skip
"""They stay near the data by themselves; a distance to the reference is no part of them."""
NEEDS_NO_REWARD = frozenset({"bc", "dpo"})
"""They learn from episodes that nobody graded."""
OF_PAIRS = frozenset({"dpo"})
"""They learn from stored preferences, two episodes each, and from nothing else."""
