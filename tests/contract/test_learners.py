"""What every learner promises, checked on every learner: numbers, masks, endings, state."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from learner_cases import (
    CRITICS,
    END,
    GROUP_METHODS,
    VARIANTS,
    flat,
    gradient_of,
    learner,
    mixed_batch,
    perturb,
    randomise_critic,
    same_bits,
    shifted,
    tiny_lm,
    weights,
    written,
)
from torch import Tensor

from sayso.algorithms import epochs
from sayso.algorithms.base import Learner, LearnerState
from sayso.algorithms.critic import Judgement, judge
from sayso.algorithms.epochs import experience
from sayso.algorithms.kl import reference_logprobs
from sayso.algorithms.options.kl import KLOptions
from sayso.algorithms.options.optim import OptimOptions
from sayso.envs.registry import source
from sayso.errors import ModelError
from sayso.metrics import Mean
from sayso.models.load import load
from sayso.models.options import LoraOptions, ModelOptions, TinyOptions
from sayso.rollout.collect import collect
from sayso.rollout.limits import RolloutLimits
from sayso.sampling.options import SamplingOptions
from sayso.types import EndReason, Episode

pytestmark = pytest.mark.medium

every_learner = pytest.mark.parametrize("name", list(VARIANTS))
group_methods = pytest.mark.parametrize("name", GROUP_METHODS)
critics = pytest.mark.parametrize("name", CRITICS)
KLS = {
    "no KL": KLOptions(),
    "KL in the reward": KLOptions(coef=0.3),
    "KL in the loss": KLOptions(coef=0.3, place="loss", estimator="k3"),
}


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def made_on_stale_data(name: str, kl: KLOptions | None = None, **more: Any) -> tuple[Any, Any]:
    """A learner whose policy has moved since the episodes were sampled: no ratio is 1."""
    lm = tiny_lm()
    episodes = mixed_batch(lm)
    made = learner(name, lm, kl=kl, **more)
    perturb(lm, scale=0.03)
    if name in CRITICS:
        randomise_critic(lm)
    return made, episodes


@every_learner
def test_every_learner_is_a_learner(name: str) -> None:
    assert isinstance(learner(name), Learner)


@every_learner
@pytest.mark.parametrize("kl", list(KLS))
def test_row_02_the_gradient_does_not_depend_on_the_micro_batch_or_the_order(
    name: str, kl: str
) -> None:
    made, episodes = made_on_stale_data(name, KLS[kl], entropy_coef=0.1)
    expected = flat(gradient_of(made, episodes))
    assert expected.norm() > 0
    for budget in (1, 9, 14):
        made.core.optimiser.options = OptimOptions(micro_batch_tokens=budget)
        assert len(made.core.pack(episodes).rows) > 1
        found = flat(gradient_of(made, episodes))
        assert (found - expected).abs().max() <= 1e-12 * expected.abs().max()
        order = np.random.default_rng(budget).permutation(len(episodes))
        shuffled = flat(gradient_of(made, [episodes[i] for i in order]))
        assert (shuffled - expected).abs().max() <= 1e-12 * expected.abs().max()


@every_learner
def test_row_45_metrics_are_means_over_all_tokens_whatever_the_micro_batch(name: str) -> None:
    updates = []
    for budget in (1, 9, 1000):
        made, episodes = made_on_stale_data(
            name, KLS["KL in the reward"], entropy_coef=0.1,
            optim=OptimOptions(micro_batch_tokens=budget),
            **({"epochs": 1} if name == "ppo" else {}),
        )  # fmt: skip
        updates.append(made.update(episodes, seed=0).metrics)
    for metrics in updates[1:]:
        assert metrics.keys() == updates[0].keys()
        for key, mean in metrics.items():
            assert mean.count == pytest.approx(updates[0][key].count)
            assert mean.value == pytest.approx(updates[0][key].value, rel=1e-9, abs=1e-12), key
    surprisal = [-p for e in episodes for turn in e.turns for p in turn.action_logprobs]
    assert updates[1]["policy/surprisal"].count == len(surprisal)
    assert updates[1]["policy/surprisal"].value == pytest.approx(np.mean(surprisal))


@group_methods
def test_row_04_a_group_of_one_is_left_out_with_a_warning(name: str) -> None:
    made, episodes = made_on_stale_data(name)
    lone = written(made.lm, [([END, 1], [0, 1, END], 1.0)], task="lone")
    expected = flat(gradient_of(made, episodes))
    assert torch.equal(flat(gradient_of(made, [*episodes, lone])), expected)
    before = weights(made)
    update = made.update([lone], seed=0)
    assert update.num_optimiser_steps == 0
    assert same_bits(weights(made), before)
    assert "lone attempt" in update.warnings[0]


@pytest.mark.parametrize("name", sorted(set(VARIANTS) - set(GROUP_METHODS)))
def test_row_04_methods_that_compare_nothing_train_on_a_lone_attempt(name: str) -> None:
    made, _ = made_on_stale_data(name)
    turns = [([END, 1], [0, 1, END], 1.0), ([0], [1, END], 0.5)]
    update = made.update([written(made.lm, turns, task="lone")], seed=0)
    assert update.num_optimiser_steps >= 1
    assert update.warnings == ()


@group_methods
def test_row_03_a_group_of_equal_rewards_changes_nothing_and_says_so(name: str) -> None:
    made = learner(name)
    group = [written(made.lm, [([END], said, 0.1)], sample=i)
             for i, said in enumerate(([0, END], [END], [1, 0, 1]))]  # fmt: skip
    assert flat(gradient_of(made, group)).abs().max() == 0
    update = made.update(group, seed=0)
    assert update.metrics["group/dead_frac"] == Mean(1, 1)
    assert "All rewards within every group are equal" in update.warnings[0]


MAZE_TOKENS = (
    "move up", "move down", "move left", "move right", "Goal: ", "You: ", "Walls: ", "above",
    "below", "left", "right", "none", "Success.", ", ", ". ", ".", "\n", "0", "1", "2", "3", "4",
)  # fmt: skip


def sampled(name: str, env: str, **options: Any) -> tuple[Any, list[Episode]]:
    """A float32 learner and what its own engine made it say in an environment."""
    if env == "maze":
        words = source("sayso/Maze-v0", layout=["11111", "10001", "11111"], goal=[1, 3],
                       starts="all", max_moves=2)  # fmt: skip
        tokens: Any = MAZE_TOKENS
    else:
        words, tokens = source("sayso/TinyLang-v0"), "ab"
    tiny = TinyOptions(tokens=tokens, width=16, layers=1, heads=2, context=128)
    lm = load("tiny", ModelOptions(name="tiny", tiny=tiny))
    sampling = SamplingOptions(max_new_tokens=1 if env == "maze" else 3)
    made = learner(name, lm, sampling=sampling, **options)
    episodes = collect(made.sampler(), words.open().tasks("train"), words, group_size=8, seed=0,
                       path=("rollout",), limits=RolloutLimits())  # fmt: skip
    return made, episodes


@every_learner
@pytest.mark.parametrize("env", ["tinylang", "maze"])
def test_row_12_on_the_first_pass_every_ratio_to_the_recorded_sampler_is_one(
    name: str, env: str
) -> None:
    more = {"epochs": 1} if name == "ppo" else {}
    made, episodes = sampled(name, env, **more)
    if env == "maze":
        assert max(len(e.turns) for e in episodes) == 2
    update = made.update(episodes, seed=0)
    assert update.fatal is None
    assert update.metrics["parity/max_gap"].value <= 1e-5
    assert update.metrics["parity/outside_frac"].value == 0
    count = sum(e.num_action_tokens for e in episodes)
    skipped = update.metrics["update/skipped_frac"]
    assert update.metrics["parity/mean_gap"].count == count - skipped.total
    assert skipped.total < count
    if "policy/ratio" in update.metrics:
        assert update.metrics["policy/ratio"].value == pytest.approx(1, abs=1e-5)
    # A second update on the same episodes is off-policy, and the meter sees it.
    assert made.update(episodes, seed=1).metrics["parity/max_gap"].value > 1e-5


@every_learner
def test_a_sampler_that_disagrees_with_the_trainer_is_fatal(name: str) -> None:
    made = learner(name)
    episodes = mixed_batch(made.lm)
    assert made.update(episodes, seed=0).fatal is None
    made = learner(name)
    for by in (0.5, -0.5):
        fatal = made.update(shifted(mixed_batch(made.lm), by), seed=0).fatal
        assert fatal is not None
        assert "mean gap 0.5 nats" in fatal.problem


@pytest.fixture
def aligned(monkeypatch: pytest.MonkeyPatch) -> list[list[list[float]]]:
    """Everything that learners lay beside action tokens: advantages, targets, old values."""
    seen: list[list[list[float]]] = []
    original = epochs.Minibatch.align

    def keep(self: Any, per_episode: Any) -> list[Tensor]:
        seen.append([list(map(float, numbers)) for numbers in per_episode])
        return original(self, per_episode)

    monkeypatch.setattr(epochs.Minibatch, "align", keep)
    return seen


@every_learner
def test_row_20_observation_tokens_between_turns_change_no_advantage_and_no_target(
    name: str, aligned: list[list[list[float]]]
) -> None:
    found = []
    for count in (1, 2, 7):
        made = learner(name)
        made.lm.values = lambda hidden: torch.arange(len(hidden)).double().sin()
        turns = [([END], [0, 1], 0.5), ([1] * count, [0, END], -0.25), ([0] * count, [1, 1], 2.0)]
        other = [([END], [1, END], 0.25)]
        cut = EndReason.TRUNCATED
        pair = [written(made.lm, turns, end=cut), written(made.lm, other, sample=1)]
        gradient_of(made, pair)
        found.append(list(aligned))
        aligned.clear()
    assert found[0]
    assert found[1] == found[0]
    assert found[2] == found[0]


@critics
def test_row_21_terminated_and_truncated_differ_by_exactly_the_discounted_value(name: str) -> None:
    gamma_token, gamma_turn, value = 0.5, 0.25, 3.0
    made = learner(name)
    assert made.lm.value_head is not None
    with torch.no_grad():
        made.lm.value_head.project.bias.fill_(value)
    turns = [([END], [0, 1], 1.0), ([1], [0, 1, END], 0.5)]
    ended = written(made.lm, turns, task="ended")
    cut = written(made.lm, turns, task="cut", end=EndReason.TRUNCATED, final_ids=[0])
    judged = judge(made.core, experience(made.core, [ended, cut]), gamma_token=gamma_token,
                   gamma_turn=gamma_turn, lam=1.0)  # fmt: skip
    assert isinstance(judged, Judgement)
    discounts = [gamma_token, gamma_turn, gamma_token, gamma_token, gamma_turn]
    for numbers in (judged.target, judged.advantage):
        difference = numbers[1] - numbers[0]
        assert difference.tolist() == [value * math.prod(discounts[i:]) for i in range(5)]
    # The last one-step target of the one that ended is its reward, of the other r + γ V.
    assert judged.target[0][-1] == 0.5
    assert judged.target[1][-1] == 0.5 + gamma_turn * value


@critics
def test_a_cut_off_episode_bootstraps_from_the_context_after_its_last_observation(
    name: str,
) -> None:
    made = learner(name)
    randomise_critic(made.lm)
    turns = [([END], [0, 1], 1.0), ([1], [0, 1], 0.5)]
    seen = written(made.lm, turns, end=EndReason.TRUNCATED, final_ids=[0, 1, 1])
    unseen = written(made.lm, turns, sample=1, end=EndReason.TRUNCATED)
    judged = judge(made.core, experience(made.core, [seen, unseen]), gamma_token=1.0,
                   gamma_turn=1.0, lam=1.0)  # fmt: skip
    assert isinstance(judged, Judgement)
    for episode, target in zip((seen, unseen), judged.target, strict=True):
        ids = torch.tensor([episode.ids()])
        with torch.no_grad():
            hidden = made.lm.network(input_ids=ids, output_hidden_states=True).hidden_states[-1]
            value = float(made.lm.values(hidden[0])[-1])
        assert target[-1] == pytest.approx(0.5 + value, abs=1e-12)


@every_learner
def test_row_26_after_a_step_weights_differ_and_the_engine_samples_from_the_new_ones(
    name: str,
) -> None:
    made, episodes = sampled(name, "tinylang")
    before, version = weights(made), made.sampler().version
    update = made.update(episodes, seed=0)
    assert update.num_optimiser_steps >= 1
    assert not same_bits(weights(made), before)
    assert made.sampler().version == version + update.num_optimiser_steps
    words = source("sayso/TinyLang-v0")
    fresh = collect(made.sampler(), words.open().tasks("train"), words, group_size=8, seed=1,
                    path=("rollout",), limits=RolloutLimits())  # fmt: skip
    assert made.update(fresh, seed=1).metrics["parity/max_gap"].value <= 1e-5


@every_learner
def test_row_26_a_model_of_which_nothing_trains_is_refused(name: str) -> None:
    lm = tiny_lm()
    lm.network.requires_grad_(requires_grad=False)
    with pytest.raises(ModelError, match="0 trainable parameters"):
        learner(name, lm)


def copied(state: LearnerState) -> LearnerState:
    return LearnerState(tensors={n: t.clone() for n, t in state.tensors.items()},
                        values=dict(state.values))  # fmt: skip


@every_learner
def test_row_31_a_fresh_learner_with_the_state_of_another_goes_on_bit_for_bit(name: str) -> None:
    optim = OptimOptions(lr=1e-2, warmup_steps=5, micro_batch_tokens=16)
    kl = KLOptions(coef=0.1, target=0.01, horizon=20)
    one = learner(name, optim=optim, kl=kl)
    episodes = mixed_batch(one.lm)
    one.update(episodes, seed=0)
    one.update(episodes[:3], seed=1)
    saved = copied(one.state())
    two = learner(name, optim=optim, kl=kl)
    two.load_state(saved)
    assert same_bits(dict(two.state().tensors), dict(saved.tensors))
    for made in (one, two):
        made.update(episodes, seed=2)
    assert same_bits(dict(one.state().tensors), dict(two.state().tensors))
    assert one.state().values == two.state().values
    assert one.core.kl.coef != kl.coef
    assert not same_bits(dict(one.state().tensors), dict(saved.tensors))


@every_learner
@pytest.mark.parametrize("lora", [None, LoraOptions(rank=2)])
def test_row_25_the_reference_stays_what_it_was(name: str, lora: LoraOptions | None) -> None:
    made = learner(name, tiny_lm(lora=lora), kl=KLOptions(coef=0.1))
    episodes = mixed_batch(made.lm)
    batch = made.core.pack(episodes)
    before = reference_logprobs(made.lm, batch, made.core.distribution)
    assert (before[0] - batch.rows[0].logprob_sampled).abs().max() < 1e-12
    base = {n: p.clone() for n, p in made.lm.network.named_parameters() if not p.requires_grad}
    for seed in range(2):
        update = made.update(episodes, seed=seed)
    assert update.metrics["parity/max_gap"].value > 1e-6  # the policy has moved
    after = reference_logprobs(made.lm, batch, made.core.distribution)
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
    frozen = {n: p for n, p in made.lm.network.named_parameters() if not p.requires_grad}
    assert bool(frozen) == (lora is not None)
    assert same_bits(base, frozen)


@every_learner
def test_row_33_a_reward_of_zero_is_trained_on_and_an_ungraded_episode_is_left_out(
    name: str,
) -> None:
    made, episodes = made_on_stale_data(name)
    expected = flat(gradient_of(made, episodes))
    turns = (episodes[0].turns[0].observation_ids, [1, 1, END])
    ungraded = written(made.lm, [(*turns, None)], task="one", sample=3)
    assert torch.equal(flat(gradient_of(made, [*episodes, ungraded])), expected)
    zero = written(made.lm, [(*turns, 0.0)], task="one", sample=3)
    assert not torch.allclose(flat(gradient_of(made, [*episodes, zero])), expected)
    update = made.update([*episodes, ungraded], seed=0)
    assert update.metrics["group/ungraded_frac"] == Mean(1, 7)


@pytest.mark.parametrize("name", ["rloo", "grpo"])
def test_training_on_a_part_is_training_on_the_attempts_that_vary_most(name: str) -> None:
    lm = tiny_lm()
    rewards = [0.2, 0.9, 0.3, 0.0]
    said = [[0], [1, 0], [0, 1, 1], [1]]
    made = [
        written(lm, [([END], ids, reward)], sample=i)
        for i, (ids, reward) in enumerate(zip(said, rewards, strict=True))
    ]
    part = learner(name, lm, group_size=4, train_on=2)
    gradient = flat(gradient_of(part, made))
    assert torch.equal(gradient, flat(gradient_of(learner(name, lm), [made[1], made[3]])))
    assert part.update(made, seed=0).metrics["group/kept_frac"].value == 0.5
