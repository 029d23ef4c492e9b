"""What learners over candidates promise: numbers, masks, endings, memory, state."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
import torch
from candidate_cases import candidate_learner, randomise
from engine_cases import drain
from learner_cases import END, flat, gradient_of, mixed_batch, same_bits, tiny_lm, weights, written

from sayso.algorithms.base import Learner, LearnerState
from sayso.algorithms.candidate_turns import Transition
from sayso.algorithms.options.candidate_dqn import CandidateDQNOptions
from sayso.algorithms.options.candidate_sac import CandidateSACOptions
from sayso.algorithms.options.exploring import epsilon_at
from sayso.algorithms.options.optim import OptimOptions
from sayso.data.options import ReplayOptions
from sayso.errors import SamplingError
from sayso.sampling.base import Request
from sayso.sampling.options import CandidateOptions, SamplingOptions
from sayso.types import EndReason, Episode, Turn

pytestmark = pytest.mark.medium

RECORDS: dict[str, Any] = {"dqn": CandidateDQNOptions, "sac": CandidateSACOptions}
both = pytest.mark.parametrize("name", list(RECORDS))
trunks = pytest.mark.parametrize("features", ["lm", "own"])
SMALL = CandidateOptions(num_proposals=3)
FORGETFUL = ReplayOptions(capacity=0)


def options(name: str, **more: Any) -> Any:
    given = {"candidates": SMALL, "draws": 12, "updates_per_step": 2, "critic_lr": 1e-2}
    return RECORDS[name](**{**given, **more})


def listed(episodes: list[Episode]) -> list[Episode]:
    """As if the environment had listed, and the policy weighed, what was said and ``bb``."""
    made = []
    for e in episodes:
        turns = tuple(
            replace(t, choices=(said(t), "bb"), candidates=(t.action_ids, (1, 1, END)))
            for t in e.turns
        )
        made.append(replace(e, turns=turns, final_choices=("a", "bb", "ab")))
    return made


def said(turn: Turn) -> str:
    return "".join("ab"[token] for token in turn.action_ids if token != END)


def random_learner(name: str, *, optim: OptimOptions | None = None, **more: Any) -> Any:
    """A learner whose heads say something of every candidate, targets something else."""
    made = candidate_learner(options(name, **more), optim=optim)
    for seed, head in enumerate(made.core.lm.q_heads.children()):
        randomise(head, seed=seed)
    return made


@both
def test_is_a_learner_and_leaves_the_language_model_as_it_is(name: str) -> None:
    made = candidate_learner(options(name))
    assert isinstance(made, Learner)
    before = {n: p.clone() for n, p in made.lm.network.named_parameters()}
    update = made.update(listed(mixed_batch(made.lm)), seed=0)
    assert update.num_optimiser_steps == 2
    assert same_bits(before, dict(made.lm.network.named_parameters()))
    assert all(key.startswith("q_heads.") for key in weights(made))
    assert made.policy().version == 2


@both
@trunks
def test_row_02_the_gradient_does_not_depend_on_the_micro_batch(name: str, features: Any) -> None:
    made = random_learner(name, features=features, replay=FORGETFUL, draws=40)
    episodes = listed(mixed_batch(made.lm))
    expected = flat(gradient_of(made, episodes))
    assert expected.norm() > 0
    for budget in (1, 30, 60):
        made.core.optimiser.options = OptimOptions(micro_batch_tokens=budget)
        found = flat(gradient_of(made, episodes))
        assert (found - expected).abs().max() <= 1e-12 * expected.abs().max()


@both
def test_metrics_are_means_over_decisions_whatever_the_micro_batch(name: str) -> None:
    updates = []
    for budget in (1, 30, 1000):
        made = random_learner(
            name, features="own", updates_per_step=1, optim=OptimOptions(micro_batch_tokens=budget)
        )
        updates.append(made.update(listed(mixed_batch(made.lm)), seed=0).metrics)
    for metrics in updates:
        assert metrics.keys() == updates[0].keys()
        assert metrics["q/td_error"].count == 12 * (2 if name == "sac" else 1)
        for key, mean in metrics.items():
            assert mean.value == pytest.approx(updates[0][key].value, rel=1e-9), key


def transitions(made: Any, episode: Episode, n_step: int = 1) -> list[Transition]:
    pairs = [(episode, turn) for turn in range(len(episode.turns))]
    found: list[Transition] = made.parts.decisions.transitions(
        pairs, [1.0] * len(pairs), n_step=n_step
    )
    return found


TURNS = [([END], [0, 1], 0.5), ([1], [0, END], -0.25), ([0], [1, 1], 2.0)]


@both
@pytest.mark.parametrize("end", [EndReason.TERMINATED, EndReason.TRUNCATED])
@pytest.mark.parametrize("n_step", [1, 2, 9])
def test_targets_are_discounted_per_turn_and_only_a_real_end_bootstraps_from_nothing(
    name: str, end: EndReason, n_step: int
) -> None:
    gamma, value = 0.5, 7.0
    made = candidate_learner(options(name, gamma_turn=gamma))
    (episode,) = listed([written(made.lm, TURNS, end=end, final_ids=[0, 0])])
    found = transitions(made, episode, n_step)
    rewards = [0.5, -0.25, 2.0]
    for turn, one in enumerate(found):
        steps = min(n_step, 3 - turn)
        expected = sum(gamma**k * rewards[turn + k] for k in range(steps))
        assert one.reward == pytest.approx(expected)
        assert one.discount == gamma**steps
        is_over = turn + n_step >= 3 and end is EndReason.TERMINATED
        assert (one.following is None) == is_over
        assert one.slate.candidates[one.taken] == episode.turns[turn].action_ids
    values = np.full(sum(t.following is not None for t in found), value)
    minibatch = made.parts.minibatch(found)
    targets = minibatch.targets(values)
    for target, one in zip(targets, found, strict=True):
        bootstrap = 0.0 if one.following is None else one.discount * value
        assert target == pytest.approx(one.reward + bootstrap)


@both
def test_t_15_a_cut_off_episode_is_worth_what_can_be_done_after_its_last_message(
    name: str,
) -> None:
    made = candidate_learner(options(name))
    (cut,) = listed([written(made.lm, TURNS, end=EndReason.TRUNCATED, final_ids=[0, 0])])
    following = transitions(made, cut)[-1].following
    assert following is not None
    assert following.state == cut.ids()
    assert following.candidates == ((0, END), (1, 1, END), (0, 1, END))
    brief = candidate_learner(options(name, candidates=CandidateOptions(state="observation")))
    following = transitions(brief, cut)[-1].following
    assert following is not None
    assert following.state == (0, 0)


@both
def test_t_15_tokens_that_the_environment_says_between_turns_change_no_target(name: str) -> None:
    found = []
    for count in (1, 2, 7):
        made = random_learner(name)
        made.critic.forward = lambda read: read.padded(torch.arange(len(read.owner)).double().sin())
        made.target.forward = made.critic.forward
        if name == "sac":
            made.actor.forward = lambda read: torch.arange(len(read.owner)).double().cos()
        turns = [(list(seen) * (count if i else 1), *rest)
                 for i, (seen, *rest) in enumerate(TURNS)]  # fmt: skip
        (episode,) = listed([written(made.lm, turns)])
        minibatch = made.parts.minibatch(transitions(made, episode))
        targets = minibatch.targets(made._following(minibatch.following))
        assert minibatch.transitions[1].slate.state == episode.context_ids(1)
        found.append(targets.tolist())
    assert found[1] == found[0] == found[2]
    assert found[0][0] != 0.5


def test_the_hard_backup_is_double_the_target_judges_what_the_critic_chooses() -> None:
    made = random_learner("dqn", gamma_turn=1.0)
    (episode,) = listed([written(made.lm, TURNS)])
    minibatch = made.parts.minibatch(transitions(made, episode))
    q = made.parts.table(made.parts.readers.online, minibatch.following, made.critic)
    judge = made.parts.table(made.parts.readers.target, minibatch.following, made.target)
    q[:, 0], q[:, 1], judge[:, 0], judge[:, 1] = 1.0, 0.0, -5.0, 5.0
    made.parts.table = lambda reader, slates, values: q if values is made.critic else judge
    assert made._following(minibatch.following).tolist() == [-5.0, -5.0]


@both
def test_candidates_that_were_recorded_are_taken_up_and_others_are_proposed_once(
    name: str,
) -> None:
    made = candidate_learner(options(name))
    bare = written(made.lm, TURNS, end=EndReason.TRUNCATED, final_ids=[0])
    calls: list[int] = []
    gather = made.parts.decisions.maker.gather
    made.parts.decisions.maker.gather = lambda asked: (calls.append(len(asked)), gather(asked))[1]
    first = transitions(made, bare)
    assert calls == [1, 1, 1, 1]
    again = transitions(made, bare)
    assert len(calls) == 4
    assert again == first
    assert transitions(candidate_learner(options(name)), bare) == first
    for one, turn in zip(first, bare.turns, strict=True):
        assert turn.action_ids in one.slate.candidates
        assert np.exp(one.slate.logprior).sum() == pytest.approx(1)
    draws = ((0, END), (0, END), (1, 1, 1))
    turns = tuple(replace(t, candidates=draws) for t in bare.turns)
    recorded = transitions(made, replace(bare, turns=turns))
    assert len(calls) == 4
    assert recorded[1].slate.candidates == draws[1:]
    assert np.exp(recorded[1].slate.logprior) == pytest.approx([2 / 3, 1 / 3])


@both
def test_row_31_what_is_proposed_does_not_depend_on_what_is_known_already(name: str) -> None:
    episodes = [replace(e, turns=e.turns[:k]) for e in mixed_batch(tiny_lm()) for k in (1, 2, 3)]
    said = []
    for first in (5, 0, 9):
        sampling = SamplingOptions(max_new_tokens=3, engine="torch")
        lm = tiny_lm(dtype="float32", width=64, heads=4, loud=3.0)
        made = candidate_learner(options(name), lm, sampling=sampling)
        said.append(completions_of(made))
        for episode in episodes[first:]:  # what an unbroken run knows from earlier updates
            transitions(made, episode)
        pairs = [(e, turn) for e in episodes for turn in range(len(e.turns))]
        made.parts.decisions.transitions(pairs, [1.0] * len(pairs), n_step=1)
    assert said[0] == said[1] == said[2]


def completions_of(made: Any) -> dict[tuple[int, int], Any]:
    """What the engine will say, by the request's seed and length, probabilities included."""
    engine, found = made.parts.decisions.maker.engine, dict[tuple[int, int], Any]()
    submit, poll, asked = engine.submit, engine.poll, dict[str, Request]()

    def noted(request: Request) -> None:
        asked[request.session] = request
        submit(request)

    def polled() -> Any:
        done = poll()
        for one in done:
            request = asked[one.session]
            found[request.seed, len(request.new_ids)] = one.ids, one.logprobs
        return done

    engine.submit, engine.poll = noted, polled
    return found


