"""TokenDQN against the truth: the maximum, its bias, n steps, dueling, exploration."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from learner_cases import END, tiny_lm, written
from value_cases import (
    NO_MEMORY,
    enumerated,
    exact,
    settle,
    settling,
    states_of,
    table_of,
    targets_of,
    value_learner,
)

from sayso.algorithms.options.acting import ActingOptions
from sayso.credit.returns import n_step
from sayso.envs.registry import source
from sayso.models.seeding import seeded
from sayso.models.token_values import ChosenValues, DuelingValues
from sayso.rollout.collect import collect
from sayso.rollout.limits import RolloutLimits
from sayso.types import EndReason


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.mark.medium
@pytest.mark.parametrize("gamma", [1.0, 0.9])
def test_t1_it_settles_at_the_best_that_can_follow(gamma: float) -> None:
    lm, num_steps = tiny_lm(width=16), 800
    made = value_learner(
        "token_dqn", lm, optim=settling(num_steps), critic_lr=3e-2, replay=NO_MEMORY,
        target_rate=0.3, gamma_token=gamma,
    )  # fmt: skip
    settle(made, enumerated(lm), num_steps)
    with torch.no_grad():
        found = made.heads.online.of(states_of(lm), None, None)
    assert (found - table_of(exact("max", gamma=gamma))).abs().max() < 1e-3


class _Noise(torch.nn.Module):
    """Stands for heads that are right but for independent noise."""

    def __init__(self, num: int, num_tokens: int, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.noise = torch.randn(num, num_tokens, generator=generator, dtype=torch.float64)

    def of(self, hidden: Any, ids: Any, among: Any) -> torch.Tensor:
        del hidden, ids, among
        return self.noise


@pytest.mark.parametrize(("num_tokens", "bias"), [(2, 0.5642), (10, 1.5388)])
def test_t11_a_maximum_of_noise_is_too_high_and_two_heads_take_that_away(
    num_tokens: int, bias: float
) -> None:
    """All values are 0; the expected maximum of n normal numbers is not."""
    num = 40_000
    heads = ChosenValues(tiny_lm(), rank=0, is_dueling=False, seed=0)
    heads.online, heads.target = _Noise(num, num_tokens, 0), _Noise(num, num_tokens, 1)  # type: ignore[assignment]
    states = torch.zeros(num, 8)
    single = heads.best(states, None, None, is_double=False)
    double = heads.best(states, None, None, is_double=True)
    assert abs(single.mean().item() - bias) < 3 / math.sqrt(num)
    assert abs(double.mean().item()) < 3 / math.sqrt(num)


def randomised(**options: Any) -> Any:
    """A learner whose values say something else of every token, and its slow copy too."""
    made = value_learner("token_dqn", **options)
    with seeded(4), torch.no_grad():
        for parameter in made.heads.parameters():
            parameter.normal_()
    return made


def episode_of(made: Any, end: EndReason = EndReason.TRUNCATED) -> Any:
    turns = [([END], [0, 1], 3.0), ([1], [0, 1], 7.0)]
    return written(made.lm, turns, end=end, final_ids=[0] if end is EndReason.TRUNCATED else [])


@pytest.mark.parametrize("double", [True, False])
@pytest.mark.parametrize("steps", [1, 2, 3, 99])
@pytest.mark.parametrize("end", [EndReason.TRUNCATED, EndReason.TERMINATED])
def test_t13_targets_are_n_rewards_and_the_best_that_follows(
    double: bool, steps: int, end: EndReason
) -> None:
    made = randomised(double=double, n_step=steps, gamma_token=0.9, gamma_turn=0.8)
    episode = episode_of(made, end)
    with torch.no_grad():
        output = made.lm.network(input_ids=torch.tensor([episode.ids()]), output_hidden_states=True)
        hidden = output.hidden_states[-1][0]
        online, slow = (h.of(hidden, None, None) for h in (made.heads.online, made.heads.target))
        chosen = (online if double else slow).argmax(-1)
        best = slow[torch.arange(len(slow)), chosen]
    values = best[[0, 1, 3, 4]].tolist()
    wanted = n_step(
        [0.0, 3.0, 0.0, 7.0], values, n=steps, turn_ends=[False, True, False, True],
        final_value=best[-1].item() if end is EndReason.TRUNCATED else 0.0,
        gamma_token=0.9, gamma_turn=0.8,
    )  # fmt: skip
    assert targets_of(made, [episode])[0] == pytest.approx(wanted.tolist(), abs=1e-12)
    if steps == 99 and end is EndReason.TERMINATED:
        discounts = np.array([1.0, 0.9, 0.9 * 0.8, 0.9 * 0.8 * 0.9])
        assert wanted[0] == pytest.approx(discounts @ np.array([0.0, 3.0, 0.0, 7.0]))


def test_t12_a_cut_off_episode_goes_on_and_one_that_ended_does_not() -> None:
    """Reward 1 for ever, discount 0.9: 10."""
    made = value_learner("token_dqn", gamma_turn=0.9, dueling=False, n_step=5)
    for heads in (made.heads.online, made.heads.target):
        with torch.no_grad():
            heads.action.project.bias.fill_(10.0)
    turns = [([END] if number == 0 else [1], [0], 1.0) for number in range(5)]
    cut = written(made.lm, turns, end=EndReason.TRUNCATED)
    found = targets_of(made, [cut, written(made.lm, turns, sample=1)])
    assert found[0] == pytest.approx([10.0] * 5)
    assert found[1][0] == pytest.approx(4.0951)


@pytest.mark.parametrize("gamma", [1.0, 0.9])
def test_t14_turns_change_no_target_without_a_discount(gamma: float) -> None:
    made = randomised(gamma_token=gamma, gamma_turn=1.0)
    whole = written(made.lm, [([END], [1, 0, 1], 1.0)])
    cut = written(made.lm, [([END], [1], 0.0), ([], [0], 0.0), ([], [1], 1.0)], sample=1)
    one, other = targets_of(made, [whole, cut])
    assert (one == pytest.approx(other, abs=1e-12)) == (gamma == 1.0)


def test_t15_what_the_environment_says_between_turns_changes_no_target() -> None:
    found = []
    for count in (1, 2, 7):
        made = value_learner("token_dqn", gamma_token=0.9, gamma_turn=0.8, n_step=2)
        made._best = lambda hidden, also: torch.arange(len(hidden)).double().sin()
        turns = [([END], [0, 1], 0.5), ([1] * count, [0, END], -0.25), ([0] * count, [1, 1], 2.0)]
        found.append(targets_of(made, [written(made.lm, turns, end=EndReason.TRUNCATED)]))
    assert found[1] == found[0]
    assert found[2] == found[0]


def test_the_best_is_sought_among_likely_tokens_and_the_one_in_the_data() -> None:
    made = randomised(token_set=1, dueling=False, double=False)
    states = states_of(made.lm)
    likely = made.lm.logits(states).argmax(-1)
    with torch.no_grad():
        slow = made.heads.target.of(states, None, None)
    at = torch.arange(len(states))
    torch.testing.assert_close(made._best(states, None), slow[at, likely])
    said = (likely + 1) % 3
    torch.testing.assert_close(made._best(states, said), slow[at, said])


@pytest.mark.parametrize("is_few", [False, True])
def test_dueling_values_are_those_of_the_context_in_the_mean(is_few: bool) -> None:
    heads = DuelingValues(tiny_lm(), rank=0, is_dueling=True, seed=0)
    states = torch.randn(5, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with seeded(1), torch.no_grad():
        for parameter in heads.parameters():
            parameter.normal_()
    among = torch.tensor([[0, 2]] * 5) if is_few else None
    every = heads.of(states, None, among)
    assert heads.context is not None
    mean = every.mean(-1) if among is None else every.gather(-1, among).mean(-1)
    torch.testing.assert_close(mean, heads.context(states))
    some = torch.tensor([[1], [0], [2], [1], [0]])
    torch.testing.assert_close(heads.of(states, some, among), every.gather(-1, some))


def first_tokens(made: Any, policy: Any, num: int) -> tuple[np.ndarray, np.ndarray]:
    """How often each token was said first, and the probability that was recorded for it."""
    words = source("sayso/TinyLang-v0")
    said = collect(policy, words.open().tasks("train"), words, group_size=num, seed=0,
                   path=("rollout",), limits=RolloutLimits())  # fmt: skip
    first = [(e.turns[0].action_ids[0], e.turns[0].action_logprobs[0]) for e in said]
    counts, recorded = np.zeros(3), np.full(3, np.nan)
    for token, logprob in first:
        counts[token] += 1
        recorded[token] = math.exp(logprob)
    return counts / num, recorded


@pytest.mark.medium
@pytest.mark.parametrize("token_set", [0, 2])
def test_exploration_is_a_share_of_the_softened_model_within_the_likely_tokens(
    token_set: int,
) -> None:
    options: dict[str, Any] = {
        "epsilon_start": 0.4, "explore_temperature": 2.0, "acting": ActingOptions(beta=0.3),
        "token_set": token_set,
    }  # fmt: skip
    made = value_learner("token_dqn", tiny_lm(dtype="float32", loud=5.0), **options)
    with seeded(4), torch.no_grad():
        for parameter in made.heads.parameters():
            parameter.normal_()
    prompt = torch.tensor([[END]])
    with torch.no_grad():
        output = made.lm.network(input_ids=prompt, output_hidden_states=True)
        logits, hidden = output.logits[0, -1], output.hidden_states[-1][0, -1:]
        values = made.heads.online.action(hidden)[0]
    if token_set:
        logits[logits.argmin()] = -math.inf
    wanted = 0.6 * (logits + 0.3 * values).softmax(-1) + 0.4 * (logits / 2.0).softmax(-1)
    num = 3000
    share, recorded = first_tokens(made, made.sampler(), num)
    for token in range(3):
        chance = wanted[token].item()
        assert abs(share[token] - chance) <= 4 * math.sqrt(chance * (1 - chance) / num)
        assert math.isnan(recorded[token]) or recorded[token] == pytest.approx(chance, abs=1e-5)
    _, told = first_tokens(made, made.policy(), 200)
    plain = (logits + 0.3 * values).softmax(-1)
    for token in range(3):
        assert math.isnan(told[token]) or told[token] == pytest.approx(
            plain[token].item(), abs=1e-5
        )


def test_epsilon_falls_in_a_line_and_stays() -> None:
    made = value_learner("token_dqn", epsilon_start=0.5, epsilon_end=0.1, epsilon_decisions=4)
    found = []
    for decisions in (0, 1, 2, 4, 9):
        made.memory.num_decisions = decisions
        found.append(made.epsilon)
    assert found == pytest.approx([0.5, 0.4, 0.3, 0.1, 0.1])


def test_everything_may_be_explored() -> None:
    made = value_learner("token_dqn", epsilon_start=1.0, explore_temperature=1.0)
    with seeded(4), torch.no_grad():
        for parameter in made.heads.parameters():
            parameter.normal_()
    logits = torch.tensor([[0.5, 0.3, 0.2]], dtype=torch.float64).log()
    guide = made._guide(made.options.acting, is_exploring=True)
    found = guide(torch.ones(1, 8, dtype=torch.float64), logits)
    torch.testing.assert_close(found.softmax(-1), logits.exp())
