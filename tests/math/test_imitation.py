"""Imitation in closed form: argmins, exact gradients, fixed points of the learners themselves."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from learner_cases import (
    END,
    gradient_of,
    learner,
    mixed_batch,
    perturb,
    plain_logprobs,
    tiny_lm,
    written,
)
from tinylang_training import policy_table, reference_lm
from torch import Tensor

from sayso.algorithms.grading import token_rewards
from sayso.algorithms.options.optim import OptimOptions
from sayso.credit.best import is_best
from sayso.data.encode import STORED, UNKNOWN
from sayso.envs.tinylang_math import (
    Table,
    expected_return,
    prefixes,
    probability,
    reference,
    sequences,
    soft_optimum,
)
from sayso.losses.imitation import imitation
from sayso.types import EndReason, Episode, FinishReason, Task, Turn


def test_t18_the_argmin_is_the_data_times_its_weights() -> None:
    """argmin E[-w log π] = π_b w / Σ π_b w, by Newton-like descent on logits."""
    behaviour = torch.tensor([0.6, 0.3, 0.1], dtype=torch.float64)
    weight = torch.tensor([1.0, 4.0, 0.5], dtype=torch.float64)
    counts = (behaviour * 10).round().long()
    actions = torch.arange(3).repeat_interleave(counts)
    logits = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([logits], max_iter=200, tolerance_grad=1e-12,
                                  tolerance_change=1e-16)  # fmt: skip

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = imitation(
            logits.log_softmax(-1)[actions], torch.ones(10, dtype=torch.bool), num_in_step=10,
            weight=weight[actions],
        )  # fmt: skip
        loss.value.backward()  # type: ignore[no-untyped-call]
        return loss.value

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    expected = behaviour * weight / (behaviour * weight).sum()
    torch.testing.assert_close(logits.softmax(-1), expected, rtol=0, atol=1e-6)


def test_the_loss_is_a_weighted_sum_over_the_count_and_masks_nan() -> None:
    logprob = torch.tensor([-1.0, math.nan, -3.0], requires_grad=True)
    is_action = torch.tensor([True, False, True])
    weight = torch.tensor([2.0, math.nan, 0.5], requires_grad=True)
    loss = imitation(logprob, is_action, num_in_step=4, weight=weight)
    assert loss.value.item() == pytest.approx((2 * 1 + 0.5 * 3) / 4)
    loss.value.backward()  # type: ignore[no-untyped-call]
    assert logprob.grad is not None
    assert logprob.grad.tolist() == [-0.5, 0.0, -0.125]
    assert weight.grad is None
    assert loss.metrics["imitation/surprisal"].value == 2.0
    assert loss.metrics["imitation/weight"].value == 1.25


def test_an_empty_step_and_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="num_in_step"):
        imitation(torch.zeros(1), torch.tensor([True]), num_in_step=0)
    with pytest.raises(ValueError, match="shapes differ"):
        imitation(torch.zeros(2), torch.tensor([True, True]), num_in_step=1, weight=torch.ones(1))


@pytest.mark.parametrize(
    ("returns", "top", "expected"),
    [
        ([3, 1, 2, 0], 0.5, [1, 0, 1, 0]),
        ([3, 1, 2, 0], 0.26, [1, 0, 1, 0]),  # ⌈.26 · 4⌉ = 2
        ([3, 1, 2, 0], 0.25, [1, 0, 0, 0]),
        ([3, 1, 2, 0], 1.0, [1, 1, 1, 1]),
        ([2, 2, 2, 0], 0.25, [1, 1, 1, 0]),  # ties with the last of the best stay
        ([1, 0, 0, 0, 0, 0, 0, 0, 0, 0], 0.3, [1] + [0] * 9),  # the worst never do
        ([1, 1, 1], 0.1, [1, 1, 1]),  # but for no better one
        ([0.5], 0.1, [1]),
        (list(range(10)), 0.3, [0] * 7 + [1] * 3),  # .3 · 10 is 3, not 3.0000000000000004
    ],
)
def test_which_returns_are_the_best(returns: list[float], top: float, expected: list[int]) -> None:
    assert is_best(returns, top).astype(int).tolist() == expected


def test_no_fraction_and_nothing_to_compare_are_refused() -> None:
    with pytest.raises(ValueError, match="top must be in"):
        is_best([1.0], 0.0)
    with pytest.raises(ValueError, match="no returns"):
        is_best([], 0.5)


def own_logprobs(lm: Any, episode: Episode) -> Tensor:
    """Of the action tokens, through the network's own forward, differentiable."""
    every, place, found = plain_logprobs(lm, episode.ids()), -1, []
    for turn in episode.turns:
        place += len(turn.observation_ids)
        found.append(every[place : place + len(turn.action_ids)])
        place += len(turn.action_ids)
    return torch.cat(found)


def plain_loss(name: str, made: Any, episodes: list[Episode]) -> Tensor:
    """Each algorithm's loss as its docstring writes it, by loops."""
    logprobs = [own_logprobs(made.lm, e) for e in episodes]
    num_tokens = sum(map(len, logprobs))
    if name == "bc_episode":
        return -torch.stack([p.mean() for p in logprobs]).mean()
    if name in ("bc", "filtered_bc"):
        return -torch.cat(logprobs).sum() / num_tokens
    total = torch.zeros((), dtype=torch.float64)
    for episode, logprob in zip(episodes, logprobs, strict=True):
        hidden = made.lm.network(
            input_ids=torch.tensor([episode.ids()]), output_hidden_states=True
        ).hidden_states[-1][0]
        value, place, mine = made.lm.values(hidden), -1, []
        for turn in episode.turns:
            place += len(turn.observation_ids)
            mine.append(value[place : place + len(turn.action_ids)])
            place += len(turn.action_ids)
        said = torch.cat(mine)
        follows = value[-1].item() if episode.end is EndReason.TRUNCATED else 0.0
        rewards = token_rewards(episode)
        returns = [float(rewards[t:].sum()) + follows for t in range(len(rewards))]
        target = torch.tensor(returns, dtype=torch.float64)
        weight = ((target - said.detach()) / made.options.beta).exp().clamp(max=20)
        total = total - (weight * logprob).sum() + 0.5 * 0.5 * (said - target).square().sum()
    return total / num_tokens