def test_no_two_heads_begin_alike_whatever_the_seed() -> None:
    for seed in (0, 1):
        made = candidate_learner(options("sac", twins="min"), seed=seed)
        heads = [*made.critic.heads, made.actor]
        begun = {tuple(head.inner.weight.detach().flatten().tolist()) for head in heads}
        assert len(begun) == 3
    one, other = (
        candidate_learner(options("dqn", twins="min"), seed=seed).critic.heads for seed in (0, 1)
    )
    assert not any(torch.equal(a.inner.weight, b.inner.weight) for a in one for b in other)


@both
def test_proposals_that_were_recorded_do_not_pass_for_what_is_listed(name: str) -> None:
    made = candidate_learner(options(name))
    bare = written(made.lm, TURNS)
    proposed = ((1, END), (0, 0, 1))
    turns = tuple(replace(t, choices=("a", "bb"), candidates=proposed) for t in bare.turns)
    for one, turn in zip(transitions(made, replace(bare, turns=turns)), turns, strict=True):
        assert one.slate.candidates[:2] == ((0, END), (1, 1, END))
        assert set(one.slate.candidates[2:]) <= {turn.action_ids}


@both
def test_the_target_follows_every_so_many_steps(name: str) -> None:
    made = candidate_learner(options(name, target_every=3, target_rate=1.0, updates_per_step=1))
    episodes = listed(mixed_batch(made.lm))

    def head(which: str) -> torch.Tensor:
        return made.lm.q_heads[which].heads[0].project.weight.detach().clone()

    for step in (1, 2):
        made.update(episodes, seed=step)
        assert not head("target").any()
    made.update(episodes, seed=3)
    assert torch.equal(head("target"), head("critic"))
    slow = candidate_learner(options(name, target_every=1, target_rate=0.25, updates_per_step=1))
    slow.update(episodes, seed=1)
    weights_of = slow.lm.q_heads
    torch.testing.assert_close(
        weights_of["target"].heads[0].project.weight,
        0.25 * weights_of["critic"].heads[0].project.weight.detach(),
    )


