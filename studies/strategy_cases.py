"""What ``studies/strategy.py`` runs: environments, arms, budgets. All of it set before the runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import compress, product
from string import ascii_lowercase
from typing import Any

Table = Mapping[str, Any]
SIDES = ("above", "below", "left", "right")
ROOM = ("111111", "100001", "100001", "100001", "100001", "111111")
ROOM_TOKENS = [
    *(f"move {way}" for way in ("up", "down", "left", "right")), "Success.", "\n",
    *(f"Goal: {r}, {c}. You: " for r in range(1, 5) for c in range(1, 5)),
    *(f"{r}, {c}" for r in range(1, 5) for c in range(1, 5)),
    *(f". Walls: {', '.join(compress(SIDES, walls)) or 'none'}."
      for walls in product((True, False), repeat=4)),
]  # fmt: skip
"""A symbol for each goal, place and set of walls: the way is to be learned, not how to read."""
WORDLE_TOKENS = ["Wordle:", "not a word", "\n", *ascii_lowercase]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One environment of the study.

    Attributes:
        title: In the page.
        env: Its id.
        kwargs: Of its constructor.
        shared: Options of every arm: model, env, sampling, train.
        online: Arms that play, by name.
        logged: Arms that read the stored games.
        ablations: Arms with all counter-measures of their kind, and with one of them off.
        players: Who plays the stored games, each with its number.
        batch_episodes: Stored games of an optimiser step.
        budget: Of an arm that plays.
        logged_budget: Of one that reads.
        adapt: Episodes on unseen tasks after which the return on them is measured.
        a, b, ensemble: Arms that stand for the strategies, named in advance.
        imitated: Stored games that the first model of all arms has imitated; 0: it is random.
        episodes: Of each evaluation at the end.
        untried: Why it is not among the cases that run by default; empty: it is.
    """

    title: str
    env: str
    kwargs: Table = field(default_factory=dict)
    shared: Table
    online: Mapping[str, Table]
    logged: Mapping[str, Table]
    ablations: Mapping[str, Table] = field(default_factory=dict)
    players: Mapping[str, int]
    batch_episodes: int = 32
    budget: str
    logged_budget: str
    adapt: tuple[int, ...] = (0, 64, 256)
    a: str
    b: str = "dqn"
    ensemble: str = "dqn_ensemble"
    imitated: int = 0
    episodes: int = 100
    untried: str = ""

    def options(self, regime: str, arm: str, *, model: str, data: str) -> dict[str, Any]:
        """The whole table of an arm.

        Args:
            regime: ``online``, ``logged`` or ``ablations``.
            arm: Its name.
            model: Where the first model lies, if it has imitated.
            data: Where the stored games lie, if they are read.
        """
        more: dict[str, Any] = {"env": {"kwargs": dict(self.kwargs)}}
        if model:
            more["model"] = {"name": model}
        if data:
            more["data"] = {"path": data, "batch_episodes": self.batch_episodes}
        return merged(self.shared, more, getattr(self, regime)[arm])


def merged(*tables: Table) -> dict[str, Any]:
    """Tables of tables as one; later ones win."""
    found: dict[str, Any] = {}
    for table in tables:
        for key, value in table.items():
            old = found.get(key)
            is_table = isinstance(old, Mapping) and isinstance(value, Mapping)
            found[key] = merged(old, value) if is_table else value
    return found


def arm(kind: str, *, lr: float | None = None, **options: Any) -> dict[str, Any]:
    """Options of an algorithm, and the learning rate of the language model, if it learns."""
    found: dict[str, Any] = {"algorithm": {"type": kind, **options}}
    return found if lr is None else {**found, "optim": {"lr": lr}}


def reading(options: Table) -> dict[str, Any]:
    """Options without those that say how to play: stored games were played by others."""
    return {k: v for k, v in options.items() if k not in ("tasks_per_step", "group_size")}


STOPS = {"train": {"eval_every": 4, "eval_split": "held_out", "eval_episodes": 48, "patience": 4}}
DECAYS, NEAR = {"optim": {"weight_decay": 0.1}}, {"kl": {"coef": 0.05}}


