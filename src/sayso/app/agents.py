"""A class for each algorithm: ``sayso.GRPO``, ``sayso.ILQL`` and so on."""

from __future__ import annotations

from sayso.app.facade import Agent


class GRPO(Agent):
    """Group-relative policy optimisation; ``variant=`` names its relatives."""

    algorithm = "grpo"


class RLOO(Agent):
    """REINFORCE with leave-one-out baselines."""

    algorithm = "rloo"


class Reinforce(Agent):
    """REINFORCE with no baseline, the batch mean or a moving average."""

    algorithm = "reinforce"


class ReinforcePP(Agent):
    """REINFORCE++: token-level KL in the reward, advantages whitened over the batch."""

    algorithm = "reinforce_pp"


class A2C(Agent):
    """Advantage actor-critic."""

    algorithm = "a2c"


class PPO(Agent):
    """Proximal policy optimisation with a critic."""

    algorithm = "ppo"


class ArCHer(Agent):
    """Hierarchical actor-critic: a critic of utterances, an actor of tokens."""

    algorithm = "archer"


class CandidateDQN(Agent):
    """Q-learning over utterances that the model proposes or the environment lists."""

    algorithm = "candidate_dqn"


class CandidateSAC(Agent):
    """Discrete soft actor-critic over utterances."""

    algorithm = "candidate_sac"


class OfflineArCHer(Agent):
    """ArCHer on stored episodes: implicit Q-learning, advantage-weighted regression."""

    algorithm = "offline_archer"


class BC(Agent):
    """Behavioural cloning of stored episodes: supervised fine-tuning."""

    algorithm = "bc"


class FilteredBC(Agent):
    """Behavioural cloning of the best episodes, stored or its own."""

    algorithm = "filtered_bc"


class AWR(Agent):
    """Advantage-weighted regression on stored episodes."""

    algorithm = "awr"


class DPO(Agent):
    """Direct preference optimisation, on stored pairs."""

    algorithm = "dpo"


class MCReturns(Agent):
    """A policy steered by values of tokens that were regressed on returns."""

    algorithm = "mc_returns"


class ILQL(Agent):
    """Implicit language Q-learning: a policy steered by values that stitch data together."""

    algorithm = "ilql"


class TokenDQN(Agent):
    """A deep Q-network over tokens, for small vocabularies."""

    algorithm = "token_dqn"


class SoftQ(Agent):
    """Soft Q-learning: the KL-regularised optimum, from old episodes as well as from new ones."""

    algorithm = "soft_q"


class QSharp(Agent):
    """Q#: the model unchanged, steered by what it would earn itself."""

    algorithm = "q_sharp"


AGENTS: dict[str, type[Agent]] = {agent.algorithm: agent for agent in Agent.__subclasses__()}