@both
@trunks
def test_row_31_a_fresh_learner_with_the_state_of_another_goes_on_bit_for_bit(
    name: str, features: Any
) -> None:
    more: dict[str, Any] = {"features": features, "twins": "min"}
    if name == "dqn":
        more |= {"explore": "epsilon", "epsilon_decisions": 40, "n_step": 2, "alpha_cql": 0.1}
    more["replay"] = ReplayOptions(capacity=9, sampling="prioritised")
    one = candidate_learner(options(name, **more))
    episodes = mixed_batch(one.lm)
    one.update(listed(episodes), seed=0)
    one.update(episodes[:3], seed=1)
    state = one.state()
    saved = LearnerState(tensors={n: t.clone() for n, t in state.tensors.items()},
                         values=dict(state.values))  # fmt: skip
    two = candidate_learner(options(name, **more))
    two.load_state(saved)
    assert same_bits(dict(two.state().tensors), dict(saved.tensors))
    requests = [Request(session=f"{i}", new_ids=(END,), seed=i, max_new_tokens=3) for i in range(9)]
    assert drain(one.sampler().engine, requests) == drain(two.sampler().engine, requests)
    for made in (one, two):
        made.update(episodes[2:], seed=2)
    assert same_bits(dict(one.state().tensors), dict(two.state().tensors))
    assert one.state().values == two.state().values
    assert len(two.parts.memory) == 9
    assert not same_bits(dict(one.state().tensors), dict(saved.tensors))
    if name == "dqn":  # that of the episodes given
        before = epsilon_at(two.options, one.parts.memory.num_decisions)
        told = two.update(episodes, seed=3).metrics["explore/epsilon"]
        assert told.value == before > epsilon_at(two.options, two.parts.memory.num_decisions)


