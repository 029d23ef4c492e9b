"""Episodes as tensors: packing changes where tokens lie, never what a model says about them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from learner_cases import END, mixed_batch, plain_logprobs, randomise_critic, tiny_lm, written
from tiny_models import ARCHITECTURES, Pair, in_double
from torch import Tensor

from sayso.algorithms.grading import graded
from sayso.data.batch import Batch, PackedRow, pack
from sayso.errors import EpisodeError
from sayso.models.filters import Distribution
from sayso.models.lm import LanguageModel
from sayso.models.load import load
from sayso.models.scoring import score, values
from sayso.types import EndReason, Episode, Failure, FinishReason, Task, Turn

FULL = Distribution()
BUDGETS = (1, 9, 13, 20, 1000)


def logprobs_by_episode(lm: LanguageModel, batch: Batch) -> list[np.ndarray[Any, Any]]:
    """Log-probability of each action token of each episode, through the packed rows."""
    with torch.no_grad():
        return batch.by_episode([scored(lm, row) for row in batch.rows])


def scored(lm: LanguageModel, row: PackedRow) -> Tensor:
    return score(
        lm, ids=row.ids, position=row.position, visible=row.forest, source=row.source,
        target=row.target, distribution=FULL,
    ).logprob  # fmt: skip


def alone(lm: LanguageModel, episode: Episode) -> Tensor:
    """The same by the network's own forward over one episode, picked with plain arithmetic."""
    every = plain_logprobs(lm, episode.ids())
    picked, place = [], 0
    for turn in episode.turns:
        place += len(turn.observation_ids)
        picked += [every[place - 1 + i] for i in range(len(turn.action_ids))]
        place += len(turn.action_ids)
    return torch.stack(picked)


def with_task(episode: Episode, name: str, sample: int) -> Episode:
    return replace(episode, task=replace(episode.task, id=name), sample_index=sample)


def byte_batch(seed: int = 0) -> list[Episode]:
    """Two groups of random bytes, several turns, one cut off; log-probabilities are made up."""
    rng = np.random.default_rng(seed)

    def some(count: int) -> tuple[int, ...]:
        return tuple(int(i) for i in rng.integers(0, 256, count))

    episodes = []
    for group in ("x", "y"):
        prompt = some(int(rng.integers(2, 9)))
        for sample in range(3):
            turns = [
                Turn(
                    observation_ids=some(int(rng.integers(1, 6))) if number else prompt,
                    action_ids=(said := some(int(rng.integers(1, 7)))),
                    action_logprobs=(-1.0,) * len(said),
                    reward=1.0,
                )
                for number in range(sample + 1)
            ]
            cut = sample == 1
            episodes.append(
                Episode(
                    task=Task(id=group, env="hand", split="train"), sample_index=sample,
                    policy_version=0, turns=tuple(turns), final_ids=some(3) if cut else (),
                    end=EndReason.TRUNCATED if cut else EndReason.TERMINATED,
                )
            )  # fmt: skip
    return episodes


@pytest.mark.parametrize("max_tokens", BUDGETS)
def test_trees_score_like_each_episode_alone_in_double_precision(max_tokens: int) -> None:
    lm = tiny_lm()
    episodes = mixed_batch(lm)
    found = logprobs_by_episode(lm, pack(episodes, max_tokens=max_tokens, dtype=torch.float64))
    for episode, numbers in zip(episodes, found, strict=True):
        with torch.no_grad():
            expected = alone(lm, episode).numpy()
        assert np.abs(numbers - expected).max() <= 1e-12


@pytest.mark.parametrize("max_tokens", [1, 40, 1000])
@pytest.mark.parametrize("name", list(ARCHITECTURES))
def test_trees_score_like_each_episode_alone_for_every_architecture(
    name: str, max_tokens: int
) -> None:
    build: Callable[..., Pair] = ARCHITECTURES[name]
    lm, episodes = load(build()), byte_batch()
    found = logprobs_by_episode(lm, pack(episodes, max_tokens=max_tokens))
    in_double(lm.network)  # float32 in another order is as far off as what is measured
    for episode, numbers in zip(episodes, found, strict=True):
        with torch.no_grad():
            assert np.abs(numbers - alone(lm, episode).numpy()).max() <= 1e-5


