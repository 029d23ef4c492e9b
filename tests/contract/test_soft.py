"""What SoftQ and Q# promise: numbers, endings, memory, state, and who acts."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from learner_cases import (
    END,
    NO_MEMORY,
    SOFT,
    SOFT_MODES,
    flat,
    gradient_of,
    learner,
    mixed_batch,
    perturb,
    plain_logprobs,
    randomise_critic,
    same_bits,
    shifted,
    tiny_lm,
    weights,
    written,
)
from torch import Tensor

from sayso.algorithms.base import Learner, LearnerState
from sayso.algorithms.kl import reference_logprobs
from sayso.algorithms.options.kl import KLOptions
from sayso.algorithms.options.optim import OptimOptions
from sayso.credit.soft import soft_to_go
from sayso.data.options import ReplayOptions
from sayso.errors import OptionValueError
from sayso.metrics import Mean
from sayso.models.distribution import token_logprobs
from sayso.models.filters import Distribution
from sayso.models.lm import LanguageModel
from sayso.models.options import LoraOptions
from sayso.models.return_head import return_head
from sayso.models.seeding import seeded
from sayso.sampling.base import Request
from sayso.sampling.options import SamplingOptions
from sayso.types import EndReason, Episode

pytestmark = pytest.mark.medium
every_learner = pytest.mark.parametrize("name", list(SOFT))
every_mode = pytest.mark.parametrize("name", SOFT_MODES)
CUT = EndReason.TRUNCATED


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def randomise_heads(made: Any, *, seed: int = 5) -> None:
    """Critic, target and return head that say something else everywhere; no two alike."""
    if made.lm.value_head is not None:
        randomise_critic(made.lm, seed=seed)
    for number, head in enumerate((getattr(made, "target", None), made.lm.q_heads)):
        if head is not None:
            with seeded(seed + 1 + number), torch.no_grad():
                for parameter in head.parameters():
                    parameter.normal_(std=0.3)


def made_on_stale_data(name: str, **more: Any) -> tuple[Any, list[Episode]]:
    """A learner that has left its reference and the policy that sampled; its critics know much."""
    made = learner(name, **more)
    perturb(made.lm, scale=0.05, seed=1, q_heads=False)
    episodes = mixed_batch(made.lm)
    perturb(made.lm, scale=0.03, q_heads=False)
    randomise_heads(made)
    return made, episodes


@every_learner
def test_each_is_a_learner(name: str) -> None:
    assert isinstance(learner(name), Learner)


@every_learner
def test_row_02_the_gradient_does_not_depend_on_the_micro_batch_or_the_order(name: str) -> None:
    made, episodes = made_on_stale_data(name)
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
        optim = OptimOptions(micro_batch_tokens=budget)
        made, episodes = made_on_stale_data(name, optim=optim, updates_per_step=1)
        updates.append(made.update(episodes, seed=0).metrics)
    for metrics in updates[1:]:
        assert metrics.keys() == updates[0].keys()
        for key, mean in metrics.items():
            assert mean.count == pytest.approx(updates[0][key].count)
            assert mean.value == pytest.approx(updates[0][key].value, rel=1e-9, abs=1e-12), key


def targets_of(made: Any, episodes: list[Episode]) -> list[Tensor]:
    """Soft targets of each episode's tokens, or distributions of returns."""
    name = "_soft_target" if hasattr(made, "_soft_target") else "_target"
    original, found = getattr(made, name), list[tuple[Any, Tensor]]()

    def keep(row: Any, *rest: Any) -> Tensor:
        found.append((row, original(row, *rest)))
        return found[-1][1]

    setattr(made, name, keep)
    try:
        gradient_of(made, episodes)
    finally:
        delattr(made, name)
    return [
        next(target[row.episode == e] for row, target in found if e in row.episodes)
        for e in range(len(episodes))
    ]


