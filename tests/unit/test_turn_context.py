"""A policy that sees the latest observation only: prompts, sessions, limits, rows, stored games."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from learner_cases import learner, mixed_batch, plain_logprobs, randomise_critic, tiny_lm
from rollout_fakes import ScriptedEngine, by_seed, scripted_policy

from sayso.algorithms.token_states import token_states
from sayso.data.batch import Batch, pack
from sayso.data.datasets import read_data
from sayso.data.encode import Encoder
from sayso.data.options import DataOptions
from sayso.envs.base import TextEnv
from sayso.envs.registry import source
from sayso.envs.scripted import Game, Move
from sayso.errors import DataError
from sayso.models.filters import Distribution
from sayso.models.load import load
from sayso.models.options import ModelOptions, TinyOptions
from sayso.models.scoring import score
from sayso.rollout.collect import collect, go_on
from sayso.rollout.limits import RolloutLimits
from sayso.rollout.pool import shutdown_pools
from sayso.rollout.script import script_of
from sayso.runs.ledger import episode_from_json, episode_to_json
from sayso.sampling.base import Policy, Request
from sayso.sampling.make import make_engine
from sayso.sampling.options import SamplingOptions
from sayso.seeds import derive
from sayso.types import EndReason, Episode, Task

TURN = RolloutLimits(context="turn")
BUDGETS = (1, 9, 13, 20, 1000)


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    torch.set_num_threads(1)
    yield
    shutdown_pools()


class Steps(TextEnv):
    """Says which step it is, in words of a given length each."""

    def __init__(self, *, lengths: Sequence[int] = (1, 2, 3), ends: str = "terminated") -> None:
        self.lengths, self.ends = tuple(lengths), ends

    def tasks(self, split: str) -> Sequence[Task]:
        return [Task(id=f"s{n}", env="test/Steps-v0", split=split) for n in range(2)]

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.turn = 0
        return "a" * self.lengths[0], {}

    def step(self, action: str) -> Any:
        self.turn += 1
        over = self.turn + 1 == len(self.lengths)
        shown = "ab"[self.turn % 2] * self.lengths[self.turn]
        return shown, float(len(action)), over and self.ends == "terminated", False, {}


def play(policy: Policy, limits: RolloutLimits = TURN, **env: Any) -> list[Episode]:
    steps = source(Steps, **env)
    return collect(policy, steps.open().tasks("train"), steps, group_size=2, seed=11,
                   path=("rollout", 3), limits=limits)  # fmt: skip


def test_every_turn_is_a_prompt_of_its_own_in_a_fresh_session() -> None:
    held: list[int] = []

    def script(request: Request) -> str:
        held.append(len(engine.held.get(request.session, [])))
        return by_seed(request)

    engine: ScriptedEngine
    policy, engine = scripted_policy(script)
    episodes = play(policy)
    prompts = [policy.chat.prompt(shown) for shown in ("a", "bb")]
    for episode in episodes:
        assert episode.context == "turn"
        assert [turn.observation_ids for turn in episode.turns] == prompts
        assert [episode.context_ids(number) for number in range(2)] == prompts
        asked = [r for r in engine.requests if r.session == "/".join(map(str, episode.seed_path))]
        assert [r.new_ids for r in asked] == prompts
        seeds = [derive(11, *episode.seed_path, "turn", number) for number in range(2)]
        assert [r.seed for r in asked] == seeds
    assert held == [0] * 8, "something was still held when the next turn was asked for"
    assert not engine.held
    whole = play(policy, RolloutLimits())[0]
    assert whole.context == "episode"
    assert whole.context_ids(1)[: len(prompts[0])] == prompts[0] != whole.context_ids(1)


def letters(width: int = 16) -> Any:
    tiny = TinyOptions(tokens="abcd", width=width, layers=1, heads=2, context=64)
    return load("tiny", ModelOptions(name="tiny", tiny=tiny), seed=0)


@pytest.mark.parametrize("engine", ["native", "torch", "hf"])
def test_each_turn_is_sampled_as_the_only_turn_of_an_episode_would_be(engine: Any) -> None:
    lm, sampling = letters(), SamplingOptions(max_new_tokens=4, engine=engine)
    policy = Policy(engine=make_engine(lm, sampling), chat=lm.chat, max_new_tokens=4)
    for episode in play(policy, lengths=(1, 3, 2, 5)):
        for number, turn in enumerate(episode.turns):
            alone = make_engine(lm, sampling)
            seed = derive(11, *episode.seed_path, "turn", number)
            alone.submit(
                Request(session="x", new_ids=turn.observation_ids, seed=seed, max_new_tokens=4)
            )
            (completion,) = alone.poll()
            assert turn.action_ids == completion.ids
            assert turn.action_logprobs == pytest.approx(completion.logprobs, abs=1e-6)


def test_the_context_limit_holds_for_a_turn_and_not_for_the_episode() -> None:
    policy, _ = scripted_policy(lambda request: "x" * 50, max_new_tokens=4)
    small = replace(TURN, max_context_tokens=14)
    fitting = play(policy, small, lengths=(8,) * 6)
    assert {e.end for e in fitting} == {EndReason.TERMINATED}
    assert {len(e.turns) for e in fitting} == {5}
    assert len(fitting[0].ids()) > 14
    cut = play(policy, replace(small, context="episode"), lengths=(8,) * 6)
    assert {e.end for e in cut} == {EndReason.TRUNCATED}
    assert {len(e.turns) for e in cut} == {1}


@pytest.mark.parametrize(("length", "is_seen", "num_turns"), [
    (12, True, 2), (13, True, 1), (14, False, 1),
])  # fmt: skip
def test_an_observation_that_leaves_no_room_cuts_the_episode_off(
    length: int, is_seen: bool, num_turns: int
) -> None:
    policy, _ = scripted_policy(lambda request: "x", max_new_tokens=4)
    room = replace(TURN, max_context_tokens=len(policy.chat.prompt("a" * 13)))
    for episode in play(policy, room, lengths=(1, length, 1)):
        assert len(episode.turns) == num_turns
        if num_turns == 1:
            assert episode.end is EndReason.TRUNCATED
            assert episode.final_ids == (policy.chat.prompt("b" * length) if is_seen else ())


def test_a_cut_off_episode_ends_in_the_prompt_of_its_last_observation() -> None:
    policy, _ = scripted_policy()
    for episode in play(policy, replace(TURN, max_turns=2)):
        assert episode.end is EndReason.TERMINATED
    for episode in play(policy, replace(TURN, max_turns=2), ends="never", lengths=(1, 2, 3, 4)):
        assert episode.end is EndReason.TRUNCATED
        assert episode.final_ids == episode.final_context_ids() == policy.chat.prompt("aaa")


def test_episodes_are_played_on_from_inside_a_turn() -> None:
    policy, engine = scripted_policy()
    steps, begun = source(Steps), play(policy)[0]
    first = len(begun.turns[0].action_ids)
    for num_tokens in (0, 1, first, first + 1):
        engine.requests.clear()
        ((episode,),) = go_on(policy, [(begun, script_of(begun, num_tokens))], steps, num_each=1,
                              seed=11, limits=TURN)  # fmt: skip
        assert episode.end is EndReason.TERMINATED
        said = [token for turn in episode.turns for token in turn.action_ids]
        whole = [token for turn in begun.turns for token in turn.action_ids]
        assert said[:num_tokens] == whole[:num_tokens]
        number, inside = (0, num_tokens) if num_tokens < first else (1, num_tokens - first)
        beginning = begun.turns[number].action_ids[:inside]
        assert engine.requests[0].new_ids == (*begun.turns[number].observation_ids, *beginning)


def test_the_ledger_keeps_what_was_seen() -> None:
    episode = play(scripted_policy()[0])[0]
    record = episode_to_json(episode)
    assert record["context"] == "turn"
    assert episode_from_json(record) == episode
    with pytest.raises(ValueError, match="context is 'last'"):
        episode_from_json({**record, "context": "last"})


# What follows is about rows.


def turnwise(lm: Any) -> list[Episode]:
    """The mixed batch with every turn by itself; contexts and actions come again in it."""
    episodes = [replace(episode, context="turn") for episode in mixed_batch(lm)]
    first = episodes[0].turns[0]
    again = replace(episodes[3], turns=(*episodes[3].turns, first, first))
    lost = replace(episodes[4], end=EndReason.TRUNCATED, final_ids=())
    return [*episodes[:3], again, lost, episodes[5]]


def texts_of(episode: Episode) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    return [(turn.observation_ids, turn.action_ids) for turn in episode.turns]


def scored(lm: Any, batch: Batch) -> list[torch.Tensor]:
    return [
        score(lm, ids=row.ids, position=row.position, visible=row.forest, source=row.source,
              target=row.target, distribution=Distribution()).logprob
        for row in batch.rows
    ]  # fmt: skip


@pytest.mark.parametrize("max_tokens", BUDGETS)
@torch.no_grad()
def test_turns_score_like_each_turn_alone(max_tokens: int) -> None:
    lm = tiny_lm()
    episodes = turnwise(lm)
    batch = pack(episodes, max_tokens=max_tokens, dtype=torch.float64)
    for episode, found in zip(episodes, batch.by_episode(scored(lm, batch)), strict=True):
        alone = [
            float(p)
            for seen, said in texts_of(episode)
            for p in plain_logprobs(lm, (*seen, *said))[len(seen) - 1 :]
        ]
        assert np.abs(found - alone).max() <= 1e-12


@pytest.mark.parametrize("max_tokens", BUDGETS)
@torch.no_grad()
def test_the_state_that_follows_is_that_of_the_next_observation_alone(max_tokens: int) -> None:
    lm = tiny_lm()
    made = learner("ppo", lm)
    randomise_critic(lm)
    made.core.optimiser.options = replace(
        made.core.optimiser.options, micro_batch_tokens=max_tokens
    )
    episodes = turnwise(lm)
    batch = made.core.pack(episodes)

    def value(ids: Sequence[int]) -> float:
        output = lm.network(input_ids=torch.tensor([ids]), output_hidden_states=True)
        return float(lm.values(output.hidden_states[-1][0, -1:]))

    seen = 0
    for row in batch.rows:
        states = token_states(made.core, row, batch)
        found = states.after(lm.values(states.hidden), lm.values(states.final)).tolist()
        for index in row.episodes:
            episode, expected = episodes[index], list[float]()
            contexts = [episode.context_ids(n) for n in range(len(episode.turns))]
            for number, turn in enumerate(episode.turns):
                said = turn.action_ids
                expected += [value((*contexts[number], *said[:n])) for n in range(1, len(said))]
                is_last = number + 1 == len(episode.turns)
                if not is_last:
                    expected.append(value(contexts[number + 1]))
                elif episode.end is EndReason.TRUNCATED:
                    expected.append(value(episode.final_context_ids()))
                else:
                    expected.append(0.0)
            assert found[: len(expected)] == pytest.approx(expected, abs=1e-12)
            found = found[len(expected) :]
            seen += 1
        assert not found
    assert seen == len(episodes)


def test_the_gradient_of_shared_turns_is_that_of_one_episode_per_row() -> None:
    lm = tiny_lm()
    episodes = turnwise(lm)
    rng = np.random.default_rng(0)
    credit = [rng.normal(size=e.num_action_tokens) for e in episodes]

    def gradient(max_tokens: int) -> torch.Tensor:
        lm.network.zero_grad()
        batch = pack(episodes, max_tokens=max_tokens, dtype=torch.float64)
        for logprobs, numbers in zip(scored(lm, batch), batch.align(credit), strict=True):
            (logprobs * numbers).sum().backward()  # type: ignore[no-untyped-call]
        return torch.cat([p.grad.flatten() for p in lm.network.parameters()])

    one = gradient(1)
    for max_tokens in BUDGETS[1:]:
        assert (gradient(max_tokens) - one).abs().max() <= 1e-12 * one.abs().max()


@pytest.mark.parametrize("max_tokens", BUDGETS)
def test_what_a_decision_looks_at_is_its_observation_and_nothing_else(max_tokens: int) -> None:
    episodes = turnwise(tiny_lm())
    batch = pack(episodes, max_tokens=max_tokens)
    assert sorted(e for row in batch.rows for e in row.episodes) == list(range(len(episodes)))
    for row in batch.rows:
        visible, at = row.forest.mask(), 0
        num_largest = max(len(row.ids), len(row.target))
        assert num_largest <= max_tokens or len(row.episodes) == 1
        for index in row.episodes:
            for seen, said in texts_of(episodes[index]):
                for number in range(len(said)):
                    context = row.ids[visible[row.source[at]]].tolist()
                    assert context == [*seen, *said[:number]]
                    assert int(row.position[row.source[at]]) == len(context) - 1
                    assert row.ids[row.place[at]] == row.target[at] == said[number]
                    assert int(row.episode[at]) == index
                    at += 1
        assert at == len(row.target)
        for place, index in zip(row.final_source, row.final_episode, strict=True):
            assert tuple(row.ids[visible[place]].tolist()) == episodes[index].final_context_ids()


def test_equal_contexts_and_equal_actions_in_them_are_stored_once() -> None:
    episodes = turnwise(tiny_lm())
    (row,) = pack(episodes, max_tokens=1000).rows
    pairs = {text for episode in episodes for text in texts_of(episode)}
    contexts = {seen for seen, _ in pairs} | {e.final_ids for e in episodes if e.final_ids}
    assert len(row.ids) == sum(map(len, contexts)) + sum(len(said) for _, said in pairs)
    assert len(pack(episodes, max_tokens=len(row.ids)).rows) == 1
    assert len(pack(episodes, max_tokens=len(row.ids) - 1).rows) == 2


def test_actions_that_share_a_text_count_towards_the_budget() -> None:
    """Each has logits of its own, which is what a row's memory goes to."""
    episode = turnwise(tiny_lm())[0]
    long = replace(episode, turns=episode.turns[:1] * 10)
    assert len(pack([long, long], max_tokens=60).rows) == 1
    assert len(pack([long, long], max_tokens=59).rows) == 2
    assert len(pack([long], max_tokens=1000).rows[0].ids) == 5


