"""The loop in which a policy meets an environment, with an engine that follows a script."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from rollout_fakes import END_ID, ScriptedEngine, by_seed, scripted_policy

from sayso.envs.base import TextEnv
from sayso.envs.registry import EnvSource, source
from sayso.envs.spaces import Message
from sayso.errors import EnvContractError, SamplingError
from sayso.rollout.collect import collect
from sayso.rollout.limits import RolloutLimits
from sayso.rollout.pool import shutdown_pools
from sayso.sampling.base import Completion, Policy, Request
from sayso.seeds import derive
from sayso.types import EndReason, Episode, FinishReason, Task

LIMITS = RolloutLimits()
PATH = ("rollout", 3)


@pytest.fixture(autouse=True)
def _no_pools_left() -> Iterator[None]:
    yield
    shutdown_pools()


class Talk(TextEnv):
    """Repeats what it hears for some turns; notes what it was told."""

    seen: list[dict[str, Any]] = []  # noqa: RUF012  # shared by all of one test
    num_open = 0

    def __init__(
        self, *, length: int = 3, ends: str = "terminated", reward: Any = 1.0, first: Any = None
    ) -> None:
        type(self).num_open += 1
        self.length, self.ends, self.reward, self.first = length, ends, reward, first

    def tasks(self, split: str) -> Sequence[Task]:
        return [Task(id=f"t{i}", env="test/Talk-v0", split=split) for i in range(4)]

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.turn, task = 0, self.choose(seed, options).id
        type(self).seen.append({"task": task, "seed": seed, "options": options})
        begin = f"{task}:{self.np_random.integers(1000)}" if self.first is None else self.first
        return begin, {"choices": ["a", "b"] if self.first is None else ()}

    def step(self, action: str) -> Any:
        self.turn += 1
        over = self.turn >= self.length
        type(self).seen.append({"action": action})
        parts = {"said": float(len(action)), "n/a": None}
        ended, cut = over and self.ends != "truncated", over and self.ends != "terminated"
        return f"you said {action}", self.reward, ended, cut, {"reward_parts": parts}


@pytest.fixture(autouse=True)
def _fresh() -> None:
    Talk.seen, Talk.num_open = [], 0


def tasks(count: int = 2) -> list[Task]:
    return list(Talk().tasks("train")[:count])


def play(policy: Policy, env: Any = Talk, **options: Any) -> list[Episode]:
    chosen = {"group_size": 2, "seed": 11, "path": PATH, "limits": LIMITS} | options
    chosen["tasks"] = options["tasks"] if "tasks" in options else tasks()
    return collect(policy, source=env if isinstance(env, EnvSource) else source(env), **chosen)


def test_groups_are_adjacent_in_the_order_of_the_tasks_and_stamped() -> None:
    policy, _ = scripted_policy()
    episodes = play(policy, group_size=3, first_sample=5)
    assert [(e.task.id, e.sample_index) for e in episodes] == [
        (task, sample) for task in ("t0", "t1") for sample in (5, 6, 7)
    ]
    assert {e.policy_version for e in episodes} == {7}
    assert episodes[4].seed_path == ("rollout", 3, "t1", 6)
    assert {e.end for e in episodes} == {EndReason.TERMINATED}


def test_a_group_meets_the_same_problem_and_other_tasks_and_paths_another() -> None:
    policy, _ = scripted_policy()
    play(policy, source(Talk))
    play(policy, source(Talk), path=("eval", "train"))
    seeds = [s["seed"] for s in Talk.seen if "seed" in s]
    assert seeds[0] == seeds[1] == derive(11, *PATH, "t0", "env") % 2**31
    assert len(set(seeds)) == 4
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert Talk.seen[0]["options"] == {"task": "t0", "split": "train"}


def test_each_action_has_its_own_seed_from_names_alone() -> None:
    policy, engine = scripted_policy()
    play(policy)
    by_session: dict[str, list[int]] = {}
    for request in engine.requests:
        by_session.setdefault(request.session, []).append(request.seed)
    assert by_session["rollout/3/t1/0"] == [
        derive(11, "rollout", 3, "t1", 0, "turn", turn) for turn in range(3)
    ]
    assert len({request.seed for request in engine.requests}) == len(engine.requests) == 12
    of_episodes = {(request.session, request.episode_seed) for request in engine.requests}
    assert len(of_episodes) == len({seed for _, seed in of_episodes}) == 4  # the same in all turns


def test_attempts_draw_the_same_numbers_whatever_is_played_beside_them() -> None:
    alone = play(scripted_policy()[0], tasks=tasks(4)[2:3], group_size=1, first_sample=1)
    together = play(scripted_policy()[0], tasks=tasks(4)[::-1], group_size=3)
    assert alone[0] == next(e for e in together if e.task.id == "t2" and e.sample_index == 1)


def test_a_second_call_gives_the_same_episodes() -> None:
    policy, _ = scripted_policy()
    talk = source(Talk)
    assert play(policy, talk) == play(policy, talk)


def test_turns_hold_what_was_sent_sampled_and_earned() -> None:
    policy, _ = scripted_policy(lambda request: "go", max_new_tokens=8)
    episode = play(policy, lambda: Talk(reward=2), group_size=1)[0]
    first, second, _ = episode.turns
    assert policy.chat.prompt(first.observation) == first.observation_ids
    assert policy.chat.reply("you said go", closed=True) == second.observation_ids
    assert [turn.action for turn in episode.turns] == ["go"] * 3
    assert policy.chat.text(first.action_ids) == "go"
    assert first.action_ids[-1] == END_ID
    assert first.action_logprobs == (-0.125, -0.25, -0.375)
    assert first.finish is FinishReason.STOP
    assert [turn.reward for turn in episode.turns] == [2.0] * 3
    assert type(first.reward) is float
    assert first.reward_parts == {"said": 2.0, "n/a": None}
    assert first.choices == ("a", "b")
    assert second.choices == ()
    assert second.observation == "you said go"
    assert episode.final_ids == ()


def test_contexts_are_what_the_engine_held() -> None:
    policy, engine = scripted_policy()
    held: dict[str, list[tuple[int, ...]]] = {}
    submit = engine.submit

    def note(request: Request) -> None:
        submit(request)
        held.setdefault(request.session, []).append(tuple(engine.held[request.session]))

    engine.submit = note  # type: ignore[method-assign]
    for episode in play(policy):
        contexts = [episode.context_ids(turn) for turn in range(len(episode.turns))]
        assert contexts == held["/".join(map(str, episode.seed_path))]


def test_an_action_cut_at_its_budget_is_closed_by_the_format() -> None:
    policy, _ = scripted_policy(lambda request: "abcdef", max_new_tokens=4)
    episode = play(policy, group_size=1)[0]
    assert episode.turns[0].finish is FinishReason.LENGTH
    assert episode.turns[0].action == "abcd"
    reply = policy.chat.reply("you said abcd", closed=False)
    assert episode.turns[1].observation_ids == reply


def test_the_text_before_the_first_stop_string_is_the_action() -> None:
    policy, _ = scripted_policy(lambda request: "one;two.three")
    cut = Policy(engine=policy.engine, chat=policy.chat, max_new_tokens=32, stop=(".", ";"))
    episode = play(cut, group_size=1)[0]
    assert episode.turns[0].action == "one"
    assert len(episode.turns[0].action_ids) == len("one;two.three") + 1


def test_an_empty_action_reaches_the_environment_as_empty_text() -> None:
    policy, _ = scripted_policy(lambda request: "")
    episode = play(policy, group_size=1)[0]
    assert episode.turns[0].action_ids == (END_ID,)
    assert episode.turns[0].action == ""
    assert {"action": ""} in Talk.seen


def test_terminated_wins_over_truncated() -> None:
    episode = play(scripted_policy()[0], lambda: Talk(ends="both"))[0]
    assert episode.end is EndReason.TERMINATED
    assert episode.final_ids == ()


def test_a_truncated_episode_keeps_its_final_observation() -> None:
    policy, _ = scripted_policy(lambda request: "go")
    episode = play(policy, lambda: Talk(ends="truncated"))[0]
    assert episode.end is EndReason.TRUNCATED
    assert len(episode.turns) == 3
    assert episode.final_ids == policy.chat.reply("you said go", closed=True)


@pytest.mark.parametrize(("limit", "own", "expected"), [(2, 1, 2), (None, 2, 2), (1, None, 1)])
def test_the_turn_budget_truncates(limit: int | None, own: int | None, expected: int) -> None:
    class Short(Talk):
        max_turns = own

    policy, _ = scripted_policy(lambda request: "go")
    episode = play(policy, Short, limits=RolloutLimits(max_turns=limit))[0]
    assert episode.end is EndReason.TRUNCATED
    assert len(episode.turns) == expected
    assert episode.final_ids


def test_row_33_a_reward_of_zero_is_not_none() -> None:
    zero = play(scripted_policy()[0], lambda: Talk(reward=0.0))[0]
    none = play(scripted_policy()[0], lambda: Talk(reward=None))[0]
    assert (zero.turns[0].reward, zero.return_) == (0.0, 0.0)
    assert (none.turns[0].reward, none.return_) == (None, None)
    assert {zero.end, none.end} == {EndReason.TERMINATED}


def test_fault_14_a_first_prompt_without_room_fails_alone_and_is_counted() -> None:
    policy, engine = scripted_policy(context=40)

    long = play(policy, lambda: Talk(first="x" * 39, length=1), group_size=1, tasks=tasks(1))
    fits = play(policy, lambda: Talk(first="x" * 37, length=1), group_size=1, tasks=tasks(1))
    assert long[0].end is EndReason.FAILED
    assert long[0].failure is not None
    assert long[0].failure.kind == "context_too_long"
    assert "has 41 tokens and leaves no room in a context of 40" in long[0].failure.message
    assert long[0].turns == ()
    assert fits[0].end is EndReason.TERMINATED
    assert len(fits[0].turns[0].action_ids) == 1
    assert not engine.held


@pytest.mark.parametrize("limit", [None, 60])
def test_fault_14_a_full_context_truncates_after_a_turn(limit: int | None) -> None:
    policy, _ = scripted_policy(lambda request: "abcdefgh", context=limit or 60)
    wide, _ = scripted_policy(lambda request: "abcdefgh", context=4096)
    used = policy if limit is None else wide
    episode = play(
        used, lambda: Talk(length=99), limits=RolloutLimits(max_context_tokens=limit), group_size=1
    )[0]
    assert episode.end is EndReason.TRUNCATED
    assert 1 <= len(episode.turns) < 99
    assert len(episode.ids()) <= 60
    total = len(episode.context_ids(len(episode.turns) - 1)) + len(episode.turns[-1].action_ids)
    rest = len(policy.chat.reply(f"you said {episode.turns[-1].action}", closed=True))
    assert total + rest + 1 > 60 - 1


def test_the_final_observation_is_kept_only_where_it_fits() -> None:
    policy, _ = scripted_policy(lambda request: "go")
    # prompt "hi\n" with a begin token: 4, "go" and end: 3, "\nyou said go\n": 13
    for context, fits in ((20, True), (19, False)):
        episode = play(
            policy,
            lambda: Talk(first="hi", length=99),
            group_size=1,
            limits=RolloutLimits(max_context_tokens=context),
        )[0]
        assert episode.end is EndReason.TRUNCATED
        assert len(episode.turns) == 1
        assert bool(episode.final_ids) is fits
        assert len(episode.ids()) == (20 if fits else 7)


def test_the_last_action_gets_what_is_left_of_the_context() -> None:
    policy, _ = scripted_policy(lambda request: "abcdefgh", max_new_tokens=16)
    episode = play(
        policy, lambda: Talk(first="hi"), group_size=1, limits=RolloutLimits(max_context_tokens=9)
    )[0]
    assert episode.turns[0].action == "abcde"
    assert episode.turns[0].finish is FinishReason.LENGTH


def test_fault_14_an_engine_that_draws_nothing_fails_the_episode() -> None:
    policy, engine = scripted_policy()
    poll = engine.poll

    def without_tokens() -> list[Completion]:
        return [
            Completion(session=c.session, ids=(), logprobs=(), finish=FinishReason.LENGTH)
            if c.session.endswith("t0/1")
            else c
            for c in poll()
        ]

    engine.poll = without_tokens  # type: ignore[method-assign]
    episodes = play(policy)
    assert [e.end is EndReason.FAILED for e in episodes] == [False, True, False, False]
    assert episodes[1].failure is not None
    assert episodes[1].failure.kind == "nothing_sampled"
    assert "t0" in episodes[1].failure.message
    assert not engine.held


def test_a_conversation_is_shown_as_roles_and_texts() -> None:
    chat = (Message("system", "be brief"), Message("user", "hello"))
    policy, _ = scripted_policy()
    episode = play(policy, lambda: Talk(first=chat, length=1), group_size=1)[0]
    assert episode.turns[0].observation == "system: be brief\nuser: hello"
    assert episode.turns[0].observation_ids == policy.chat.prompt(chat)


def test_every_session_is_closed_when_an_episode_ends_and_when_the_engine_breaks() -> None:
    policy, engine = scripted_policy()
    play(policy)
    names = {f"rollout/3/t{i}/{j}" for i in range(2) for j in range(2)}
    assert set(engine.closed) == names
    assert not engine.held

    engine.closed.clear()
    polls = iter([engine.poll])

    def breaks() -> list[Completion]:
        return next(polls)()

    engine.poll = breaks  # type: ignore[method-assign]
    with pytest.raises(StopIteration):
        play(policy)
    assert set(engine.closed) == names
    assert not engine.held


def test_an_engine_that_forgets_a_request_is_an_error_not_a_missing_episode() -> None:
    policy, engine = scripted_policy()
    engine.poll = list  # type: ignore[method-assign]
    with pytest.raises(SamplingError, match="nothing left to do"):
        play(policy)


def test_actions_are_played_in_the_order_of_sampling_and_asked_in_that_order() -> None:
    lengths = {"t0/0": "aaaa", "t0/1": "a", "t1/0": "a", "t1/1": "aaaa"}
    policy, engine = scripted_policy(lambda request: lengths[request.session[-4:]])
    play(policy, lambda: Talk(length=2))
    assert [r.session[-4:] for r in engine.requests] == [
        *("t0/0", "t0/1", "t1/0", "t1/1"),
        *("t0/1", "t1/0"),
        *("t0/0", "t1/1"),
    ]


def test_environments_are_used_again_and_opened_only_as_needed() -> None:
    policy, _ = scripted_policy()
    talk, chosen = source(Talk), tasks()
    Talk.num_open = 0
    play(policy, talk, tasks=chosen)
    assert Talk.num_open == 4
    play(policy, talk, tasks=chosen)
    assert Talk.num_open == 4
    shutdown_pools()
    play(policy, talk, tasks=chosen)
    assert Talk.num_open == 8


def test_no_tasks_no_episodes_and_wrong_numbers_are_refused() -> None:
    policy, _ = scripted_policy()
    assert play(policy, tasks=[]) == []
    with pytest.raises(ValueError, match="group_size must be at least 1, got 0"):
        play(policy, group_size=0)
    with pytest.raises(EnvContractError, match="two tasks of one id"):
        play(policy, tasks=tasks(1) * 2)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[(n, 0) for n in ("max_turns", "max_context_tokens", "num_workers")],
        *[("env_timeout_s", v) for v in (0, -1.0, float("inf"), float("nan"))],
        *[("max_reward", v) for v in (0, float("inf"), float("nan"))],
        ("max_observation_chars", 0),
    ],
)
def test_limits_that_make_no_sense_are_refused(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=name):
        RolloutLimits(**{name: value})


def test_the_scripted_engine_depends_on_seeds_alone() -> None:
    request = Request(session="a", new_ids=(1,), seed=5, max_new_tokens=9)
    other = Request(session="b", new_ids=(2, 3), seed=5, max_new_tokens=9)
    assert by_seed(request) == by_seed(other)
    assert isinstance(ScriptedEngine().max_context, int)