def ablated(
    policy: Table, values: Table, *, policy_name: str, without_epsilon: Table
) -> dict[str, Table]:
    """Each counter-measure off once, beside all of them on."""
    whole, careful = merged(policy, NEAR, DECAYS, STOPS), merged(values, DECAYS)
    return {
        f"{policy_name}, all on": whole,
        f"{policy_name} without KL": merged(policy, DECAYS, STOPS),
        f"{policy_name} without weight decay": merged(policy, NEAR, STOPS),
        f"{policy_name} without early stopping": merged(policy, NEAR, DECAYS),
        "dqn, all on": careful,
        "dqn without weight decay": values,
        "dqn without ε": merged(careful, without_epsilon),
        "dqn without replay": merged(careful, {"algorithm": {"replay": {"capacity": 0}}}),
    }


GREEDY = {"algorithm": {"epsilon_start": 0.0, "epsilon_end": 0.0}}

# One turn, a walk is an utterance; all arms begin with a model that has read random walks.
WALK_PG = {"tasks_per_step": 8, "group_size": 8}
WALK_DQN: dict[str, Any] = {
    "tasks_per_step": 8, "group_size": 8, "critic_lr": 2e-3, "updates_per_step": 8,
    "candidates": {"num_proposals": 8},
}  # fmt: skip
WALK_EPSILON = {
    "explore": "epsilon", "epsilon_start": 1.0, "epsilon_end": 0.05, "epsilon_decisions": 2000,
}  # fmt: skip
WALK_SOFT = {"tasks_per_step": 8, "group_size": 8, "beta": 0.05, "updates_per_step": 4}
WALKS = Case(
    title="RandomWalks-v0",
    env="sayso/RandomWalks-v0",
    shared={
        "env": {"id": "sayso/RandomWalks-v0"},
        "sampling": {"max_new_tokens": 10},
        "optim": {"micro_batch_tokens": 4096},
    },
    online={
        "rloo": arm("rloo", lr=1e-3, **WALK_PG),
        "grpo": arm("grpo", lr=1e-3, epochs=2, **WALK_PG),
        "ppo": arm("ppo", lr=1e-3, epochs=2, minibatches=2, critic_lr=1e-2, **WALK_PG),
        "dqn": arm("candidate_dqn", **WALK_DQN, **WALK_EPSILON),
        "dqn_ensemble": arm(
            "candidate_dqn", **WALK_DQN, explore="thompson", ensemble={"prior_scale": 0.3}
        ),
        "soft_q": arm("soft_q", lr=1e-3, **WALK_SOFT),
        "archer": arm(
            "archer", lr=1e-3, tasks_per_step=8, group_size=8, critic_updates=20,
            warmup_updates=5,
        ),
        "filtered_bc": arm("filtered_bc", lr=1e-3, updates_per_step=4, **WALK_PG),
    },
    logged={
        "bc": arm("bc", lr=1e-3),
        "filtered_bc": arm("filtered_bc", lr=1e-3),
        "awr": arm("awr", lr=1e-3, beta=0.2),
        "dqn": arm("candidate_dqn", **reading(WALK_DQN), alpha_cql=0.1),
        "soft_q": arm("soft_q", lr=1e-3, **reading(WALK_SOFT)),
        "offline_archer": arm("offline_archer", lr=1e-3, trunk="copy", advantage_weight=5.0),
    },
    ablations=ablated(
        arm("rloo", lr=1e-3, **WALK_PG), arm("candidate_dqn", **WALK_DQN, **WALK_EPSILON),
        policy_name="rloo", without_epsilon=GREEDY,
    ),
    players={"random_walk": 1_000},
    budget="env_tokens=16000",
    logged_budget="learner_tokens=1000000",
    a="rloo",
    imitated=6_000,
)  # fmt: skip