@both
def test_fault_15_a_step_that_is_not_finite_is_refused_and_changes_no_weight(name: str) -> None:
    for where in ("target", "critic"):
        made = candidate_learner(options(name))
        episodes = listed(mixed_batch(made.lm))
        made.update(episodes, seed=0)
        with torch.no_grad():
            kept = made.lm.q_heads[where].heads[0].project.bias.clone()
            made.lm.q_heads[where].heads[0].project.bias.fill_(float("nan"))
        before = weights(made)
        tuned = getattr(made, "log_temperature", None)
        update = made.update(episodes, seed=1)
        assert update.num_optimiser_steps == 0
        assert "finite" in update.skipped[0].reason or "nan" in update.skipped[0].reason
        with torch.no_grad():
            made.lm.q_heads[where].heads[0].project.bias.copy_(kept)
        if where == "target":
            assert same_bits(weights(made), before)
        assert getattr(made, "log_temperature", None) == tuned
        assert made.update(episodes, seed=2).num_optimiser_steps == 2


@both
def test_the_policy_is_greedy_or_sampled_as_the_options_say_or_as_asked(name: str) -> None:
    requests = [
        Request(
            session=f"{i}", new_ids=(END, 1), seed=i, max_new_tokens=3, choices=("a", "b", "ab")
        )
        for i in range(12)
    ]
    said = {}
    for how in ("greedy", "sampled"):
        made = random_learner(name, evaluate=how, **({"alpha": 0.3} if name == "dqn" else {}))
        if name == "sac":
            with torch.no_grad():
                made.actor.project.weight.mul_(0.02)
        said[how] = drain(made.policy().engine, requests)
        made.policy().engine.sync()
        for greedy in (True, False):
            engine = made.acting_as(greedy=greedy).engine
            same = drain(engine, requests) == said[how]
            engine.sync()
            assert same == (greedy == (how == "greedy"))
    assert len({one.ids for one in said["greedy"].values()}) == 1
    assert {one.logprobs[0] for one in said["greedy"].values()} == {0.0}