@every_learner
def test_row_20_observation_tokens_between_turns_change_no_target(name: str) -> None:
    found = []
    for count in (1, 2, 7):
        made = learner(name)  # at its reference: every log-ratio is 0
        made.lm.values = lambda hidden: torch.full((len(hidden),), 0.7).double()
        if getattr(made, "target", None) is not None:
            made.target = lambda hidden: torch.arange(len(hidden)).double().sin()
        turns = [([END], [0, 1], 0.5), ([1] * count, [0, END], -0.25), ([0] * count, [1, 1], 2.0)]
        pair = [written(made.lm, turns, end=CUT), written(made.lm, [([END], [1, END], 0.25)],
                                                          sample=1)]  # fmt: skip
        found.append(targets_of(made, pair))
    assert found[0][0].abs().max() > 0
    for other in found[1:]:
        for one, same in zip(found[0], other, strict=True):
            torch.testing.assert_close(same, one, rtol=0, atol=1e-12)


def constant_heads(made: Any, value: float) -> None:
    for head in (made.lm.value_head, made.target):
        if head is not None:
            head.project.bias.data.fill_(value)


@every_mode
def test_row_21_terminated_and_truncated_differ_by_exactly_the_value(name: str) -> None:
    gamma = {"gamma_turn": 0.25} if name == "soft_td" else {}
    made = learner(name, **gamma)
    constant_heads(made, 3.0)
    turns = [([END], [0, 1], 1.0), ([1], [0, 1, END], 0.5)]
    pair = [written(made.lm, turns), written(made.lm, turns, sample=1, end=CUT, final_ids=[0])]
    ended, cut = targets_of(made, pair)
    if name == "soft_td":  # one step ahead: only the last token sees the end
        assert ended.tolist() == pytest.approx([3.0, 1 + 0.25 * 3, 3.0, 3.0, 0.5], abs=1e-9)
        assert (cut - ended).tolist() == pytest.approx([0, 0, 0, 0, 0.25 * 3], abs=1e-9)
    else:
        assert ended.tolist() == pytest.approx([1.5, 1.5, 0.5, 0.5, 0.5], abs=1e-9)
        assert (cut - ended).tolist() == pytest.approx([3.0] * 5, abs=1e-9)


@every_mode
def test_a_cut_off_episode_bootstraps_from_the_context_after_its_last_observation(
    name: str,
) -> None:
    made = learner(name)
    randomise_heads(made)
    turns = [([END], [0, 1], 1.0), ([1], [0, 1], 0.5)]
    seen = written(made.lm, turns, end=CUT, final_ids=[0, 1, 1])
    unseen = written(made.lm, turns, sample=1, end=CUT)
    head = made.target or made.lm.value_head
    for episode, target in zip((seen, unseen), targets_of(made, [seen, unseen]), strict=True):
        with torch.no_grad():
            ids = torch.tensor([episode.ids()])
            hidden = made.lm.network(input_ids=ids, output_hidden_states=True).hidden_states[-1]
            value = float(head(hidden[0])[-1])
        assert target[-1].item() == pytest.approx(0.5 + value, abs=1e-9)


@pytest.mark.parametrize("name", ["soft_pcl", "soft_trajectory"])
def test_targets_to_the_end_are_those_of_the_credit_module(name: str) -> None:
    made, episodes = made_on_stale_data(name, beta=0.3)
    for episode, target in zip(episodes, targets_of(made, episodes), strict=True):
        batch = made.core.pack([episode])
        (ref,) = reference_logprobs(made.lm, batch, made.core.distribution)
        row = batch.rows[0]
        with torch.no_grad():
            hidden = made.lm.hidden(row.ids[None], row.position[None], row.forest)[0]
            own = plain_logprobs(made.lm, list(episode.ids()))[row.source]
            final = made.lm.values(hidden[row.final_source]).tolist()
        rewards = [r for t in episode.turns
                   for r in [0.0] * (len(t.action_ids) - 1) + [t.reward or 0.0]]  # fmt: skip
        right = soft_to_go(rewards, (own - ref).numpy(), beta=0.3, final_value=sum(final))
        assert (own - ref).abs().max() > 1e-3
        assert target.tolist() == pytest.approx(right.tolist(), abs=1e-9)