# Several turns; four moves are listed, and a symbol each for a policy that samples tokens.
MAZE_PG = {"tasks_per_step": 32, "group_size": 2}
MAZE_PPO = arm(
    "ppo", lr=3e-3, epochs=3, minibatches=4, gamma_turn=0.95, value_coef=0.05, critic_lr=1e-2,
    whiten="none", entropy_coef=0.1, **MAZE_PG,
)  # fmt: skip
MAZE_DQN: dict[str, Any] = {
    "tasks_per_step": 32, "features": "own", "gamma_turn": 0.95, "critic_lr": 1e-3,
    "updates_per_step": 8, "target_every": 20, "candidates": {"state": "observation"},
}  # fmt: skip
MAZE_EPSILON = {
    "explore": "epsilon", "epsilon_start": 1.0, "epsilon_end": 0.05, "epsilon_decisions": 4000,
}  # fmt: skip
MAZE_SOFT = {"beta": 0.3, "updates_per_step": 4, "critic_lr": 1e-2}
MAZE_GROUPS = {"tasks_per_step": 8, "group_size": 8, "entropy_coef": 0.03}
MAZE = Case(
    title="Maze-v0, goals held out",
    env="sayso/Maze-v0",
    kwargs={"layout": list(ROOM), "goal": [1, 1], "goals": "split", "max_moves": 12},
    shared={
        "model": {
            "name": "tiny",
            "tiny": {
                "tokens": ROOM_TOKENS, "width": 64, "layers": 1, "heads": 4, "context": 64,
            },
        },
        "env": {"id": "sayso/Maze-v0", "context": "turn"},
        "sampling": {"max_new_tokens": 1},
        "optim": {"micro_batch_tokens": 4096},
    },
    online={
        "ppo": MAZE_PPO,
        "rloo": arm("rloo", lr=3e-3, **MAZE_GROUPS),
        "grpo": arm("grpo", lr=3e-3, epochs=2, **MAZE_GROUPS),
        "dqn": arm("candidate_dqn", **MAZE_DQN, **MAZE_EPSILON),
        "dqn_ensemble": arm("candidate_dqn", **MAZE_DQN, explore="thompson"),
        "soft_q": arm("soft_q", lr=1e-3, tasks_per_step=32, **MAZE_SOFT),
        "archer": arm(
            "archer", lr=3e-3, tasks_per_step=32, critic_updates=10, critic_lr=3e-3,
            target_rate=0.05, warmup_updates=5, trunk="copy", entropy_coef=0.03,
        ),
        "filtered_bc": arm("filtered_bc", lr=1e-3, updates_per_step=4, among="all", **MAZE_PG),
    },
    logged={
        "bc": arm("bc", lr=2e-3),
        "filtered_bc": arm("filtered_bc", lr=2e-3),
        "awr": arm("awr", lr=2e-3, gamma_turn=0.95),
        "dqn": arm("candidate_dqn", **reading(MAZE_DQN), alpha_cql=0.1),
        "soft_q": arm("soft_q", lr=1e-3, **MAZE_SOFT),
        "offline_archer": arm("offline_archer", lr=2e-3, gamma_turn=0.95, trunk="copy"),
    },
    ablations=ablated(
        MAZE_PPO, arm("candidate_dqn", **MAZE_DQN, **MAZE_EPSILON),
        policy_name="ppo", without_epsilon=GREEDY,
    ),
    players={"random": 1_000, "shortest": 200},
    budget="env_tokens=60000",
    logged_budget="learner_tokens=1500000",
    a="ppo",
    episodes=90,
)  # fmt: skip