def test_both_kinds_of_episodes_may_lie_in_one_row() -> None:
    lm = tiny_lm()
    whole, apart = mixed_batch(lm), turnwise(lm)
    episodes = [whole[0], apart[1], whole[2], apart[2], apart[5]]
    batch = pack(episodes, max_tokens=1000, dtype=torch.float64)
    assert len(batch.rows) == 1
    with torch.no_grad():
        together = batch.by_episode(scored(lm, batch))
        for episode, found in zip(episodes, together, strict=True):
            one = pack([episode], max_tokens=1, dtype=torch.float64)
            assert np.abs(one.by_episode(scored(lm, one))[0] - found).max() <= 1e-12


# What follows is about stored episodes.


def encoder(lm: Any, context: Any = "turn", max_context: int = 32) -> Encoder:
    return Encoder(lm.chat, max_new_tokens=4, max_context=max_context, num_ids=lm.vocabulary,
                   context=context)  # fmt: skip


GAME = Game(
    task=Task(id="g", env="mine", split="train"),
    moves=tuple(
        Move(observation=shown, action="ab", reward=1.0, parts={}) for shown in ("a", "bb", "ccc")
    ),
    last="dddd",
    terminated=False,
)


def test_a_stored_game_is_encoded_turn_by_turn() -> None:
    lm = letters()
    episode = encoder(lm).encode(GAME)
    assert episode is not None
    assert episode.context == "turn"
    prompts = [lm.chat.prompt(shown) for shown in ("a", "bb", "ccc")]
    assert [turn.observation_ids for turn in episode.turns] == prompts
    assert episode.final_ids == lm.chat.prompt("dddd")
    longest = len(lm.chat.prompt("ccc")) + len(episode.turns[2].action_ids)
    small = encoder(lm, max_context=longest).encode(GAME)
    assert small is not None
    assert len(small.turns) == 3
    made = encoder(lm, max_context=longest - 1)
    shorter = made.encode(GAME)
    assert shorter is not None
    assert made.num_shortened == 1
    assert shorter.turns == episode.turns[:2]
    assert (shorter.end, shorter.final_ids) == (EndReason.TRUNCATED, lm.chat.prompt("ccc"))