def test_one_step_targets_by_hand() -> None:
    made, episodes = made_on_stale_data("soft_td", beta=0.3, gamma_turn=0.5)
    episode = episodes[2]  # three turns, cut off
    (target,) = targets_of(made, [episode])
    row = made.core.pack([episode]).rows[0]
    (ref,) = reference_logprobs(made.lm, made.core.pack([episode]), made.core.distribution)
    with torch.no_grad():
        hidden = made.lm.hidden(row.ids[None], row.position[None], row.forest)[0]
        cost = 0.3 * (plain_logprobs(made.lm, list(episode.ids()))[row.source] - ref)
        slow = made.target(hidden[[*row.source.tolist(), *row.final_source.tolist()]])
    rewards = torch.tensor([0, 0, 0, -0.5, 0, 0.25], dtype=torch.float64)
    discount = torch.tensor([1, 1, 0.5, 0.5, 1, 0.5], dtype=torch.float64)
    torch.testing.assert_close(target, rewards - cost + discount * slow[1:], rtol=0, atol=1e-9)


@every_learner
def test_what_the_sampler_recorded_is_not_read(name: str) -> None:
    made, episodes = made_on_stale_data(name)
    expected = flat(gradient_of(made, episodes))
    assert torch.equal(flat(gradient_of(made, shifted(episodes, -1.5))), expected)
    assert made.update(shifted(episodes, -1.5), seed=0).fatal is None


@every_mode
def test_importance_weights_of_the_memory_weigh_whole_episodes(name: str) -> None:
    made, episodes = made_on_stale_data(name)
    full = flat(gradient_of(made, episodes))
    draw = made.memory.draw

    def weighed(numbers: list[float]) -> Tensor:
        def replaced(*args: Any, **more: Any) -> Any:
            return replace(draw(*args, **more), weights=np.array(numbers))

        made.memory.draw = replaced
        found = flat(gradient_of(made, episodes))
        del made.memory.draw
        return found

    one = weighed([1.0, 0, 0, 0, 0, 0])
    others = weighed([0.0, 1, 1, 1, 1, 1])
    assert one.norm() > 0
    torch.testing.assert_close(one + others, full, rtol=0, atol=1e-12 * float(full.abs().max()))


def copied(state: LearnerState) -> LearnerState:
    return LearnerState(tensors={n: t.clone() for n, t in state.tensors.items()},
                        values=dict(state.values))  # fmt: skip


@every_learner
@pytest.mark.parametrize("sampling", ["uniform", "prioritised"])
def test_row_31_a_fresh_learner_with_the_state_of_another_goes_on_bit_for_bit(
    name: str, sampling: Any
) -> None:
    if name == "q_sharp" and sampling == "prioritised":
        return  # refused
    options: dict[str, Any] = {
        "optim": OptimOptions(lr=1e-2, warmup_steps=5, micro_batch_tokens=16),
        "replay": ReplayOptions(capacity=8, sampling=sampling), "updates_per_step": 3,
    }  # fmt: skip
    one = learner(name, **options)
    randomise_heads(one)
    episodes = mixed_batch(one.lm)
    one.update(episodes, seed=0)
    one.update(episodes[:3], seed=1)
    saved = copied(one.state())
    two = learner(name, **options)
    two.load_state(saved)
    assert same_bits(dict(two.state().tensors), dict(saved.tensors))
    for made in (one, two):
        made.update(episodes, seed=2)
    assert same_bits(dict(one.state().tensors), dict(two.state().tensors))
    assert one.state().values == two.state().values
    assert not same_bits(dict(one.state().tensors), dict(saved.tensors))
    kept = {"replay.serials", "replay.priorities", "replay.episodes"}
    assert kept <= one.state().tensors.keys()
    if name == "soft_td":
        slow = [n for n in one.state().tensors if n.startswith("value_target.")]
        assert len(slow) == 2


@every_learner
@pytest.mark.parametrize("lora", [None, LoraOptions(rank=2)])
def test_row_25_the_reference_stays_what_it_was(name: str, lora: LoraOptions | None) -> None:
    made = learner(name, tiny_lm(lora=lora))
    episodes = mixed_batch(made.lm)
    batch = made.core.pack(episodes)
    if name == "q_sharp":  # the model itself is the reference
        before = {n: p.clone() for n, p in made.lm.network.named_parameters()}
        made.update(episodes, seed=0)
        assert same_bits(before, dict(made.lm.network.named_parameters()))
        return
    ref = reference_logprobs(made.lm, batch, made.core.distribution)
    assert (ref[0] - batch.rows[0].logprob_sampled).abs().max() < 1e-12
    for seed in range(2):
        update = made.update(episodes, seed=seed)
    assert abs(update.metrics["kl/mean"].value) > 1e-6  # the policy has moved
    after = reference_logprobs(made.lm, batch, made.core.distribution)
    assert all(torch.equal(one, other) for one, other in zip(ref, after, strict=True))


