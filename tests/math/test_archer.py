"""ArCHer against what can be enumerated: gradients, fixed points, endings, stop tokens.

A critic is made exact by solving for the last layers of its heads: every line of the real code
runs, and what it says of each turn is known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from archer_cases import GAME, IDS, REWARDS, all_sentences, sentence, solve, two_turns, weighted
from learner_cases import END, flat, gradient_of, perturb, plain_logprobs, tiny_lm, written
from torch import Tensor

from sayso.algorithms.archer import ArCHer
from sayso.algorithms.grading import graded
from sayso.algorithms.options.archer import ArCHerOptions
from sayso.algorithms.options.kl import KLOptions
from sayso.algorithms.options.optim import OptimOptions
from sayso.algorithms.utterance_critic import UtteranceCritic
from sayso.algorithms.utterances import redraw
from sayso.data.options import ReplayOptions
from sayso.models.lm import LanguageModel
from sayso.models.options import LoraOptions
from sayso.sampling.make import make_engine
from sayso.sampling.options import SamplingOptions
from sayso.types import EndReason, Episode

NO_MEMORY = ReplayOptions(capacity=0)


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def archer(lm: LanguageModel | None = None, *, sampling: SamplingOptions | None = None,
           optim: OptimOptions | None = None, kl: KLOptions | None = None,
           **options: Any) -> ArCHer:  # fmt: skip
    """One with small numbers; no warm-up, so that the actor learns at once."""
    lm = lm or tiny_lm()
    sampling = sampling or SamplingOptions(max_new_tokens=3)
    small = {"warmup_updates": 0, "critic_updates": 1, "actor_updates": 1, "draws": 4}
    return ArCHer(
        lm, make_engine(lm, sampling), ArCHerOptions(**{**small, **options}), sampling=sampling,
        optim=optim or OptimOptions(lr=1e-2), kl=kl or KLOptions(), seed=0,
    )  # fmt: skip


def make_q_exact(made: ArCHer, episodes: Sequence[Episode], wanted: Sequence[float]) -> None:
    """Both twins say ``wanted`` of the utterances of one-turn episodes; V stays what it is."""
    states = [part for _, part, _ in made.critic._parts(episodes, ())]
    (part,) = states
    for head in made.critic.heads.q:
        solve(head, part.said, wanted)  # type: ignore[arg-type]


def chances(lm: LanguageModel, temperature: float = 1.0) -> dict[str, Tensor]:
    """Probability of every sentence at a temperature, with gradient, by plain forwards."""
    found = {}
    for y, ids in IDS.items():
        logits = lm.network(input_ids=torch.tensor([ids])).logits[0, :-1] / temperature
        steps = logits.log_softmax(-1).gather(-1, torch.tensor(ids[1:])[:, None])
        found[y] = steps.sum().exp()
    return found


def exact_gradient(lm: LanguageModel, reward: Mapping[str, float] = REWARDS,
                   temperature: float = 1.0) -> Tensor:  # fmt: skip
    objective = torch.stack([p * reward[y] for y, p in chances(lm, temperature).items()]).sum()
    named = {n: p for n, p in lm.network.named_parameters() if p.requires_grad}
    found = torch.autograd.grad(objective, list(named.values()))
    return flat(dict(zip(named, found, strict=True)))


def actor_gradient(made: ArCHer, episodes: Sequence[Episode]) -> Tensor:
    """Ascent direction of the actor's first step on the policy's weights; nothing is stepped."""
    found = gradient_of(_ActorOnly(made), episodes)
    ours = {n: g for n, g in found.items() if not n.startswith(("q_heads.", "critic."))}
    return -flat(ours)


class _ActorOnly:
    """An ``ArCHer`` that leaves its critic as it is."""

    def __init__(self, made: ArCHer) -> None:
        self.made, self.core, self.lm = made, made.core, made.lm

    def update(self, episodes: Sequence[Episode], *, seed: int) -> Any:
        before = self.made.critic.opinions(episodes)
        return self.made.learn_actor(graded(episodes), before, seed=seed)


def relative_error(found: Tensor, exact: Tensor) -> float:
    return float((found - exact).norm() / exact.norm())


def test_t16_the_exact_policy_gradient_is_the_finite_difference_of_the_return() -> None:
    lm = tiny_lm()
    exact = exact_gradient(lm)
    named = {n: p for n, p in lm.network.named_parameters() if p.requires_grad}
    direction = {n: torch.randn(p.shape, dtype=p.dtype, generator=torch.Generator().manual_seed(1))
                 for n, p in named.items()}  # fmt: skip

    @torch.no_grad()
    def value(step: float) -> float:
        for name, parameter in named.items():
            parameter.add_(direction[name], alpha=step)
        found = float(sum(p * REWARDS[y] for y, p in chances(lm).items()))
        for name, parameter in named.items():
            parameter.sub_(direction[name], alpha=step)
        return found

    slope = (value(1e-5) - value(-1e-5)) / 2e-5
    assert slope == pytest.approx(float(exact @ flat(direction)), rel=1e-6)
    # The policy-gradient theorem: sum of p R grad log p.
    total = torch.zeros(())
    for y, chance in chances(lm).items():
        grads = torch.autograd.grad(plain_logprobs(lm, IDS[y]).sum(), list(named.values()))
        total = total + chance.item() * REWARDS[y] * flat(dict(zip(named, grads, strict=True)))
    assert relative_error(total, exact) < 1e-8


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("baseline", ["none", "token"])
def test_t17_with_an_exact_critic_the_expected_gradient_is_the_exact_one(
    temperature: float, baseline: str
) -> None:
    sampling = SamplingOptions(max_new_tokens=3, temperature=temperature)
    made = archer(sampling=sampling, baseline=baseline)
    lm, episodes = made.lm, all_sentences(made.lm)
    make_q_exact(made, list(episodes.values()), list(REWARDS.values()))
    for head in (*made.critic.heads.v, made.critic.heads.baseline):
        if head is not None:  # any V and any baseline will do
            for parameter in head.parameters():
                torch.nn.init.normal_(parameter, std=0.3)
    total = torch.zeros(())
    for y, chance in chances(lm, temperature).items():
        total = total + chance.item() * actor_gradient(made, [episodes[y]])
    assert relative_error(total, exact_gradient(lm, temperature=temperature)) < 1e-8


def spread_of_gradients(made: ArCHer, episodes: dict[str, Episode]) -> float:
    """Variance of the gradient of one sampled sentence."""
    found = [(p.item(), actor_gradient(made, [episodes[y]])) for y, p in chances(made.lm).items()]
    mean = torch.stack([p * g for p, g in found]).sum(0)
    return sum(p * float((g - mean).square().sum()) for p, g in found)


def test_t17_a_fitted_token_baseline_lowers_the_variance() -> None:
    made = archer(baseline="token")
    episodes = all_sentences(made.lm)
    make_q_exact(made, list(episodes.values()), list(REWARDS.values()))
    without = spread_of_gradients(made, episodes)
    # The exact expected reward in each of the seven contexts, from the sentences themselves.
    batch = made.core.pack(list(episodes.values()))
    hidden = torch.cat([made.critic.token_states(row) for row in batch.rows])
    table = {y: p.item() for y, p in chances(made.lm).items()}

    def value(prefix: str) -> float:
        inside = {y: p for y, p in table.items() if y.startswith(prefix)}
        return sum(p * REWARDS[y] for y, p in inside.items()) / sum(inside.values())

    order = [list(REWARDS)[i] for row in batch.rows for i in row.episodes]
    wanted = [value(y[:k]) for y in order for k in range(len(y))]
    baseline = made.critic.heads.baseline
    assert baseline is not None
    solve(baseline, hidden, wanted)
    assert spread_of_gradients(made, episodes) < 0.8 * without


def test_the_token_baseline_learns_the_advantage_and_leaves_the_policy_alone() -> None:
    made = archer(baseline="token")
    episodes = [sentence(made.lm, y) for y in ("bab", "aE")]
    make_q_exact(made, list(all_sentences(made.lm).values()), list(REWARDS.values()))
    heads = made.critic.heads
    assert heads.baseline is not None
    found = gradient_of(_ActorOnly(made), episodes)
    bias = found["q_heads.baseline.project.bias"]
    # It says 0, so the slope of its bias is minus the mean advantage of the five tokens.
    assert bias.item() == pytest.approx(-(3 * 1.0 + 2 * 0.3) / 5, abs=1e-9)
    plain = archer(made.lm, baseline="none")
    make_q_exact(plain, list(all_sentences(made.lm).values()), list(REWARDS.values()))
    assert torch.allclose(actor_gradient(plain, episodes), actor_gradient(made, episodes))


def test_t17_remembered_states_give_another_gradient_than_the_return_has() -> None:
    """The mean advantage over the states of an older policy, not the gradient of the return."""
    lm = tiny_lm()
    made = archer(lm, gamma_turn=1.0)
    game = [two_turns(lm, *y) for y in GAME]
    values = {"a": 0.7, "b": 0.4}  # anything: V is a baseline
    exact_q = [[0.1 + values["a"], 0.0], [0.1 + values["a"], 1.0],
               [0.3 + values["b"], 0.6], [0.3 + values["b"], 0.2]]  # fmt: skip
    (part,) = [online for _, online, _ in made.critic._parts(game, ())]
    for head in made.critic.heads.q:
        solve(head, part.said, np.asarray(exact_q).flatten().tolist())  # type: ignore[arg-type]

    def mean(first: Mapping[str, float]) -> Tensor:
        total = torch.zeros(())
        for y, episode in zip(GAME, game, strict=True):
            second = np.exp(sum(episode.turns[1].action_logprobs))
            total = total + first[y[0]] * second * actor_gradient(made, [episode])
        return total

    now = {"a": float(np.exp(sum(game[0].turns[0].action_logprobs))),
           "b": float(np.exp(sum(game[2].turns[0].action_logprobs)))}  # fmt: skip
    other = {"a": now["b"], "b": now["a"]}
    assert abs(now["a"] - now["b"]) > 0.01
    assert relative_error(mean(other), mean(now)) > 0.05


def test_actor_states_of_memory_are_drawn_and_said_anew() -> None:
    made = archer(actor_states="replay", draws=2)
    old = [sentence(made.lm, y) for y in ("bab", "aE")]
    made.memory.replay.push(old)
    fresh = [two_turns(made.lm, *y) for y in GAME]
    seen: list[list[Episode]] = []
    original = made.critic.opinions
    made.critic.opinions = lambda episodes: seen.append(list(episodes)) or original(episodes)  # type: ignore[method-assign, func-returns-value]
    made.learn_actor(graded(fresh), [], seed=1)
    (states,) = seen
    known = {e.context_ids(i) for e in old for i in range(len(e.turns))}
    assert {e.turns[0].observation_ids for e in states} <= known
    assert all(len(e.turns) == 1 and e.return_ is None for e in states)


def test_redrawn_utterances_follow_the_policy_in_each_context() -> None:
    made = archer()
    episode = two_turns(made.lm, "a", "b")
    drawn = redraw(made.core, [episode], seed=3)
    assert [e.turns[0].observation_ids for e in drawn] == [episode.context_ids(0),
                                                           episode.context_ids(1)]  # fmt: skip
    for e in drawn:
        ids = e.ids()
        start = len(e.turns[0].observation_ids)
        plain = plain_logprobs(made.lm, ids)[start - 1 :].tolist()
        assert e.turns[0].action_logprobs == pytest.approx(plain, abs=1e-6)
    many = redraw(made.core, [sentence(made.lm, "E")] * 4000, seed=4)
    counts = dict.fromkeys(REWARDS, 0)
    for e in many:
        counts["".join("abE"[i] for i in e.turns[0].action_ids)] += 1
    for y, p in chances(made.lm).items():
        expected = 4000 * p.item()
        assert abs(counts[y] - expected) <= 4.5 * (expected + 1) ** 0.5, y


def expected_targets(
    made: ArCHer, episodes: Sequence[Episode], redrawn: Sequence[Episode] = ()
) -> list[Tensor]:
    """What Q and V should say of each turn, twin by twin, as the losses are told."""
    seen: list[Tensor] = []
    import sayso.algorithms.archer as module

    original = module.value_loss

    def keep(value: Tensor, target: Tensor, *rest: Any, **more: Any) -> Any:
        seen.append(target.detach().clone())
        return original(value, target, *rest, **more)

    module.value_loss = keep  # type: ignore[assignment]
    try:
        for _, online, target in made.critic._parts(episodes, redrawn):
            made._critic_loss(online, target, 1.0)
    finally:
        module.value_loss = original
    return seen


@pytest.mark.parametrize("trunk", ["frozen", "copy", "adapter"])
def test_targets_of_q_are_the_reward_and_the_discounted_target_value_of_what_follows(
    trunk: str,
) -> None:
    lm = tiny_lm(lora=LoraOptions(rank=2) if trunk == "adapter" else None)
    made = archer(lm, trunk=trunk, gamma_turn=0.5)
    values = (3.0, 5.0)
    with torch.no_grad():
        for head, value in zip(made.critic.heads.v_target, values, strict=True):
            head.project.bias.fill_(value)  # type: ignore[union-attr, operator]
        for head in made.critic.heads.v:
            head.project.bias.fill_(-99.0)  # type: ignore[union-attr, operator]
    turns = [([END], [0, END], 1.0), ([1], [1, END], 2.0)]
    ended = written(lm, turns, task="ended")
    cut = written(lm, turns, task="cut", end=EndReason.TRUNCATED, final_ids=[0])
    first_q, _, second_q, _ = expected_targets(made, [ended, cut])
    for found, value in ((first_q, values[0]), (second_q, values[1])):
        assert found.tolist() == [1 + value / 2, 2.0, 1 + value / 2, 2 + value / 2]


def test_t15_observation_tokens_between_turns_change_no_target_but_the_state_is_after_them() -> (
    None
):
    made = archer(gamma_turn=0.5)
    found = []
    for count in (1, 2, 7):
        turns = [([END], [0, 1], 0.5), ([1] * count, [0, END], -0.25)]
        episode = written(made.lm, turns, end=EndReason.TRUNCATED, final_ids=[0] * count)
        with torch.no_grad():
            for head in made.critic.heads.v_target:
                head.project.bias.fill_(4.0)  # type: ignore[union-attr, operator]
        found.append([t.tolist() for t in expected_targets(made, [episode])])
        ((_, online, _),) = made.critic._parts([episode], ())
        hidden = made.lm.network(input_ids=torch.tensor([episode.ids()]),
                                 output_hidden_states=True).hidden_states[-1][0]  # fmt: skip
        at = [0, 2 + count]
        assert torch.allclose(online.states.hidden, hidden[at])
        assert torch.allclose(online.said, hidden[[2, 4 + count]])  # the stop token is read
        assert torch.allclose(online.states.final, hidden[[-1]])
    assert found[0] == found[1] == found[2]


def test_t15_the_log_probability_of_an_utterance_holds_its_stop_token() -> None:
    """One sentence that only stops: without the stop token nothing would be learnt from it."""
    made = archer()
    episodes = all_sentences(made.lm)
    make_q_exact(made, list(episodes.values()), list(REWARDS.values()))
    found = actor_gradient(made, [episodes["E"]])
    named = {n: p for n, p in made.lm.network.named_parameters() if p.requires_grad}
    grads = torch.autograd.grad(plain_logprobs(made.lm, [END, END]).sum(), list(named.values()))
    wanted = REWARDS["E"] * flat(dict(zip(named, grads, strict=True)))
    assert relative_error(found, wanted) < 1e-8


def test_t14_the_tokens_of_an_utterance_are_one_decision_and_are_not_discounted() -> None:
    """However many tokens an answer has, what follows it is one turn away."""
    made = archer(gamma_turn=0.5)
    with torch.no_grad():
        for head in made.critic.heads.v_target:
            head.project.bias.fill_(1.0)  # type: ignore[union-attr, operator]
    short = written(made.lm, [([END], [END], 0.0), ([1], [0, END], 1.0)])
    long = written(made.lm, [([END], [0, 1, 0, 1, END], 0.0), ([1], [0, END], 1.0)], sample=1)
    one, other = (expected_targets(made, [e])[0].tolist() for e in (short, long))
    assert one == other == [0.5, 1.0]


@pytest.mark.medium
def test_the_critic_ends_at_the_values_of_the_game() -> None:
    """Two turns, first answer 3/4 a, second 1/2 each: Q and V in closed form, discount 1/2."""
    lm = tiny_lm(width=16, loud=10.0)
    made = archer(lm, gamma_turn=0.5, replay=NO_MEMORY, critic_lr=3e-3, trunk="copy",
                  draws=64, optim=OptimOptions(lr=1e-2, max_grad_norm=10.0))  # fmt: skip
    game = [two_turns(lm, *y) for y in GAME]
    batch = weighted(game, [3 / 8, 3 / 8, 1 / 8, 1 / 8], 8)
    for _ in range(1200):
        outcome = made.critic.learn(batch, made._critic_loss, rate=0.2)
        assert outcome.skipped is None
    v_second = {"a": 0.5, "b": 0.4}
    q_first = {"a": 0.1 + 0.5 * 0.5, "b": 0.3 + 0.5 * 0.4}
    v_first = 0.75 * q_first["a"] + 0.25 * q_first["b"]
    for y, opinion in zip(GAME, made.critic.opinions(game), strict=True):
        last = game[GAME.index(y)].turns[1].reward
        assert opinion.q == pytest.approx([q_first[y[0]], last], abs=0.02)
        assert opinion.v == pytest.approx([v_first, v_second[y[0]]], abs=0.02)
    assert outcome.metrics["critic/q_squared_error"].value < 1e-3


def test_v_is_a_mean_over_what_the_policy_would_say_when_asked_for_that() -> None:
    made = archer(value_actions="policy")
    episodes = all_sentences(made.lm)
    for heads in (made.critic.heads.q, made.critic.heads.q_target):
        (part,) = [online for _, online, _ in made.critic._parts(list(episodes.values()), ())]
        for head in heads:
            solve(head, part.said, list(REWARDS.values()))  # type: ignore[arg-type]
    kept = [episodes["aE"], episodes["bab"]]
    drawn = redraw(made.core, kept, seed=5)
    said = ["".join("abE"[i] for i in e.turns[0].action_ids) for e in drawn]
    assert said != ["aE", "bab"]
    q, v, other_q, other_v = expected_targets(made, kept, drawn)
    for wanted in (v, other_v):
        assert wanted.tolist() == pytest.approx([REWARDS[y] for y in said], abs=1e-8)
    assert q.tolist() == other_q.tolist() == [REWARDS["aE"], REWARDS["bab"]]
    _, v, *_ = expected_targets(made, kept)
    assert v.tolist() == pytest.approx([REWARDS["aE"], REWARDS["bab"]], abs=1e-8)


def test_the_advantage_takes_the_lesser_of_the_twins() -> None:
    made = archer()
    with torch.no_grad():
        for heads, numbers in (
            (made.critic.heads.q, (2.0, 5.0)),
            (made.critic.heads.v, (7.0, 4.0)),
        ):
            for head, number in zip(heads, numbers, strict=True):
                head.project.bias.fill_(number)  # type: ignore[union-attr, operator]
    (opinion,) = made.critic.opinions([sentence(made.lm, "aE")])
    assert (opinion.q[0], opinion.v[0], opinion.gap[0]) == (2.0, 4.0, 3.0)


def test_targets_follow_at_their_rate_and_take_no_gradient() -> None:
    for trunk in ("frozen", "copy", "adapter"):
        lm = tiny_lm(lora=LoraOptions(rank=2) if trunk == "adapter" else None)
        made = archer(lm, trunk=trunk)
        critic = made.critic
        perturb(lm, scale=0.1)  # the critic's own as well
        pairs = [(critic.heads.q_target, critic.heads.q), (critic.heads.v_target, critic.heads.v)]
        weights = [list(zip(t.parameters(), o.parameters(), strict=True)) for t, o in pairs]
        if trunk != "frozen":
            behind, ahead = critic._weights("target_critic"), critic._weights("critic")
            weights.append([(behind[n], ahead[n]) for n in behind])
        before = [[(t.clone(), o.clone()) for t, o in pair] for pair in weights]
        assert not any(t.requires_grad for pair in weights for t, _ in pair)
        assert any(bool((t - o).abs().max() > 0) for t, o in before[-1])
        critic._follow(0.25)
        for pair, old in zip(weights, before, strict=True):
            for (t, o), (t0, o0) in zip(pair, old, strict=True):
                assert torch.equal(o, o0)
                torch.testing.assert_close(t, 0.75 * t0 + 0.25 * o0)


@pytest.mark.parametrize("trunk", ["frozen", "copy", "adapter"])
def test_the_critic_moves_no_weight_of_the_policy_and_the_actor_none_of_the_critic(
    trunk: str,
) -> None:
    lm = tiny_lm(lora=LoraOptions(rank=2) if trunk == "adapter" else None)
    made = archer(lm, trunk=trunk)
    perturb(lm, scale=0.05)
    episodes = [sentence(lm, y) for y in ("bab", "aE", "E")]

    def copied() -> dict[str, Tensor]:
        return {n: p.detach().clone() for n, p in made.core.optimiser.parameters.items()}

    def moved(one: dict[str, Tensor], other: dict[str, Tensor]) -> set[str]:
        return {n for n in one if not torch.equal(one[n], other[n])}

    def is_critic(name: str) -> bool:
        return name.startswith(("q_heads.", "critic.")) or ".critic." in name

    zero, hidden = copied(), made.lm.network(input_ids=torch.tensor([IDS["bab"]])).logits.clone()
    made.critic.learn(episodes, made._critic_loss, rate=0.1)
    one = copied()
    assert moved(zero, one)
    assert all(is_critic(name) for name in moved(zero, one))
    assert any(not name.startswith("q_heads.") for name in moved(zero, one)) == (trunk != "frozen")
    assert torch.equal(made.lm.network(input_ids=torch.tensor([IDS["bab"]])).logits, hidden)
    made.learn_actor(graded(episodes), made.critic.opinions(episodes), seed=0)
    two = copied()
    assert moved(one, two)
    assert not any(is_critic(name) for name in moved(one, two))


@pytest.mark.parametrize("trunk", ["frozen", "copy", "adapter"])
def test_what_the_critic_reads_does_not_move_with_the_policy(trunk: str) -> None:
    lm = tiny_lm(lora=LoraOptions(rank=2) if trunk == "adapter" else None)
    made = archer(lm, trunk=trunk)
    for head in (*made.critic.heads.q, *made.critic.heads.v):
        torch.nn.init.normal_(head.project.weight)  # type: ignore[union-attr, arg-type]
    episode = two_turns(lm, "a", "b")
    (before,) = made.critic.opinions([episode])
    logits = lm.network(input_ids=torch.tensor([episode.ids()])).logits.detach()
    with torch.no_grad():
        for name, parameter in lm.network.named_parameters():
            if parameter.requires_grad and ".critic." not in name:
                parameter.add_(torch.randn_like(parameter), alpha=0.3)
    made.critic.forget_all_but(())
    (after,) = made.critic.opinions([episode])
    assert not torch.allclose(lm.network(input_ids=torch.tensor([episode.ids()])).logits, logits)
    assert after.q.tolist() == before.q.tolist()
    assert after.v.tolist() == before.v.tolist()


def test_kl_in_the_reward_is_charged_to_the_utterance() -> None:
    lm = tiny_lm()
    made = archer(lm, kl=KLOptions(coef=0.3))
    with torch.no_grad():
        ref = {y: p.log().item() for y, p in chances(lm).items()}
    perturb(lm, scale=0.05)
    episodes = all_sentences(lm)
    make_q_exact(made, list(episodes.values()), list(REWARDS.values()))
    table = chances(lm)
    total = torch.zeros(())
    for y, chance in table.items():
        total = total + chance.item() * actor_gradient(made, [episodes[y]])
    reward = {y: REWARDS[y] - 0.3 * (p.log().item() - ref[y]) for y, p in table.items()}
    assert relative_error(total, exact_gradient(lm, reward)) < 1e-8


def test_a_baseline_does_not_know_what_was_said() -> None:
    """V of the fresh states is what the critic said before it learnt from them."""
    made = archer(critic_updates=30, critic_lr=0.1, target_rate=0.5)
    credited: list[Any] = []
    original = made._actor_loss_of
    made._actor_loss_of = lambda exp, credit: credited.append(credit) or original(exp, credit)  # type: ignore[method-assign, func-returns-value]
    episode = sentence(made.lm, "bab")
    made.update([episode], seed=0)
    (opinion,) = made.critic.opinions([episode])
    assert abs(opinion.v[0]) > 0.05
    assert credited[0][0] == pytest.approx(np.full(3, opinion.q[0]), abs=1e-6)


def test_opinions_are_the_same_whatever_else_is_in_the_batch() -> None:
    for trunk in ("frozen", "copy"):
        made = archer(trunk=trunk, optim=OptimOptions(micro_batch_tokens=9))
        perturb(made.lm, scale=0.3)
        for head in (*made.critic.heads.q, *made.critic.heads.v):
            torch.nn.init.normal_(head.project.weight)  # type: ignore[union-attr, arg-type]
        game = [two_turns(made.lm, *y) for y in GAME]
        mixed = [game[0], sentence(made.lm, "aE"), *game[1:]]
        alone = [made.critic.opinions([e])[0] for e in mixed]
        for one, other in zip(alone, made.critic.opinions(mixed), strict=True):
            assert one.q == pytest.approx(other.q, rel=1e-9)
            assert one.v == pytest.approx(other.v, rel=1e-9)


def test_values_of_actions_stand_at_the_last_token_of_each_utterance() -> None:
    made = archer(gamma_turn=0.5)
    for head in made.critic.heads.q:
        torch.nn.init.normal_(head.project.weight)  # type: ignore[union-attr, arg-type]
    episode = two_turns(made.lm, "a", "b")
    found = made.action_values(episode)
    assert found.kind == "q"
    assert (found.gamma_token, found.gamma_turn) == (1.0, 0.5)
    assert np.isnan(found.values).tolist() == [True, False, True, False]
    (opinion,) = made.critic.opinions([episode])
    assert found.values[[1, 3]].tolist() == opinion.q.tolist()


def test_every_state_of_a_long_game_finds_its_successor_when_batches_are_joined() -> None:
    made = archer(gamma_turn=1.0)
    cut = EndReason.TRUNCATED
    turns = [([END], [0], 1.0), ([1], [1], 2.0), ([0], [0, 1], 4.0)]
    mixed = [sentence(made.lm, "bab", 8.0), written(made.lm, turns, end=cut, final_ids=[0]),
             written(made.lm, turns[:1], task="u", end=cut)]  # fmt: skip
    ((_, online, _),) = made.critic._parts(mixed, ())
    assert online.states.following.tolist() == [-1, 2, 3, 5, 6]
    assert online.reward.tolist() == [8, 1, 2, 4, 1]
    assert isinstance(made.critic, UtteranceCritic)
    assert replace(online).said.shape[0] == 5