@pytest.mark.parametrize("max_tokens", [9, 1000])
def test_the_gradient_of_trees_is_that_of_one_episode_per_row(max_tokens: int) -> None:
    lm = tiny_lm()
    episodes = mixed_batch(lm)

    def gradient(batch: Batch, credit: list[Any]) -> Tensor:
        lm.network.zero_grad()
        for row, numbers in zip(batch.rows, batch.align(credit), strict=True):
            (scored(lm, row) * numbers).sum().backward()  # type: ignore[no-untyped-call]
        return torch.cat([p.grad.flatten() for p in lm.network.parameters()])

    rng = np.random.default_rng(0)
    credit = [rng.normal(size=e.num_action_tokens) for e in episodes]
    apart = [with_task(e, f"task {i}", 0) for i, e in enumerate(episodes)]
    one = gradient(pack(episodes, max_tokens=max_tokens, dtype=torch.float64), credit)
    separate = pack(apart, max_tokens=1, dtype=torch.float64)
    assert len(separate.rows) == len(episodes)
    other = gradient(separate, credit)
    assert (one - other).abs().max() <= 1e-12 * other.abs().max()


@torch.no_grad()
def test_values_of_trees_are_those_of_each_episode_alone_final_contexts_included() -> None:
    lm = tiny_lm()
    lm.add_value_head()
    randomise_critic(lm)
    episodes = mixed_batch(lm)
    seen = set()
    for row in pack(episodes, max_tokens=1000, dtype=torch.float64).rows:
        found = values(
            lm, ids=row.ids, position=row.position, visible=row.forest, source=row.final_source
        )
        for number, index in zip(found, row.final_episode, strict=True):
            ids = torch.tensor([episodes[index].ids()])
            with torch.no_grad():
                hidden = lm.network(input_ids=ids, output_hidden_states=True).hidden_states[-1]
                expected = lm.values(hidden[0])[-1]
            assert abs(float(number - expected)) <= 1e-12
            seen.add(index)
    assert seen == {i for i, e in enumerate(episodes) if e.end is EndReason.TRUNCATED}


def test_a_prompt_shared_by_a_group_is_stored_once() -> None:
    lm = tiny_lm()
    prompt = [END, 0, 1, 1, 0]
    group = [written(lm, [(prompt, [i % 2, END], 1.0)], sample=i) for i in range(4)]
    (row,) = pack(group, max_tokens=1000).rows
    assert len(row.ids) == len(prompt) + 4 * 2
    assert row.ids[: len(prompt)].tolist() == prompt
    assert row.position.tolist() == [0, 1, 2, 3, 4] + [5, 6] * 4
    assert row.branch.tolist() == [0] * 5 + [1, 1, 2, 2, 3, 3, 4, 4]


def test_no_branch_looks_at_another_branch_or_another_tree() -> None:
    lm = tiny_lm()
    (row,) = pack(mixed_batch(lm), max_tokens=1000).rows
    visible = row.forest.mask()
    for i in range(len(row.ids)):
        for j in range(len(row.ids)):
            same_text = row.branch[j] in (0, row.branch[i])
            expected = bool(row.tree[i] == row.tree[j]) and bool(same_text) and j <= i
            assert bool(visible[i, j]) == expected, (i, j)


def test_row_18_what_a_decision_looks_at_is_its_context_and_nothing_else() -> None:
    lm = tiny_lm()
    episodes = mixed_batch(lm)
    for row in pack(episodes, max_tokens=30).rows:
        visible, at = row.forest.mask(), 0
        for index in row.episodes:
            episode = episodes[index]
            for number, turn in enumerate(episode.turns):
                for said in range(len(turn.action_ids)):
                    context = row.ids[visible[row.source[at]]].tolist()
                    expected = (*episode.context_ids(number), *turn.action_ids[:said])
                    assert tuple(context) == expected
                    assert int(row.target[at]) == turn.action_ids[said]
                    assert int(row.episode[at]) == index
                    at += 1
        assert at == len(row.target)


