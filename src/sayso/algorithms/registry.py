"""Algorithms by the name that a run file gives them."""

from __future__ import annotations

from typing import Any

from sayso.algorithms.a2c import A2C
from sayso.algorithms.candidate_dqn import CandidateDQN
from sayso.algorithms.candidate_sac import CandidateSAC
from sayso.algorithms.grpo import GRPO
from sayso.algorithms.ppo import PPO
from sayso.algorithms.reinforce import Reinforce
from sayso.algorithms.reinforce_pp import ReinforcePP
from sayso.algorithms.rloo import RLOO

ALGORITHMS: dict[str, Any] = {
    "grpo": GRPO,
    "rloo": RLOO,
    "reinforce": Reinforce,
    "reinforce_pp": ReinforcePP,
    "a2c": A2C,
    "ppo": PPO,
    "candidate_sac": CandidateSAC,
    "candidate_dqn": CandidateDQN,
}
