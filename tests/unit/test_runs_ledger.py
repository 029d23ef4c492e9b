"""The episode ledger: exact round trips."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sayso.errors import EpisodeError
from sayso.runs.jsonl import parse_line, to_line
from sayso.runs.ledger import EpisodeLog, episode_from_json, episode_to_json, read_episodes
from sayso.types import EndReason, Episode, Failure, FinishReason, Task, Turn

SURROGATES = st.sampled_from(
    ["\ud83d", "\ude00", "\ud83d" + "\ude00", "\U0001f600", "\x00", "\u202e"]
)
TEXT = st.lists(st.one_of(st.text(max_size=5), st.characters(), SURROGATES), max_size=6).map(
    "".join
)
IDS = st.lists(st.integers(0, 2**40), max_size=4).map(tuple)
FLOATS = st.floats(allow_nan=False)
# Nothing that JSON reads as another value: no split pair, no NaN.
PLAIN_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | PLAIN_TEXT
    | st.just("\ud800"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(PLAIN_TEXT, inner, max_size=3),
    max_leaves=5,
)


@st.composite
def turns(draw: st.DrawFn) -> Turn:
    action_ids = draw(IDS)
    return Turn(
        observation_ids=draw(IDS),
        action_ids=action_ids,
        action_logprobs=tuple(draw(FLOATS) for _ in action_ids),
        finish=draw(st.sampled_from(FinishReason)),
        reward=draw(st.none() | FLOATS),
        reward_parts=draw(st.dictionaries(TEXT, st.none() | FLOATS, max_size=3)),
        observation=draw(TEXT),
        action=draw(TEXT),
        choices=tuple(draw(st.lists(TEXT, max_size=2))),
    )


@st.composite
def episodes(draw: st.DrawFn) -> Episode:
    end = draw(st.sampled_from(EndReason))
    is_failed = end is EndReason.FAILED
    return Episode(
        task=Task(
            id=draw(TEXT),
            env=draw(TEXT),
            split=draw(TEXT),
            payload=draw(st.dictionaries(PLAIN_TEXT, JSON, max_size=3)),
        ),
        sample_index=draw(st.integers(0, 99)),
        policy_version=draw(st.integers(0, 2**70)),
        turns=tuple(draw(st.lists(turns(), min_size=0 if is_failed else 1, max_size=3))),
        end=end,
        context=draw(st.sampled_from(["episode", "turn"])),
        failure=Failure(kind=draw(TEXT), message=draw(TEXT), detail=draw(TEXT))
        if is_failed
        else None,
        final_ids=draw(IDS),
        seed_path=tuple(draw(st.lists(TEXT | st.integers(0, 2**62), max_size=3))),
    )


def _bits(episode: Episode) -> list[bytes]:
    """Every float's bits: equality alone does not tell -0.0 from 0.0."""
    numbers = [
        number
        for turn in episode.turns
        for number in (*turn.action_logprobs, turn.reward, *turn.reward_parts.values())
        if number is not None
    ]
    return [struct.pack("<d", number) for number in numbers]


@settings(max_examples=50, deadline=None)
@given(episode=episodes())
def test_any_episode_round_trips_exactly_through_a_line_of_text(episode: Episode) -> None:
    record = parse_line(to_line(episode_to_json(episode)))
    assert record is not None
    found = episode_from_json(record)
    assert found == episode
    assert _bits(found) == _bits(episode)
    assert list(found.task.payload) == list(episode.task.payload)
    assert found.task.content_hash == episode.task.content_hash


def test_nan_of_a_failed_episode_survives() -> None:
    turn = Turn(observation_ids=(1,), action_ids=(1,), action_logprobs=(math.nan,), reward=math.nan)
    episode = Episode(
        task=Task(id="t", env="e", split="train"),
        sample_index=0,
        policy_version=0,
        turns=(turn,),
        end=EndReason.FAILED,
        failure=Failure(kind="reward_not_finite", message="nan"),
    )
    found = episode_from_json(json.loads(to_line(episode_to_json(episode))))
    assert found.turns[0].reward is not None
    assert math.isnan(found.turns[0].reward)
    assert math.isnan(found.turns[0].action_logprobs[0])


@pytest.mark.parametrize(
    "payload", [{"a": math.nan}, {"a": [{"b": {1, 2}}]}, {"a": {1: 2}}, {"a": "\ud83d" + "\ude00"}]
)
def test_a_payload_that_is_not_json_is_refused_and_named(payload: dict[str, object]) -> None:
    episode = Episode(
        task=Task(id="t9", env="e", split="train", payload=payload),
        sample_index=3,
        policy_version=0,
        turns=(Turn(observation_ids=(1,), action_ids=(), action_logprobs=()),),
        end=EndReason.TERMINATED,
    )
    with pytest.raises(EpisodeError, match=r"episode t9#3, payload\.a.* is not a JSON value"):
        episode_to_json(episode)


def test_reading_one_step_and_up_to_an_offset(tmp_path: Path) -> None:
    def episode(name: str) -> Episode:
        return Episode(
            task=Task(id=name, env="e", split="train"),
            sample_index=0,
            policy_version=0,
            turns=(Turn(observation_ids=(1,), action_ids=(2,), action_logprobs=(0.1,)),),
            end=EndReason.TRUNCATED,
        )

    log = EpisodeLog(tmp_path / "e.jsonl")
    log.append(1, [episode("a"), episode("b")])
    offset = log.offset
    log.append(2, [episode("c")])
    assert log.flush()
    path = tmp_path / "e.jsonl"
    assert [e.task.id for _, e in read_episodes(path)] == ["a", "b", "c"]
    assert [(s, e.task.id) for s, e in read_episodes(path, step=2)] == [(2, "c")]
    assert [e.task.id for _, e in read_episodes(path, offset=offset)] == ["a", "b"]
    log.truncate(offset)
    log.close()
    assert [e.task.id for _, e in read_episodes(path)] == ["a", "b"]