def test_row_17_ids_that_are_trained_on_are_the_ids_that_were_sampled() -> None:
    episodes = byte_batch(3)
    rows = pack(episodes, max_tokens=30).rows
    for index, episode in enumerate(episodes):
        (row,) = [row for row in rows if index in row.episodes]
        mine = row.target[row.episode == index].tolist()
        assert mine == [i for turn in episode.turns for i in turn.action_ids]
        recorded = row.logprob_sampled[row.episode == index].tolist()
        assert recorded == [p for turn in episode.turns for p in turn.action_logprobs]


@pytest.mark.parametrize("max_tokens", BUDGETS)
def test_every_episode_lies_in_exactly_one_row(max_tokens: int) -> None:
    episodes = mixed_batch(tiny_lm())
    batch = pack(episodes, max_tokens=max_tokens)
    assert sorted(e for row in batch.rows for e in row.episodes) == list(range(len(episodes)))
    for row in batch.rows:
        assert set(row.episode.tolist()) == set(row.episodes)
    assert batch.num_actions == sum(e.num_action_tokens for e in episodes)


@pytest.mark.parametrize("max_tokens", BUDGETS)
def test_a_row_exceeds_its_budget_only_for_a_single_episode(max_tokens: int) -> None:
    for row in pack(mixed_batch(tiny_lm()), max_tokens=max_tokens).rows:
        assert len(row.ids) <= max_tokens or len(row.episodes) == 1


def test_a_budget_as_large_as_everything_makes_one_row_and_one_token_less_makes_two() -> None:
    episodes = mixed_batch(tiny_lm())
    (row,) = pack(episodes, max_tokens=1000).rows
    assert len(pack(episodes, max_tokens=len(row.ids)).rows) == 1
    assert len(pack(episodes, max_tokens=len(row.ids) - 1).rows) == 2


def test_a_group_is_cut_only_when_it_exceeds_the_budget_and_then_repeats_its_prompt() -> None:
    lm = tiny_lm()
    group = [written(lm, [([END, 0, 1], [0, END], 1.0)], sample=i) for i in range(3)]
    whole = 3 + 3 * 2
    (row,) = pack(group, max_tokens=whole).rows
    assert len(row.ids) == whole
    assert [len(row.ids) for row in pack(group, max_tokens=whole - 1).rows] == [7, 5]