def poison(lm: LanguageModel) -> Any:
    def trunk(_: Any, __: Any, out: Any) -> Any:
        out.last_hidden_state = out.last_hidden_state * float("inf")
        return out

    return lm.causal_lm.base_model.register_forward_hook(trunk)


@every_learner
def test_fault_15_a_step_that_is_not_finite_is_refused_and_changes_no_weight(name: str) -> None:
    made = learner(name, updates_per_step=2, replay=ReplayOptions(capacity=10))
    episodes = mixed_batch(made.lm)
    made.update(episodes, seed=0)
    before = {n: t.clone() for n, t in made.core.state().tensors.items()}
    handle = poison(made.lm)
    update = made.update(episodes, seed=1)
    handle.remove()
    assert update.num_optimiser_steps == 0
    assert len(update.skipped) == 1
    assert same_bits(dict(made.core.state().tensors), before)
    assert made.update(episodes, seed=2).num_optimiser_steps == 2


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
    nothing = made.update([ungraded], seed=0)
    assert nothing.num_optimiser_steps == 0


@every_learner
def test_old_episodes_are_learnt_from_and_every_step_is_told_to_the_engines(name: str) -> None:
    made = learner(name, updates_per_step=4, replay=ReplayOptions(capacity=100))
    packed: list[Episode] = []
    pack = made.core.pack

    def keep(episodes: list[Episode], **more: Any) -> Any:
        packed.extend(episodes)
        return pack(episodes, **more)

    made.core.pack = keep
    episodes = mixed_batch(made.lm)
    made.update(episodes[:3], seed=0)
    assert {id(e) for e in packed} <= {id(e) for e in episodes[:3]}
    packed.clear()
    update = made.update(episodes[3:], seed=1)
    assert update.num_optimiser_steps == 4
    assert len(packed) == 4 * 3
    assert {id(e) for e in packed} & {id(e) for e in episodes[:3]}
    assert {id(e) for e in packed} & {id(e) for e in episodes[3:]}
    assert made.core.version == 8
    assert made.policy().version == 8


@every_mode
def test_with_a_memory_that_drops_what_is_a_step_old_several_steps_still_have_the_fresh(
    name: str,
) -> None:
    made = learner(name, updates_per_step=4, replay=ReplayOptions(capacity=100, max_age=1))
    assert made.update(mixed_batch(made.lm), seed=0).num_optimiser_steps == 4


def test_the_target_follows_the_value_head_slowly() -> None:
    made = learner("soft_td", target_rate=0.25)
    before = [p.clone() for p in made.target.parameters()]
    made.update(mixed_batch(made.lm), seed=0)
    for old, slow, head in zip(before, made.target.parameters(), made.lm.value_head.parameters(),
                               strict=True):  # fmt: skip
        torch.testing.assert_close(slow, 0.75 * old + 0.25 * head, rtol=0, atol=1e-12)
        assert not slow.requires_grad
    assert learner("soft_pcl").target is None


def test_the_target_has_no_gradient_and_neither_has_what_follows() -> None:
    """One decision each: only its own context's value moves, not that of the next."""
    made = learner("soft_td", value_coef=1.0, alpha=0.0)
    randomise_heads(made)
    seen: list[Tensor] = []
    values = made.lm.values
    made.lm.values = lambda hidden: seen.append(values(hidden)) or seen[-1]
    episode = written(made.lm, [([END], [0, 1, END], 1.0)])
    (target,) = targets_of(made, [episode])
    (value,) = seen
    assert not target.requires_grad
    gradient = gradient_of(made, [episode])["value_head.project.bias"]
    right = ((value.detach() - target) / 0.1).sum()
    assert gradient.item() == pytest.approx(right.item(), abs=1e-9)


