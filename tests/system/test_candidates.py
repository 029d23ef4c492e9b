"""Learners over candidates from the outside: learn, save, load, predict, refuse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import sayso
from sayso.app.config import load_config
from sayso.app.opening import env_source
from sayso.app.refusals import refuse_unused
from sayso.cli import recipes
from sayso.errors import OptionValueError, UnusedOptionError
from sayso.rollout.preflight import listed_actions

pytestmark = pytest.mark.medium


@pytest.mark.parametrize("features", ["lm", "own"])
@pytest.mark.parametrize("name", ["CandidateDQN", "CandidateSAC"])
def test_a_critic_learns_is_saved_and_acts_alike_when_it_is_loaded(
    name: str, features: str, tmp_path: Path
) -> None:
    options: dict[str, Any] = {
        "tasks_per_step": 4, "updates_per_step": 2, "features": features, "max_new_tokens": 10,
        "max_turns": 3, "candidates": {"num_proposals": 4}, "critic_lr": 1e-2,
        "tiny": {"width": 16, "layers": 1, "heads": 2},
    }  # fmt: skip
    made = getattr(sayso, name)("tiny", "sayso/Maze-v0", **options)
    made.learn(8, run=tmp_path / "run", eval_every=0, progress_bar=False)
    assert made.learner.core.version == 4
    made.save(tmp_path / "agent")
    loaded = sayso.Agent.load(tmp_path / "agent")
    assert type(loaded) is getattr(sayso, name)
    one, other = (agent.learner.lm.q_heads.state_dict() for agent in (made, loaded))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one)
    assert bool(one["critic.heads.0.project.weight"].any())
    greedy = [agent.predict("You: 1, 1.", deterministic=True) for agent in (made, loaded, made)]
    assert greedy[0] == greedy[1] == greedy[2]
    reports = [agent.evaluate(num_episodes=4).mean.mean for agent in (made, loaded)]
    assert reports[0] == reports[1]


def test_listed_actions_that_the_budget_would_cut_are_told_before_a_run(tmp_path: Path) -> None:
    made = sayso.CandidateDQN("tiny", "sayso/Desk-v0", tiny={"width": 16, "layers": 1, "heads": 2})
    with pytest.raises(OptionValueError, match=r"is 64, and of \d+ actions .* longest has \d+ t"):
        made.learn(4, run=tmp_path / "run", progress_bar=False)
    assert not (tmp_path / "run").exists()


def test_the_recipes_of_dialogue_acts_hold_every_listed_line() -> None:
    for name in ("desk_acts", "tutor_acts"):
        config = recipes.config(name, ())
        assert config.algorithm.type == "candidate_dqn"
        texts = listed_actions(env_source(config.env), seed=0)
        assert len(texts) > 20
        # A token of SmolLM2 is hardly ever shorter than two characters of a sentence.
        assert max(map(len, texts)) / 2 < config.sampling.max_new_tokens


@pytest.mark.parametrize(
    ("option", "named"),
    [("kl.coef=0.1", "kl.coef"), ("optim.lr=0.1", "optim.lr"), ("model.lora.rank=4", "model.lora")],
)
@pytest.mark.parametrize("name", ["candidate_dqn", "candidate_sac"])
def test_what_would_train_the_language_model_is_refused(name: str, option: str, named: str) -> None:
    table = {"env": {"id": "sayso/Maze-v0"}, "algorithm": {"type": name}}
    refuse_unused(load_config(table, source="here"))
    with pytest.raises(UnusedOptionError, match=named):
        refuse_unused(load_config(table, source="here", overrides=(option,)))


def test_the_recipe_chooses_among_listed_moves() -> None:
    config = recipes.config("maze_dqn", ())
    assert config.algorithm.type == "candidate_dqn"
    assert config.algorithm.candidates.source == "auto"
