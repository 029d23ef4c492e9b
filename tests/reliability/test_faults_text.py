"""Huge and hostile text: rows 12 and 13 of the fault table."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import badenv
import pytest
from env_faults import (
    LIMITS,
    alive,
    assert_only_bad_ones_failed,
    bad,
    judged,
    play,
    sound,
    workers_of,
)
from rollout_fakes import scripted_policy

from sayso.envs.prompts import PromptEnv
from sayso.envs.registry import EnvSource
from sayso.rollout.boundary import was_cut
from sayso.rollout.collect import collect
from sayso.rollout.limits import RolloutLimits
from sayso.rollout.pool import shutdown_pools
from sayso.runs.ledger import EpisodeLog, episode_from_json, episode_to_json, read_episodes
from sayso.types import Episode


@pytest.fixture(autouse=True)
def _no_pools_left() -> Iterator[None]:
    yield
    shutdown_pools()


# Row 12: huge text


@pytest.mark.parametrize("at", [0, 1])
def test_fault_12_a_huge_observation_is_cut_and_says_so(at: int) -> None:
    limits = RolloutLimits(max_observation_chars=50)
    env = bad("text", at=at, text="0123456789", text_size=1_000_000)
    policy, engine = scripted_policy()
    episodes = collect(
        policy, env.open().tasks("train"), env, group_size=1, seed=3, path=(), limits=limits
    )
    cut = [t for e in episodes for t in e.turns if was_cut(t.observation)]
    assert len(cut) == 1
    assert cut[0].observation == "0123456789" * 5 + "\n[cut: 10,000,000 characters in all]"
    assert cut[0] is episodes[1].turns[at]
    assert all(e.failure is None for e in episodes)
    assert not engine.held


def test_fault_12_a_text_at_the_limit_is_whole() -> None:
    limits = RolloutLimits(max_observation_chars=50)
    env = bad("text", at=1, text="0123456789", text_size=5)
    assert play(env, limits=limits)[2].turns[1].observation == "0123456789" * 5


@pytest.mark.medium
def test_fault_12_the_trainer_does_not_grow_with_an_environments_text() -> None:
    script = textwrap.dedent(
        """
        import resource, sys
        sys.path[:0] = sys.argv[1:]
        from badenv import BadEnv
        from rollout_fakes import scripted_policy
        from sayso.envs.registry import source
        from sayso.rollout.collect import collect
        from sayso.rollout.limits import RolloutLimits

        def play(size):
            env = source(BadEnv, fault="text", at=1, text="0123456789", text_size=size,
                         timeout_s=60)
            policy, _ = scripted_policy(context=1 << 20)
            return collect(policy, env.open().tasks("train"), env, group_size=1, seed=3, path=(),
                           limits=RolloutLimits(num_workers=1, max_observation_chars=1000))

        play(1)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        episode = play(10_000_000)[1]
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        assert "[cut: 100,000,000 characters in all]" in episode.turns[1].observation
        assert episode.failure is None
        assert grown < 50_000, f"{grown} kB"
        print("grown", grown)
        """
    )
    here = Path(__file__).parent
    done = subprocess.run(
        [sys.executable, "-c", script, str(here), str(here.parent)],
        check=False,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    assert "grown" in done.stdout


def test_fault_12_a_huge_wrong_answer_makes_a_short_message(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for value in ("x" * 10_000_000, ["y" * 10_000_000] * 100, {i: i for i in range(10**6)}):
        monkeypatch.setitem(badenv.REWARDS, "given", value)
        failures = assert_only_bad_ones_failed(play(bad("given"), group_size=1), "reward_type")
        assert len(failures[0].message) < 2_000

    def shout(prompt: str, completion: str) -> float:
        raise ValueError("z" * 10_000_000)

    failure = judged(PromptEnv(prompts=["a"], held_out=[], reward=shout))[0].failure
    assert failure is not None
    assert len(failure.message) < 1_000
    assert len(failure.detail) <= 8_000


# Row 13: hostile text


HOSTILE = {
    "lone surrogates": "a\udc80b\ud800",
    "split pair": "\ud83d\ude00",
    "nul": "a\0b",
    "escape": "\x1b]0;title\x07\x1b[2J",
    "bidi": "\u202eevil\u2066",
    "script": "<script>alert(1)</script>",
    "line ends": "a\r\n\u2028\u2029\x85b",
    "json": '"}\n{"outcome": {}}',
    "format": "%s {0} {task}",
}


@pytest.mark.medium
@pytest.mark.parametrize("name", HOSTILE)
def test_fault_13_hostile_text_passes_unchanged_through_pipe_and_log(
    name: str, tmp_path: Path
) -> None:
    text = HOSTILE[name]
    here = play(bad("text", at=1, text=text, text_size=3), group_size=1)
    env = bad("text", at=1, text=text, text_size=3, timeout_s=60)
    there = play(env, group_size=1, limits=RolloutLimits(num_workers=1))
    assert here == there
    assert there[1].turns[1].observation == text * 3
    log = EpisodeLog(tmp_path / "episodes.jsonl")
    log.append(0, there)
    log.close()
    raw = (tmp_path / "episodes.jsonl").read_bytes()
    assert [json.loads(line)["step"] for line in raw.decode("utf-8").splitlines()] == [0] * 4
    assert [episode for _, episode in read_episodes(tmp_path / "episodes.jsonl")] == there
    assert [episode_from_json(episode_to_json(e)) for e in there] == there
    assert all(e.failure is None for e in there)


@pytest.mark.medium
@pytest.mark.parametrize("name", ["lone surrogates", "split pair", "json", "nul"])
def test_fault_13_hostile_actions_reach_a_process_of_its_own_unchanged(name: str) -> None:
    text = HOSTILE[name]
    policy, _ = scripted_policy()
    policy.chat.text = lambda ids: text  # type: ignore[method-assign]

    def run(env: EnvSource) -> list[Episode]:
        tasks = env.open().tasks("train")
        return collect(policy, tasks, env, group_size=1, seed=3, path=(), limits=LIMITS)

    there = run(bad("", timeout_s=60))
    assert there == run(bad(""))
    assert repr(text) in there[0].turns[1].observation


@pytest.mark.medium
@pytest.mark.parametrize("fault", ["print", "write_to_descriptor"])
def test_fault_13_what_an_environment_prints_cannot_pass_for_an_answer(
    fault: str, capfd: pytest.CaptureFixture[str]
) -> None:
    episodes = play(bad(fault, at=1, timeout_s=60))
    assert episodes == sound()
    said = capfd.readouterr()
    assert '{"outcome": {}}' in said.err
    assert said.out == ""


@pytest.mark.medium
def test_fault_13_an_environment_cannot_eat_calls_from_standard_input() -> None:
    env = bad("input", at=1, timeout_s=60)
    failures = assert_only_bad_ones_failed(play(env), "env_raised")
    assert "EOFError" in failures[0].message
    assert len(alive(workers_of(env))) == 2