@pytest.mark.parametrize("played", ["turn", "episode"])
def test_a_ledger_of_another_context_is_refused(played: Any) -> None:
    lm, other = letters(), "episode" if played == "turn" else "turn"
    policy = Policy(
        engine=make_engine(lm, SamplingOptions(max_new_tokens=4)), chat=lm.chat, max_new_tokens=4
    )
    recorded = play(policy, RolloutLimits(context=played), lengths=(1, 3, 2, 5))
    data = read_data(recorded, DataOptions(), encoder(lm, played)).episodes
    assert [e.turns for e in data] == [e.turns for e in recorded]
    assert {e.context for e in data} == {played}
    with pytest.raises(DataError, match=f"env.context = '{played}', and this run's is '{other}'"):
        read_data(recorded, DataOptions(), encoder(lm, other))


def test_a_ledger_is_cut_where_a_turn_does_not_fit() -> None:
    lm = letters()
    policy = Policy(
        engine=make_engine(lm, SamplingOptions(max_new_tokens=4)), chat=lm.chat, max_new_tokens=4
    )
    episode = play(policy, lengths=(1, 3, 20, 5))[0]
    kept = encoder(lm, max_context=len(lm.chat.prompt("b" * 3)) + 4).recorded(episode)
    assert kept is not None
    assert kept.turns == episode.turns[:2]
    assert (kept.end, kept.final_ids) == (EndReason.TRUNCATED, ())