@pytest.mark.parametrize("name", ["bc", "bc_episode", "filtered_bc", "awr"])
def test_the_gradient_is_that_of_plain_autograd(name: str) -> None:
    lm = tiny_lm(loud=8.0)
    episodes = mixed_batch(lm)
    made = learner(name, lm, **({"beta": 0.3} if name == "awr" else {}))
    perturb(lm, scale=0.05)
    found = gradient_of(made, episodes)
    for parameter in made.core.optimiser.parameters.values():
        parameter.grad = None
    plain_loss(name, made, episodes).backward()  # type: ignore[no-untyped-call]
    for key, parameter in made.core.optimiser.parameters.items():
        expected = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        torch.testing.assert_close(found[key], expected, rtol=1e-6, atol=1e-9)


def words() -> list[Episode]:
    """A thousand sentences, as often as the reference policy says them, exactly."""
    found: list[Episode] = []
    for sentence, reward in sequences().items():
        count = 1000 * probability(reference(), sentence)
        assert count == pytest.approx(round(count))
        ids = tuple("abE".index(letter) for letter in sentence)
        turn = Turn(
            observation_ids=(END,), action_ids=ids, action_logprobs=(UNKNOWN,) * len(ids),
            finish=FinishReason.STOP if ids[-1] == END else FinishReason.LENGTH, reward=reward,
        )  # fmt: skip
        task = Task(id="word", env="sayso/TinyLang-v0", split="train")
        found += [
            Episode(task=task, sample_index=0, policy_version=STORED, turns=(turn,),
                    end=EndReason.TERMINATED)
        ] * round(count)  # fmt: skip
    return found


def conditional(keep: Any) -> dict[str, list[float]]:
    """The reference policy, given that the sentence is one of these: a table."""
    mass = {y: probability(reference(), y) * keep(r) for y, r in sequences().items()}
    table = {}
    for prefix in prefixes():
        row = [sum(m for y, m in mass.items() if y.startswith(prefix + x)) for x in "abE"]
        table[prefix] = [m / sum(row) for m in row] if sum(row) else [math.nan] * 3
    return table


FIXED_POINTS: dict[str, tuple[str, dict[str, Any], Table, float]] = {
    "bc": ("bc", {}, reference(), 0.2068),
    "filtered_bc, 4.2 % of all": ("filtered_bc", {"top": 0.042}, conditional(lambda r: r >= 0.6),
                                  0.7857),
    "filtered_bc, 10.2 % of all": ("filtered_bc", {"top": 0.102}, conditional(lambda r: r >= 0.5),
                                   0.6176),
    "awr, beta .5": ("awr", {"beta": 0.5}, soft_optimum(reference(), 0.5).policy, 0.311368),
    "awr, beta 100": ("awr", {"beta": 100.0}, reference(), 0.2068),
}  # fmt: skip


LATER = ("filtered_bc, 10.2 % of all", "awr, beta 100")
"""Run by `make test-slow`: other numbers of what runs by `make test`."""


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, marks=pytest.mark.slow if case in LATER else pytest.mark.medium)
        for case in FIXED_POINTS
    ],
)
def test_where_nothing_moves_any_more_the_policy_is_the_one_that_theory_says(case: str) -> None:
    """Started there, the gradient vanishes; started at the reference, training ends there."""
    torch.set_num_threads(1)
    name, options, table, reward = FIXED_POINTS[case]
    if not any(math.isnan(p) for row in table.values() for p in row):
        assert expected_return(table) == pytest.approx(reward, abs=2e-4)
    optim = OptimOptions(lr=1e-2, schedule="cosine", total_steps=400, micro_batch_tokens=4096)
    made = learner(name, reference_lm(), optim=optim, **options)
    perturb(made.lm, scale=0.1)
    data = made.select(words()) if name == "filtered_bc" else words()
    unique = {e.turns[0].action_ids: e for e in data}
    if name == "filtered_bc":
        assert {"".join("abE"[i] for i in ids) for ids in unique} == {
            y for y, r in sequences().items() if r >= (0.6 if "4.2" in case else 0.5)
        }
    for step in range(399):
        update = made.update(data, seed=step)
        assert not update.skipped
    found = policy_table(made.lm)
    distance = max(
        abs(probability(found, y) - (p if math.isfinite(p := probability(table, y)) else 0.0))
        for y in sequences()
    )
    assert distance < 5e-3, (found, table)
    assert expected_return(found) == pytest.approx(reward, abs=5e-3)


def test_awr_with_small_steps_weighs_by_what_is_left_to_come() -> None:
    """Return-to-go: a reward that came before a token is not its merit."""
    lm = tiny_lm()
    made = learner("awr", lm, max_weight=1e9)
    turns = [([END], [0], 2.0), ([1], [1], 1.0)]
    update = made.update([written(lm, turns)], seed=0)
    expected = np.mean([np.exp(3.0), np.exp(1.0)])  # the value head starts at 0
    assert update.metrics["imitation/weight"].value == pytest.approx(expected)