def test_acting_on_values_that_are_not_finite_is_an_error_not_a_guess() -> None:
    made = candidate_learner(options("dqn"))
    with torch.no_grad():
        made.critic.heads[0].project.bias.fill_(float("nan"))
    with pytest.raises(SamplingError, match="not finite"):
        drain(made.sampler().engine, [Request(session="s", new_ids=(END,), seed=0,
                                              max_new_tokens=3)])  # fmt: skip


@both
def test_nothing_is_learnt_before_enough_was_seen_nor_from_what_was_not_graded(name: str) -> None:
    made = candidate_learner(options(name, learning_starts=20))
    episodes = listed(mixed_batch(made.lm))
    assert made.update(episodes, seed=0).num_optimiser_steps == 0
    assert made.parts.memory.num_decisions == sum(len(e.turns) for e in episodes) == 10
    assert made.update(episodes, seed=1).num_optimiser_steps == 2
    ungraded = [written(made.lm, [([END], [0, END], None)])]
    assert made.update(ungraded, seed=2).num_optimiser_steps == 0
    assert made.parts.memory.num_decisions == 20


def test_the_chance_of_exploring_falls_in_a_straight_line() -> None:
    made = CandidateDQNOptions(explore="epsilon", epsilon_decisions=100)
    assert [epsilon_at(made, n) for n in (0, 50, 100, 999)] == pytest.approx(
        [0.3, 0.175, 0.05, 0.05]
    )