@every_learner
def test_a_kl_beside_its_own_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"kl\.coef.*algorithm\.beta"):
        learner(name, kl=KLOptions(coef=0.1))


# Q#


def steered_table(made: Any, lm: LanguageModel, ids: list[int], distribution: Distribution,
                  beta: float) -> Tensor:  # fmt: skip
    """The formula: ref (1 + p (e^(1/β) - 1)), normalised."""
    with torch.no_grad():
        out = lm.network(input_ids=torch.tensor([ids]), output_hidden_states=True)
        ref = token_logprobs(out.logits[0, -1:], distribution)[0].exp()
        chance = made.head(out.hidden_states[-1][0, -1:])[0].softmax(-1)[:, 1]
    weight = ref * (1 + chance * (math.exp(1 / beta) - 1))
    return weight / weight.sum()


@pytest.mark.parametrize(
    "how",
    [{}, {"temperature": 0.7}, {"temperature": 1.5, "top_k": 2}, {"top_p": 0.6}],
    ids=["plain", "cold", "hot-top2", "top-p"],
)
def test_q_sharp_acts_by_the_formula_and_samples_from_the_reference(how: dict[str, Any]) -> None:
    beta, sampling = 0.4, SamplingOptions(max_new_tokens=1, **how)
    lm = tiny_lm(loud=3.0)
    made = learner("q_sharp", lm, sampling=sampling, returns="success", low=0.0, high=1.0,
                   bins=51, beta=beta)  # fmt: skip
    with torch.no_grad():
        logits = lm.network(input_ids=torch.tensor([[END, 0]])).logits[0, -1:]
    reference = token_logprobs(logits, sampling.distribution())[0].exp()

    def drawn(policy: Any) -> dict[int, float]:
        for number in range(40):
            policy.engine.submit(Request(session=str(number), new_ids=(END, 0), seed=number,
                                         max_new_tokens=1))  # fmt: skip
        found: dict[int, float] = {}
        while completions := policy.engine.poll():
            found |= {c.ids[0]: math.exp(c.logprobs[0]) for c in completions}
            for completion in completions:
                policy.engine.close(completion.session)
        return found

    for token, chance in drawn(made.policy()).items():  # a head that knows nothing changes nothing
        assert chance == pytest.approx(reference[token].item(), abs=1e-6)
    randomise_heads(made)
    made.steered.sync()
    right = steered_table(made, lm, [END, 0], sampling.distribution(), beta)
    assert (right - reference).abs().max() > 0.05
    acted = drawn(made.policy())
    assert len(acted) > 1
    for token, chance in acted.items():
        assert chance == pytest.approx(right[token].item(), abs=1e-6)
    for token, chance in drawn(made.sampler()).items():
        assert chance == pytest.approx(reference[token].item(), abs=1e-6)
    other = steered_table(made, lm, [END, 0], sampling.distribution(), 0.2)
    for token, chance in drawn(made.acting_as(beta=0.2)).items():
        assert chance == pytest.approx(other[token].item(), abs=1e-6)
    assert drawn(made.acting_as(greedy=True)) == {int(right.argmax()): 1.0}


def test_q_sharp_weighs_the_likeliest_tokens_alone_where_it_is_told_to() -> None:
    made = learner("q_sharp", num_weighed=2)
    randomise_heads(made)
    hidden = made.lm.hidden(torch.tensor([[END, 0]]), torch.tensor([[0, 1]]),
                            torch.ones(1, 2, 2, dtype=torch.bool).tril())[0, -1:]  # fmt: skip
    logits = made.lm.logits(hidden).detach()
    found = made.guide(hidden, logits, beta=0.1)[0]
    likely = logits[0].topk(2).indices
    assert (found == -torch.inf).sum() == 1
    assert found[likely].isfinite().all()
    every = learner("q_sharp", made.lm)
    every.head.load_state_dict(made.head.state_dict())
    whole = every.guide(hidden, logits, beta=0.1)[0]
    torch.testing.assert_close(found[likely], whole[likely], rtol=0, atol=1e-12)