WORDLE_SHARED: Table = {
    "env": {"id": "sayso/Wordle-v0"},
    "sampling": {"max_new_tokens": 6},
    "optim": {"micro_batch_tokens": 8192},
}
WORDLE_DQN: dict[str, Any] = {
    "tasks_per_step": 64, "features": "own", "critic_lr": 5e-4,
    "candidates": {"num_proposals": 16}, "updates_per_step": 16,
}  # fmt: skip
WORDLE = Case(
    title="Wordle-v0",
    env="sayso/Wordle-v0",
    shared=WORDLE_SHARED,
    online={
        "ppo": arm("ppo", lr=3e-4, tasks_per_step=64, group_size=2, epochs=2, minibatches=4),
        "rloo": arm("rloo", lr=3e-4, tasks_per_step=16, group_size=8),
        "grpo": arm("grpo", lr=3e-4, tasks_per_step=16, group_size=8, epochs=2),
        "dqn": arm("candidate_dqn", **WORDLE_DQN, **WALK_EPSILON),
        "dqn_ensemble": arm("candidate_dqn", **WORDLE_DQN, explore="thompson"),
        "soft_q": arm("soft_q", lr=3e-4, updates_per_step=4),
        "archer": arm("archer", lr=3e-4, trunk="copy", critic_updates=20),
        "filtered_bc": arm("filtered_bc", lr=3e-4, tasks_per_step=16, group_size=8),
    },
    logged={
        "bc": arm("bc", lr=1e-3),
        "filtered_bc": arm("filtered_bc", lr=1e-3),
        "awr": arm("awr", lr=1e-3),
        "dqn": arm("candidate_dqn", **reading(WORDLE_DQN), alpha_cql=0.1),
        "soft_q": arm("soft_q", lr=3e-4),
        "offline_archer": arm("offline_archer", lr=1e-3, trunk="copy"),
    },
    players={"mixture": 20_000},
    budget="env_tokens=4000000",
    logged_budget="learner_tokens=40000000",
    adapt=(0, 64, 256, 1000),
    a="ppo",
    imitated=60_000,
    untried="hours for each arm",
)


def _dialogue(title: str, kwargs: Table, tokens: int) -> Case:
    """A conversation with SmolLM2: candidates choose among listed acts, policies write."""
    env = f"sayso/{title}-v0"
    candidates: dict[str, Any] = {"tasks_per_step": 32, "updates_per_step": 16}
    groups = {"tasks_per_step": 6, "group_size": 8}

    def adapted(kind: str, **options: Any) -> dict[str, Any]:
        """An arm that trains adapters; candidates leave the model as it is."""
        return merged(arm(kind, **options), {"model": {"lora": {"rank": 16, "alpha": 32.0}}})

    return Case(
        title=f"{title}-v0",
        env=env,
        kwargs=kwargs,
        shared={
            "model": {"name": "smollm2"},
            "env": {"id": env},
            "sampling": {"temperature": 0.7, "max_new_tokens": tokens, "stop": ["\n"]},
        },
        online={
            "ppo": adapted("ppo", lr=4e-4, tasks_per_step=48, epochs=2, minibatches=4),
            "rloo": adapted("rloo", lr=4e-4, **groups),
            "grpo": adapted("grpo", lr=4e-4, epochs=2, **groups),
            "dqn": arm("candidate_dqn", **candidates, **WALK_EPSILON),
            "dqn_ensemble": arm("candidate_dqn", **candidates, explore="thompson"),
            "soft_q": adapted("soft_q", lr=1e-4, tasks_per_step=48),
            "archer": adapted("archer", lr=1e-4, tasks_per_step=48, critic_updates=20),
            "filtered_bc": adapted("filtered_bc", lr=2e-4, **groups),
        },
        logged={
            "bc": adapted("bc", lr=2e-4),
            "filtered_bc": adapted("filtered_bc", lr=2e-4),
            "awr": adapted("awr", lr=2e-4),
            "dqn": arm("candidate_dqn", **reading(candidates), alpha_cql=0.1),
            "soft_q": adapted("soft_q", lr=1e-4),
            "offline_archer": adapted("offline_archer", lr=2e-4),
        },
        players={"mixture": 1_000},
        budget="env_tokens=500000",
        logged_budget="learner_tokens=4000000",
        a="ppo",
        untried="a 135 million model: a day for each arm on two cores",
    )


CASES = {
    "walks": WALKS,
    "maze": MAZE,
    "wordle": WORDLE,
    "desk": _dialogue("Desk", {"with_example": True, "remind": False}, 24),
    "tutor": _dialogue("Tutor", {"with_example": True, "num_turns": 6}, 32),
}
REGIMES = {
    "online": "playing, from the same model",
    "logged": "reading the same stored games",
    "ablations": "counter-measures against over-fitting, each off once",
}
