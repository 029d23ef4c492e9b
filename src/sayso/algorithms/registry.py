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
