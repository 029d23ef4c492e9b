"""Learners of token values against the truth: fixed points, endings, discounts, targets."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from learner_cases import END, tiny_lm, written
from value_cases import (
    NO_MEMORY,
    enumerated,
    exact,
    problem,
    settle,
    settling,
    states_of,
    table_of,
    targets_of,
    value_learner,
)

from sayso.algorithms.token_losses import likeliest
from sayso.algorithms.token_states import token_states
from sayso.credit.backups import Action, Values, value_iteration
from sayso.data.replay import Drawn
from sayso.envs.tinylang_math import prefixes
from sayso.losses.q_learning import conservatism, expectile_loss, td_loss
from sayso.models.heads import ValueHead
from sayso.models.q_heads import QHead, polyak, target_of
from sayso.models.seeding import seeded
from sayso.models.token_values import TokenValues
from sayso.types import EndReason


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def learnt(name: str, num_steps: int, **options: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Action values [7, 3] and values [7] after learning from every sentence."""
    lm = tiny_lm(width=16)
    made = value_learner(
        name, lm, optim=settling(num_steps), critic_lr=3e-2, train_lm=False, replay=NO_MEMORY,
        **options,
    )  # fmt: skip
    settle(made, enumerated(lm), num_steps)
    states = states_of(lm)
    with torch.no_grad():
        return made.heads.heads()[0](states), made.heads.values(states)


def assert_is(found: tuple[torch.Tensor, torch.Tensor], truth: Values) -> None:
    action, state = found
    assert (action - table_of(truth)).abs().max() < 1e-3
    wanted = torch.tensor([truth.state[prefix] for prefix in prefixes()], dtype=torch.float64)
    assert (state - wanted).abs().max() < 1e-3


@pytest.mark.medium
def test_t2_returns_teach_the_values_of_the_policy_that_made_them() -> None:
    assert_is(learnt("mc_returns", 250, alpha_cql=0.0), exact("sarsa"))


@pytest.mark.medium
@pytest.mark.parametrize("gamma", [1.0, 0.9])
def test_t2_sarsa_settles_where_returns_do(gamma: float) -> None:
    fixed = {"alpha_cql": 0.0, "target_rate": 1.0, "gamma_token": gamma}
    found = learnt("ilql", 800, backup="sarsa", **fixed)
    assert_is(found, exact("sarsa", gamma=gamma))
    assert_is(learnt("ilql", 800, tau=0.5, **fixed), exact("expectile", tau=0.5, gamma=gamma))


@pytest.mark.medium
def test_t3_an_expectile_settles_between_the_mean_and_the_best() -> None:
    found = learnt("ilql", 900, tau=0.7, alpha_cql=0.0, target_rate=1.0)
    assert_is(found, exact("expectile", tau=0.7))