@given(seed=st.integers(0, 50), max_tokens=st.integers(1, 120), cut=st.integers(0, 720))
@settings(max_examples=40, deadline=None)
def test_align_and_by_episode_are_inverse(seed: int, max_tokens: int, cut: int) -> None:
    episodes = byte_batch(seed)
    order = np.random.default_rng(cut).permutation(len(episodes))
    episodes = [episodes[i] for i in order]
    batch = pack(episodes, max_tokens=max_tokens, dtype=torch.float64)
    numbers = [np.arange(e.num_action_tokens) + 100.0 * i for i, e in enumerate(episodes)]
    aligned = batch.align(numbers)
    for row, values_of_row in zip(batch.rows, aligned, strict=True):
        assert (values_of_row // 100).long().tolist() == row.episode.tolist()
    for one, other in zip(batch.by_episode(aligned), numbers, strict=True):
        assert one.tolist() == other.tolist()


def test_align_refuses_numbers_that_are_not_one_per_action_token() -> None:
    episodes = mixed_batch(tiny_lm())
    batch = pack(episodes, max_tokens=1000)
    numbers = [np.zeros(e.num_action_tokens) for e in episodes]
    numbers[2] = np.zeros(1)
    with pytest.raises(ValueError, match="episode 2 has 6 action tokens, got 1"):
        batch.align(numbers)


def test_row_05_attempts_at_one_task_with_different_prompts_are_refused() -> None:
    lm = tiny_lm()
    mixed = [
        written(lm, [([END, 0], [1, END], 1.0)], task="same"),
        written(lm, [([END, 1], [1, END], 0.0)], task="same", sample=1),
    ]
    with pytest.raises(EpisodeError, match=r"group of task same.*different prompts"):
        graded(mixed, min_group=2)
    assert graded(mixed).episodes == mixed  # nothing is compared
    shuffled = [with_task(mixed[1], "other", 0), mixed[0]]
    assert graded(shuffled, min_group=1).episodes == shuffled


def test_what_is_remembered_of_one_task_may_have_begun_with_different_prompts() -> None:
    lm = tiny_lm()
    mixed = [
        written(lm, [([END, 0], [1, END], 1.0)], task="same"),
        written(lm, [([END, 1, 1], [0, END], 0.0)], task="same", sample=1),
    ]
    (row,) = pack(mixed, max_tokens=100).rows
    assert row.ids.tolist() == [END, 0, 1, END, END, 1, 1, 0, END]
    assert row.tree.tolist() == [0] * 4 + [1] * 5


def test_a_failed_episode_is_never_packed() -> None:
    lm = tiny_lm()
    broken = replace(
        written(lm, [([END], [END], 1.0)]),
        end=EndReason.FAILED,
        failure=Failure(kind="env_raised", message="it broke"),
    )
    with pytest.raises(EpisodeError, match=r"t#0.*failed"):
        pack([broken], max_tokens=100)


def test_row_16_an_end_or_padding_id_inside_an_action_stays_an_action() -> None:
    lm = tiny_lm()
    assert lm.tokenizer.pad_token_id == lm.tokenizer.eos_token_id == END
    plain = written(lm, [([END, 0], [1, 0, 1, END], 1.0)])
    odd = written(lm, [([END, 0], [1, END, END, END], 1.0)])
    for episode in (plain, odd):
        (row,) = pack([episode], max_tokens=100, dtype=torch.float64).rows
        assert row.target.tolist() == list(episode.turns[0].action_ids)
        assert row.source.tolist() == [1, 2, 3, 4]
        assert bool(row.is_action.all())
    # And one in an observation is none.
    seen = written(lm, [([END, 0], [1], None), ([END, END], [0], 1.0)])
    (row,) = pack([seen], max_tokens=100).rows
    assert row.target.tolist() == [1, 0]


@pytest.mark.parametrize("finish", list(FinishReason))
def test_row_15_the_sampled_stop_token_is_trained_on(finish: FinishReason) -> None:
    lm = tiny_lm()
    episode = written(lm, [([END], [0, END], 1.0)])
    turn = replace(episode.turns[0], finish=finish)
    (row,) = pack([replace(episode, turns=(turn,))], max_tokens=100, dtype=torch.float64).rows
    assert row.target.tolist() == [0, END]
    (gradient,) = torch.autograd.grad(
        scored(lm, row)[-1], [lm.causal_lm.get_output_embeddings().weight]
    )
    assert gradient[END].abs().max() > 0


def test_row_19_logits_exist_only_where_an_action_was_chosen() -> None:
    lm = tiny_lm()
    batch = pack(mixed_batch(lm), max_tokens=1000)
    inputs: list[Tensor] = []
    head = lm.causal_lm.get_output_embeddings()
    hook = head.register_forward_hook(lambda _, given, __: inputs.append(given[0]))
    for row in batch.rows:
        scored(lm, row)
    hook.remove()
    assert sum(len(given) for given in inputs) == batch.num_actions < len(batch.rows[0].ids)


def test_row_19_the_gradient_at_predictions_of_observation_tokens_is_exactly_zero() -> None:
    lm = tiny_lm()
    episode = mixed_batch(lm)[2]
    (row,) = pack([episode], max_tokens=1000, dtype=torch.float64).rows
    captured: list[Tensor] = []

    def keep(_: Any, __: Any, output: Any) -> None:
        output.last_hidden_state.retain_grad()
        captured.append(output.last_hidden_state)

    hook = lm.causal_lm.base_model.register_forward_hook(keep)
    scored(lm, row).sum().backward()  # type: ignore[no-untyped-call]
    hook.remove()
    assert captured[0].grad is not None
    felt = captured[0].grad[0].abs().sum(-1) > 0
    assert sorted(row.source.tolist()) == felt.nonzero().squeeze(-1).tolist()
    assert int(felt.sum()) == episode.num_action_tokens < len(episode.ids())
