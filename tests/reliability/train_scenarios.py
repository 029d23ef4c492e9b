"""Small whole runs for kill and resume tests: single-turn, multi-turn, remembered, stored."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch

from sayso.app.assemble import assemble, build_learner, build_lm
from sayso.app.config import load_config
from sayso.app.opening import config_of, create_run
from sayso.app.warm import FOLDER, warm_up
from sayso.runs.run import Run
from sayso.training.callbacks import Callback
from sayso.training.loop import TrainResult, train

TINYLANG: dict[str, Any] = {
    "model": {"name": "tiny", "tiny": {"tokens": ["a", "b"], "width": 16, "layers": 1, "heads": 2}},
    "env": {"id": "sayso/TinyLang-v0"},
    "sampling": {"max_new_tokens": 3},
    "optim": {"lr": 3e-3},
    "train": {
        "total_episodes": 48,
        "checkpoint_every": 2,
        "eval_every": 3,
        "eval_split": "train",
        "eval_episodes": 4,
    },
}
SMALL_MAZE: dict[str, Any] = {
    "model": {
        "name": "tiny",
        "tiny": {
            "tokens": ["move up", "move down", "move left", "move right", "Goal: ", "You: ",
                       "Walls: ", "above", "below", "left", "right", "none", "Success.", ", ", ". ",
                       ".", "\n", "0", "1", "2", "3", "4"],
            "width": 16, "layers": 1, "heads": 2, "context": 128,
        },
    },
    "env": {
        "id": "sayso/Maze-v0",
        "kwargs": {"layout": ["11111", "10001", "11011", "11111"], "goal": [2, 2], "starts": "all"},
        "max_turns": 4,
    },
    "sampling": {"max_new_tokens": 1},
    "optim": {"lr": 3e-3},
    "train": {
        "total_episodes": 36,
        "checkpoint_every": 2,
        "eval_every": 3,
        "eval_split": "train",
        "eval_episodes": 3,
    },
}  # fmt: skip
SCENARIOS: dict[str, dict[str, Any]] = {
    "reinforce": {
        **TINYLANG,
        "algorithm": {"type": "reinforce", "tasks_per_step": 1, "group_size": 8},
    },
    "grpo": {
        **TINYLANG,
        "algorithm": {
            "type": "grpo", "tasks_per_step": 1, "group_size": 8, "epochs": 2, "minibatches": 2,
        },
        "kl": {"coef": 0.1, "target": 0.05},
    },
    "ppo": {
        **SMALL_MAZE,
        "algorithm": {
            "type": "ppo", "tasks_per_step": 3, "group_size": 2, "epochs": 2, "minibatches": 2,
        },
    },
    "filtered_bc": {
        **TINYLANG,
        "algorithm": {
            "type": "filtered_bc", "tasks_per_step": 1, "group_size": 8, "top": 0.3, "draws": 4,
            "replay": {"capacity": 12},
        },
    },
    "token_dqn": {
        **TINYLANG,
        "algorithm": {
            "type": "token_dqn", "tasks_per_step": 1, "group_size": 8, "epsilon_decisions": 36,
            "updates_per_step": 2, "target_every": 3, "target_rate": 0.5,
            "replay": {"capacity": 20, "sampling": "prioritised"},
        },
        "optim": {},
    },
    "candidate_dqn": {
        **SMALL_MAZE,
        "algorithm": {
            "type": "candidate_dqn", "tasks_per_step": 3, "group_size": 2, "explore": "epsilon",
            "epsilon_decisions": 60, "updates_per_step": 2, "draws": 8, "target_every": 3,
            "replay": {"capacity": 16},
        },
        "optim": {},
    },
    "warm": {
        **TINYLANG,
        "algorithm": {"type": "rloo", "tasks_per_step": 1, "group_size": 8},
        "kl": {"coef": 0.1},
        "train": {**TINYLANG["train"], "total_episodes": 24},
        "warm_start": {"player": "reference", "games": 24, "batch_episodes": 8, "lr": 1e-2},
    },
    "awr_stored": {
        **TINYLANG,
        "algorithm": {"type": "awr", "beta": 0.5},
        "data": {"path": str(Path(__file__).with_name("words.jsonl")), "batch_episodes": 8},
    },
}  # fmt: skip
STORED = ("awr_stored",)
"""They play only to be measured and log no episode."""


def run_training(
    path: Path, scenario: str, *, seed: int = 0, callbacks: tuple[Callback, ...] = ()
) -> TrainResult:
    """Start the run, or go on with it from whatever a kill left behind."""
    torch.set_num_threads(1)
    if (path / "meta.json").is_file():
        run = Run.open(path)
        config = config_of(run)
    else:
        config = load_config({**SCENARIOS[scenario], "seed": seed}, source=scenario)
        if path.exists():  # killed while it was being made: nothing is lost yet
            shutil.rmtree(path)
        run = create_run(config, path)
    with run.lock():
        lm = build_lm(config)
        warm_up(config, lm, path / FOLDER)
        learner = build_learner(config, lm)
        return train(assemble(config, run, learner=learner, callbacks=callbacks))