def one_hot_values(
    table: dict[str, list[Action]], *, tau: float, num_steps: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The same losses and heads on states that are known apart: no trunk, so more steps fit."""
    names = list(table)
    num_actions = len(next(iter(table.values())))
    head = QHead(len(names), num_actions, dtype=torch.float64)
    value = ValueHead(len(names), dtype=torch.float64)
    target = target_of(head)
    states = torch.eye(len(names), dtype=torch.float64).repeat_interleave(num_actions, 0)
    ids = torch.arange(num_actions).repeat(len(names))
    flat = [action for actions in table.values() for action in actions]
    weight = torch.tensor([a.probability for a in flat], dtype=torch.float64)
    reward = torch.tensor([a.reward for a in flat], dtype=torch.float64)
    after = torch.tensor([-1 if a.to is None else names.index(str(a.to)) for a in flat])
    parameters = [*head.parameters(), *value.parameters()]
    optimiser = torch.optim.Adam(parameters, lr=0.03)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, num_steps)
    fixed: dict[str, Any] = {"num_actions_in_step": 1.0, "weight": weight}
    is_action = torch.ones(len(flat), dtype=torch.bool)
    for _ in range(num_steps):
        every = value(torch.eye(len(names), dtype=torch.float64)).detach()
        wanted = reward + torch.where(after < 0, 0.0, every[after.clamp(min=0)])
        shown = target.of(states, ids[:, None])[:, 0]  # type: ignore[operator]
        loss = td_loss(head.of(states, ids[:, None])[:, 0], wanted, is_action, **fixed).value
        loss = loss + expectile_loss(value(states), shown, is_action, tau=tau, **fixed).value
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        decay.step()
        polyak(target, head, 1.0)
    with torch.no_grad():
        eye = torch.eye(len(names), dtype=torch.float64)
        return head(eye), value(eye)


@pytest.mark.medium
@pytest.mark.parametrize("tau", [0.9, 0.99])
def test_t3_high_expectiles_settle_near_the_best(tau: float) -> None:
    assert_is(one_hot_values(problem(), tau=tau, num_steps=4000), exact("expectile", tau=tau))


@pytest.mark.medium
def test_t4_a_token_that_the_data_never_hold_changes_no_value_that_is_learnt() -> None:
    """It is worth 100, and nobody ever said it."""
    more = {
        prefix: [*actions, Action(probability=0.0, reward=100.0, to=None)]
        for prefix, actions in problem().items()
    }
    _, with_it = one_hot_values(more, tau=0.9, num_steps=300)
    _, without = one_hot_values(problem(), tau=0.9, num_steps=300)
    assert (with_it - without).abs().max() < 1e-12


def luck_and_skill(lm: Any) -> Drawn:
    """One token that wins or loses 1 by chance, and one that is worth 0.2."""
    episodes = [
        written(lm, [([END], [0], 1.0)], sample=0),
        written(lm, [([END], [0], -1.0)], sample=1),
        written(lm, [([END], [1], 0.2)], sample=2),
    ]
    return Drawn(episodes=episodes, weights=np.array([0.75, 0.75, 1.5]), serials=[0, 1, 2])


@pytest.mark.medium
def test_t22_luck_is_not_taken_for_skill() -> None:
    """The 0.9-expectile of the values is 0.18; of the returns it would be 0.70."""
    lm = tiny_lm(width=16)
    found = {}
    for name, options in {"ilql": {"tau": 0.9, "target_rate": 1.0}, "mc_returns": {}}.items():
        made = value_learner(
            name, lm, optim=settling(400), critic_lr=3e-2, train_lm=False, alpha_cql=0.0,
            replay=NO_MEMORY, **options,
        )  # fmt: skip
        settle(made, luck_and_skill(lm), 400)
        with torch.no_grad():
            found[name] = made.heads.values(states_of(lm)[:1]).item()
            assert made.heads.heads()[0](states_of(lm)[:1])[0, :2].tolist() == pytest.approx(
                [0.0, 0.2], abs=2e-3
            )
    assert found["ilql"] == pytest.approx(0.18, abs=2e-3)
    assert found["mc_returns"] == pytest.approx(0.1, abs=2e-3)


@pytest.mark.medium
def test_t10_the_cross_entropy_of_a_learner_moves_its_fixed_point_as_derived() -> None:
    """``Q = y + α (1 − softmax(Q) / π_b)`` for the returns of three tokens."""
    lm, policy, alpha = tiny_lm(width=16), np.array([0.6, 0.3, 0.1]), 1.0
    episodes = [
        written(lm, [([END], [token], reward)], sample=token)
        for token, reward in ((0, 0.0), (1, 1.0), (2, 2.0))
    ]
    drawn = Drawn(episodes=episodes, weights=3 * policy, serials=[0, 1, 2])
    for cql_tokens in (0, 3):
        made = value_learner(
            "mc_returns", lm, optim=settling(400), critic_lr=3e-2, train_lm=False, alpha_cql=alpha,
            cql_tokens=cql_tokens, replay=NO_MEMORY,
        )  # fmt: skip
        settle(made, drawn, 400)
        with torch.no_grad():
            found = made.heads.heads()[0](states_of(lm)[:1])[0]
        assert found.tolist() == pytest.approx([0.456092, 0.662627, 0.275568], abs=1e-3)


def says_always(made: Any, number: float) -> None:
    """Values of contexts that are one number."""
    head = made.heads.context
    with torch.no_grad():
        head.project.weight.zero_()
        head.project.bias.fill_(number)


@pytest.mark.parametrize("name", ["mc_returns", "ilql"])
def test_t12_a_cut_off_episode_goes_on_and_one_that_ended_does_not(name: str) -> None:
    """Reward 1 for ever, discount 0.9: 10, of which five turns are 4.0951."""
    made = value_learner(name, gamma_turn=0.9)
    says_always(made, 10.0)
    turns = [([END] if number == 0 else [1], [0], 1.0) for number in range(5)]
    cut = written(made.lm, turns, end=EndReason.TRUNCATED, final_ids=[1])
    ended = written(made.lm, turns, sample=1)
    found = targets_of(made, [cut, ended])
    assert found[0] == pytest.approx([10.0] * 5, abs=1e-12)
    if name == "mc_returns":
        assert found[1][0] == pytest.approx(4.0951, abs=1e-12)
    assert found[1][-1] == 1.0


def test_t12_a_cut_off_episode_is_judged_by_the_context_after_its_last_observation() -> None:
    made = value_learner("ilql", gamma_turn=1.0)
    with seeded(4), torch.no_grad():
        for parameter in made.heads.context.parameters():
            parameter.normal_()
    turns = [([END], [0, 1], 1.0), ([1], [0, 1], 0.5)]
    episode = written(made.lm, turns, end=EndReason.TRUNCATED, final_ids=[0, 1, 1])
    with torch.no_grad():
        output = made.lm.network(input_ids=torch.tensor([episode.ids()]), output_hidden_states=True)
        value = made.heads.values(output.hidden_states[-1][0])
    # Contexts of the second token, the second turn's first, its second, and the final one.
    wanted = [value[1].item(), 1.0 + value[3].item(), value[4].item(), 0.5 + value[-1].item()]
    assert targets_of(made, [episode])[0] == pytest.approx(wanted, abs=1e-12)


@pytest.mark.parametrize("name", ["mc_returns", "ilql"])
def test_t14_cutting_an_utterance_into_turns_changes_no_target_without_a_discount(
    name: str,
) -> None:
    found = {}
    for gamma in (1.0, 0.9):
        made = value_learner(name, gamma_token=gamma, gamma_turn=1.0)
        says_always(made, 0.5)
        whole = written(made.lm, [([END], [1, 0, 1], 1.0)])
        cut = written(made.lm, [([END], [1], 0.0), ([], [0], 0.0), ([], [1], 1.0)], sample=1)
        found[gamma] = targets_of(made, [whole, cut])
    assert found[1.0][0] == found[1.0][1]
    assert found[0.9][0] != found[0.9][1]
    assert exact("max", gamma=0.9).state[""] == pytest.approx(0.81)


@pytest.mark.parametrize("name", ["mc_returns", "ilql"])
@pytest.mark.parametrize("backup", ["expectile", "sarsa"])
def test_t15_what_the_environment_says_between_turns_changes_no_target(
    name: str, backup: str
) -> None:
    found = []
    more = {"backup": backup} if name == "ilql" else {}
    for count in (1, 2, 7):
        made = value_learner(name, gamma_token=0.9, gamma_turn=0.8, **more)
        made.heads.values = lambda hidden: torch.arange(len(hidden)).double().sin()
        made.heads.taken_by_target = lambda hidden, ids: torch.arange(len(ids)).double().cos()
        turns = [([END], [0, 1], 0.5), ([1] * count, [0, END], -0.25), ([0] * count, [1, 1], 2.0)]
        pair = [
            written(made.lm, turns, end=EndReason.TRUNCATED),
            written(made.lm, [([END], [1, END], 0.25)], sample=1),
        ]
        found.append(targets_of(made, pair))
    assert found[1] == found[0]
    assert found[2] == found[0]


def test_sarsa_looks_at_the_token_that_the_data_go_on_with() -> None:
    made = value_learner("ilql", backup="sarsa", gamma_token=0.5, gamma_turn=0.25)
    made.heads.values = lambda hidden: torch.full((len(hidden),), 100.0).double()
    made.heads.taken_by_target = lambda hidden, ids: torch.arange(len(ids)).double()
    turns = [([END], [0, 1], 3.0), ([1], [0, END], 7.0)]
    cut = written(made.lm, turns, end=EndReason.TRUNCATED)
    assert targets_of(made, [cut])[0] == [0.5 * 1, 3 + 0.25 * 2, 0.5 * 3, 7 + 0.25 * 100]


def test_t21_targets_follow_at_their_rate_and_take_no_gradient() -> None:
    lm = tiny_lm()
    heads = TokenValues(lm, num_heads=2, rank=None, seed=0)
    start = [p.clone() for p in heads.target.parameters()]
    with torch.no_grad():
        for parameter in heads.online.parameters():
            parameter.fill_(2.0)
    rate = 0.1
    for step in range(1, 6):
        heads.follow(rate)
        for before, now in zip(start, heads.target.parameters(), strict=True):
            share = 1 - (1 - rate) ** step
            torch.testing.assert_close(now.data, before + share * (2.0 - before))
    assert not any(p.requires_grad for p in heads.target.parameters())
    lm.add_q_heads(heads)
    assert not any(".target." in name for name in lm.trainable())


def test_targets_follow_every_so_many_steps_only_and_after_the_step() -> None:
    made = value_learner("ilql", target_every=2, target_rate=1.0, updates_per_step=1)
    episodes = [written(made.lm, [([END], [0, 1], 1.0)])]

    def lag() -> float:
        pairs = zip(made.heads.target.parameters(), made.heads.online.parameters(), strict=True)
        return max((behind - ahead).abs().max().item() for behind, ahead in pairs)

    made.update(episodes, seed=0)
    assert lag() > 0
    made.update(episodes, seed=1)
    assert lag() == 0


def test_two_heads_start_at_0_everywhere_and_then_differ() -> None:
    for rank in (0, 2):
        made = value_learner("ilql", head_rank=rank)
        states = states_of(made.lm)
        first, second = made.heads.heads()
        assert not first(states).any()
        assert not made.heads.advantage(states).any()
        made.update([written(made.lm, [([END], [0, 1], 1.0)])] * 2, seed=0)
        assert first(states).any()
        assert (first(states) - second(states)).abs().max() > 1e-6


def test_the_least_of_the_heads_counts_for_values_and_for_acting() -> None:
    heads = TokenValues(tiny_lm(), num_heads=2, rank=0, seed=0)
    states = torch.randn(5, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with seeded(1), torch.no_grad():
        for parameter in heads.parameters():
            parameter.normal_()
    ids = torch.tensor([0, 1, 2, 0, 1])
    with torch.no_grad():
        both = torch.stack([head(states) for head in heads.heads()])
        slow = torch.stack([head(states) for head in heads.target])
        wanted = both.amin(0) - heads.context(states)[:, None]
    torch.testing.assert_close(heads.advantage(states), wanted)
    at = torch.arange(5)
    torch.testing.assert_close(heads.taken_by_target(states, ids), slow.amin(0)[at, ids])
    torch.testing.assert_close(heads.taken(states, ids), both[:, at, ids])


@pytest.mark.parametrize("rank", [0, 3])
def test_values_of_all_tokens_are_summed_in_chunks_to_the_same_number_and_gradient(
    rank: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = QHead(8, 11, rank=rank, layer=0 if rank else 4, seed=1, dtype=torch.float64)
    states = torch.randn(10, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with seeded(1), torch.no_grad():
        head.project.weight.normal_()
    found = []
    for chunk in (100, 3):
        monkeypatch.setattr("sayso.models.q_heads.CHUNK", chunk)
        leaf = states.clone().requires_grad_()
        total = head.log_total(leaf)
        total.square().sum().backward()
        assert leaf.grad is not None
        found.append((total.detach(), leaf.grad))
        torch.testing.assert_close(total, head(states).logsumexp(-1))
    torch.testing.assert_close(found[0], found[1])
    some = torch.tensor([[0, 4, 7]]).expand(10, 3)
    torch.testing.assert_close(
        head.log_total(states, some), head(states)[:, [0, 4, 7]].logsumexp(-1)
    )


def test_a_sum_over_likely_tokens_is_a_lower_bound_that_holds_the_token_in_the_data() -> None:
    lm = tiny_lm()
    states, said = states_of(lm), torch.tensor([0, 1, 2, 0, 1, 2, 0])
    logits = lm.logits(states)
    found = likeliest(lm, states, 2, also=said)
    assert found.shape == (7, 2)
    assert bool((found == said[:, None]).any(-1).all())
    assert bool((found[:, 0] != found[:, 1]).all())
    best = logits.argmax(-1)
    assert bool(((found == best[:, None]).any(-1)).all())
    assert torch.equal(likeliest(lm, states, 99).sort(-1).values, torch.arange(3).expand(7, 3))
    made = value_learner("mc_returns", lm)
    head = made.heads.heads()[0]
    part, whole = head.log_total(states, found), head.log_total(states)
    assert bool((part < whole).all())
    taken = head.of(states, said[:, None])[:, 0]
    is_action = torch.ones(7, dtype=torch.bool)
    assert conservatism(taken, part, is_action, num_actions_in_step=7).value >= 0


def test_awac_weighs_imitation_by_what_the_values_say() -> None:
    """Only the weights of the imitation change, by ``exp(λ (q̂ − V))``."""
    episode = [([END], [0, 1], 1.0)]
    for scale, at_most in ((0.0, 1.0), (2.0, None)):
        made = value_learner("ilql", advantage_weight=scale, alpha_cql=0.0)
        made.heads.taken_by_target = lambda hidden, ids: torch.tensor([0.5, -0.5]).double()
        batch = made.core.pack([written(made.lm, episode)])
        (row,) = batch.rows
        states = token_states(made.core, row, batch)
        terms = made._terms(batch, row, torch.ones(2, dtype=torch.float64))
        logits = made.lm.logits(states.hidden).log_softmax(-1)
        logprob = logits[torch.arange(2), row.target]
        weight = torch.tensor([0.5, -0.5]).double().mul(scale).exp()
        cloned = next(loss for loss in terms.losses if "imitation/surprisal" in loss.metrics)
        assert cloned.value.item() == pytest.approx(-(weight * logprob).sum().item() / 2)
        assert at_most is None or bool((weight == at_most).all())


def test_values_of_a_small_problem_need_every_state_that_is_led_to() -> None:
    with pytest.raises(KeyError):
        value_iteration({"": [Action(probability=1.0, reward=0.0, to="a")]}, backup="max")