def test_a_temperature_is_tuned_towards_its_entropy_from_both_sides() -> None:
    found = []
    for share in (0.1, 0.9):
        made = random_learner("sac", target_entropy=share, temperature_lr=0.1)
        before = made.log_temperature
        made.update(listed(mixed_batch(made.lm)), seed=0)
        found.append(made.log_temperature - before)
    assert found[0] < found[1]
    steady = random_learner("sac", target_entropy=None)
    steady.update(listed(mixed_batch(steady.lm)), seed=0)
    assert steady.state().values["log_temperature"] == pytest.approx(np.log(0.1))


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("dqn", {"alpha": 0.0}, "alpha must be positive"),
    ("dqn", {"n_step": 0}, "n_step must be positive"),
    ("dqn", {"explore": "epsilon", "epsilon_end": 1.5}, "epsilon_end must be in"),
    ("dqn", {"explore": "epsilon", "epsilon_decisions": 0}, "epsilon_decisions must be positive"),
    ("dqn", {"epsilon_end": 0.5}, "no effect with explore = 'boltzmann'"),
    ("dqn", {"explore": "epsilon", "alpha": 2.0}, "alpha has no effect"),
    ("dqn", {"alpha_cql": -1.0}, "alpha_cql"),
    ("sac", {"target_entropy": 1.5}, "target_entropy must be in"),
    ("sac", {"temperature": 0.0}, "temperature must be positive"),
    ("sac", {"target_entropy": None, "temperature_lr": 0.5}, "temperature_lr has no effect"),
    *[
        (name, {option: value}, option)
        for name in RECORDS
        for option, value in (
            ("gamma_turn", 1.5), ("huber", 0.0), ("draws", 0), ("updates_per_step", 0),
            ("learning_starts", -1), ("target_every", 0), ("target_rate", 0.0),
            ("critic_lr", 0.0), ("group_size", 0),
        )
    ],
]  # fmt: skip


@pytest.mark.parametrize(("name", "more", "problem"), REFUSED)
def test_options_out_of_range_are_refused(name: str, more: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        RECORDS[name](**more)


def test_candidate_options_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="num_proposals must be at least 2"):
        CandidateOptions(num_proposals=1)
    with pytest.raises(ValueError, match="prior has no effect"):
        CandidateOptions(source="proposed", prior="lm")


CANDIDATES: dict[str, list[Any]] = {
    "source": ["auto", "proposed", "both"],
    "num_proposals": [3, 5],
    "prior": ["uniform", "lm"],
    "state": ["context", "observation"],
}


@pytest.mark.parametrize("field", list(CANDIDATES))
def test_row_36_every_option_of_candidates_is_felt(field: str) -> None:
    found = []
    for value in CANDIDATES[field]:
        source = "proposed" if field == "num_proposals" else "auto"
        base: dict[str, Any] = {"num_proposals": 3, "source": source, field: value}
        made = random_learner(
            "dqn", candidates=CandidateOptions(**base), backup="soft", alpha=0.1, huber=1e3
        )
        episodes = mixed_batch(made.lm)
        turns = [replace(e, final_choices=("a", "ab"), turns=tuple(
            replace(t, choices=("bb", "ab") if i else ()) for i, t in enumerate(e.turns)
        )) for e in episodes]  # fmt: skip
        made.update(turns, seed=0)
        found.append(flat(weights(made)))
    for i, one in enumerate(found):
        assert not any(torch.equal(one, other) for other in found[:i])


def test_row_36_a_new_option_of_candidates_needs_an_entry_here() -> None:
    assert {f.name for f in fields(CandidateOptions)} == CANDIDATES.keys()


def test_a_memory_of_nothing_learns_from_the_episodes_given() -> None:
    made = candidate_learner(options("dqn", replay=FORGETFUL))
    episodes = listed(mixed_batch(made.lm))
    made.update(episodes[:3], seed=0)
    assert len(made.parts.memory) == 0
    seen: list[Any] = []
    original = made.parts.decisions.transitions
    made.parts.decisions.transitions = lambda pairs, *args, **kwargs: (
        seen.extend(pairs), original(pairs, *args, **kwargs)
    )[1]  # fmt: skip
    made.update(episodes[3:], seed=1)
    assert {id(e) for e, _ in seen} <= {id(e) for e in episodes[3:]}
    assert len({(id(e), turn) for e, turn in seen}) == 4


@both
def test_the_features_of_a_frozen_trunk_are_read_once_for_critic_and_target(name: str) -> None:
    made = candidate_learner(options(name))
    assert made.parts.readers.online is made.parts.readers.target
    own = candidate_learner(options(name, features="own"))
    assert own.parts.readers.online is not own.parts.readers.target
    assert own.lm.network is not own.critic.trunk
    assert tiny_lm().network is not own.lm.network
