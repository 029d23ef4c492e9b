"""What kinds of algorithms there are, by the name that a run file gives them."""

from __future__ import annotations

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
WITH_CRITIC = frozenset({
    "a2c", "ppo", "awr", "mc_returns", "ilql", "token_dqn", "soft_q", "q_sharp", "archer",
    "offline_archer", "candidate_dqn", "candidate_sac",
})  # fmt: skip
"""Their learners answer ``action_values``: what the states before and after an action are worth."""