def test_q_sharp_in_a_large_vocabulary_has_a_head_of_low_rank_and_weighs_32() -> None:
    made = learner("q_sharp")
    made.lm.causal_lm.set_output_embeddings(torch.nn.Linear(8, 2000, dtype=torch.float64))
    assert made._num_weighed() == 32
    assert return_head(made.lm, num_outcomes=9, seed=0).token.shape == (2000, 16)


def test_q_sharp_expects_what_followed_and_after_a_cut_off_what_it_predicts_itself() -> None:
    made = learner("q_sharp", low=0.0, high=1.0, bins=3)
    turns = [([END], [0, 1], 0.5), ([1], [END], 0.0)]
    pair = [written(made.lm, turns), written(made.lm, turns, sample=1, end=CUT, final_ids=[0])]
    ended, cut = targets_of(made, pair)
    assert ended.tolist() == [[0, 1, 0], [0, 1, 0], [1, 0, 0]]
    third = 1 / 3  # an untaught head holds 0, 0.5 and 1 for equally likely
    right = [[0, third, 2 * third]] * 2 + [[third] * 3]
    assert cut.flatten().tolist() == pytest.approx(np.array(right).flatten().tolist(), abs=1e-9)
    with torch.no_grad():
        made.head.shared.bias.copy_(torch.tensor([-50.0, -50.0]))  # surely nothing more
    assert targets_of(made, pair)[1].flatten().tolist() == pytest.approx(
        ended.flatten().tolist(), abs=1e-9
    )


def test_q_sharp_after_a_cut_off_weighs_its_predictions_by_the_reference() -> None:
    made = learner("q_sharp", returns="success", low=0.0, high=1.0, bins=51)
    randomise_heads(made)
    episode = written(made.lm, [([END], [0, 1], 0.0)], end=CUT, final_ids=[0])
    (target,) = targets_of(made, [episode])
    with torch.no_grad():
        out = made.lm.network(input_ids=torch.tensor([[END, 0, 1, 0]]), output_hidden_states=True)
        chance = made.head(out.hidden_states[-1][0, -1:])[0].softmax(-1)[:, 1]
        success = float((out.logits[0, -1].softmax(-1) * chance).sum())
    assert target[:, 1].tolist() == pytest.approx([success] * 2, abs=1e-9)


@pytest.mark.parametrize(
    ("options", "reward", "says"),
    [
        ({"returns": "success", "low": 0.0, "high": 1.0, "bins": 51}, 0.5, "neither 0 nor 1"),
        ({"low": 0.0, "high": 1.0}, 1.5, r"outside of \[0, 1\]"),
        ({"low": 0.0, "high": 1.0}, -0.5, r"outside of \[0, 1\]"),
    ],
)
def test_q_sharp_stops_at_a_return_that_it_has_no_outcome_for(
    options: dict[str, Any], reward: float, says: str
) -> None:
    made = learner("q_sharp", **options)
    before = weights(made)
    update = made.update([written(made.lm, [([END], [0, END], reward)])], seed=0)
    assert update.fatal is not None
    assert re.search(says, update.fatal.problem)
    assert same_bits(before, weights(made))


def test_q_sharp_learns_from_exact_samples_only() -> None:
    with pytest.raises(OptionValueError, match=r"sampling\.precision"):
        learner("q_sharp", tiny_lm(dtype="float32"), sampling=SamplingOptions(precision="int8"))


def test_nothing_is_remembered_without_room() -> None:
    made = learner("soft_pcl")
    made.update(mixed_batch(made.lm), seed=0)
    assert len(made.memory.replay) == 0
    assert NO_MEMORY.capacity == 0


def test_q_sharp_refuses_stored_episodes_of_another_policy_where_the_ledger_tells() -> None:
    made = learner("q_sharp")
    own = [replace(e, policy_version=-1) for e in mixed_batch(made.lm)]
    assert made.update(own, seed=0).fatal is None
    fatal = made.update(shifted(own, -0.5), seed=1).fatal
    assert fatal is not None
    assert "0.5 nats off" in fatal.problem
    unknown = shifted(own, float("nan"))
    assert made.update(unknown, seed=2).fatal is None
    assert made.update(unknown, seed=3).num_optimiser_steps > 0
