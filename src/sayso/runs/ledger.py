"""Episodes on disk: exact round trip of ids, floats and any text, lone surrogates included."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sayso.errors import EpisodeError, LogError
from sayso.runs import jsonl
from sayso.runs.jsonl import EPISODES_POINTS, JsonlLog
from sayso.types import Context, EndReason, Episode, Failure, FinishReason, Task, Turn

# JSON cannot tell a high and a low surrogate that stand apart from the character they encode.
_SPLIT = re.compile("(?<=[\ud800-\udbff])(?=[\udc00-\udfff])")
_NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


class EpisodeLog:
    """Appends episodes, one line each, with the step that collected them.

    Attributes:
        log: The file; see ``JsonlLog`` for what happens when the disk is full.
    """

    def __init__(self, path: Path) -> None:
        """Open ``path`` for appending; repairs a torn tail."""
        self.log = JsonlLog(path, points=EPISODES_POINTS)

    @property
    def offset(self) -> int:
        """Bytes of whole records in the file."""
        return self.log.offset

    @property
    def num_dropped(self) -> int:
        """Episodes lost because the disk was full."""
        return self.log.num_dropped

    def append(self, step: int, episodes: Sequence[Episode]) -> None:
        """Add episodes in order.

        Args:
            step: Update they were collected for.
            episodes: Failed ones too.

        Raises:
            EpisodeError: If a task's payload holds something that is not JSON; names it.
        """
        for episode in episodes:
            self.log.append({"step": step, "episode": episode_to_json(episode)})

    def flush(self) -> bool:
        """As ``JsonlLog.flush``."""
        return self.log.flush()

    def truncate(self, offset: int) -> None:
        """As ``JsonlLog.truncate``."""
        self.log.truncate(offset)

    def close(self) -> None:
        """As ``JsonlLog.close``."""
        self.log.close()


def read_episodes(
    path: Path, *, step: int | None = None, offset: int | None = None
) -> Iterator[tuple[int, Episode]]:
    """Pairs (step, episode) in order; changes nothing on disk.

    Args:
        path: The episode log.
        step: Only this step's; ``None`` for all.
        offset: Stop at this byte.

    Raises:
        LogError: If a line is damaged or no episode; names its number.
    """
    for number, record in enumerate(jsonl.read(path, offset=offset), start=1):
        try:
            if step is None or record["step"] == step:
                yield int(record["step"]), episode_from_json(record["episode"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise LogError(
                where=f"{path}, line {number}",
                problem=f"not an episode ({type(error).__name__}: {error}).",
                fix="Restore the line or delete it; the other lines are intact.",
            ) from error


def episode_to_json(episode: Episode) -> dict[str, Any]:
    """JSON values from which ``episode_from_json`` makes an equal episode.

    Text with a split surrogate pair becomes the list of its parts; NaN and infinities, which
    only failed episodes hold, become their names.

    Raises:
        EpisodeError: If the task's payload holds something that is not JSON; names it.
    """
    task, failure = episode.task, episode.failure
    where = f"episode {task.id}#{episode.sample_index}, payload"
    return {
        "task": {
            "id": _text(task.id),
            "env": _text(task.env),
            "split": _text(task.split),
            "payload": _plain(task.payload, where),
        },
        "sample_index": int(episode.sample_index),
        "policy_version": int(episode.policy_version),
        "turns": [_turn_to_json(turn) for turn in episode.turns],
        "end": episode.end.value,
        "context": episode.context,
        "failure": None
        if failure is None
        else {
            "kind": _text(failure.kind),
            "message": _text(failure.message),
            "detail": _text(failure.detail),
        },
        "final_ids": [int(token) for token in episode.final_ids],
        "final_choices": [_text(choice) for choice in episode.final_choices],
        "seed_path": [
            _text(name) if isinstance(name, str) else int(name) for name in episode.seed_path
        ],
    }


def episode_from_json(record: Mapping[str, Any]) -> Episode:
    """Undo ``episode_to_json``.

    Raises:
        KeyError, TypeError, ValueError: If the record is not an episode.
    """
    task, failure = record["task"], record["failure"]
    return Episode(
        task=Task(
            id=_join(task["id"]),
            env=_join(task["env"]),
            split=_join(task["split"]),
            payload=task["payload"],
        ),
        sample_index=record["sample_index"],
        policy_version=record["policy_version"],
        turns=tuple(map(_turn_from_json, record["turns"])),
        end=EndReason(record["end"]),
        context=_context(record["context"]),
        failure=None
        if failure is None
        else Failure(
            kind=_join(failure["kind"]),
            message=_join(failure["message"]),
            detail=_join(failure["detail"]),
        ),
        final_ids=tuple(record["final_ids"]),
        final_choices=tuple(map(_join, record["final_choices"])),
        seed_path=tuple(
            name if isinstance(name, int) else _join(name) for name in record["seed_path"]
        ),
    )


def _context(name: object) -> Context:
    """What an episode's context is called.

    Raises:
        ValueError: If it is none.
    """
    if name == "turn":
        return "turn"
    if name == "episode":
        return "episode"
    raise ValueError(f"context is {name!r}, neither 'episode' nor 'turn'")


def _turn_to_json(turn: Turn) -> dict[str, Any]:
    return {
        "observation_ids": [int(token) for token in turn.observation_ids],
        "action_ids": [int(token) for token in turn.action_ids],
        "action_logprobs": [_number(logprob) for logprob in turn.action_logprobs],
        "finish": turn.finish.value,
        "reward": None if turn.reward is None else _number(turn.reward),
        "reward_parts": [
            [_text(name), None if part is None else _number(part)]
            for name, part in turn.reward_parts.items()
        ],
        "observation": _text(turn.observation),
        "action": _text(turn.action),
        "choices": [_text(choice) for choice in turn.choices],
        "candidates": [[int(token) for token in ids] for ids in turn.candidates],
        **({"media": list(turn.media)} if turn.media else {}),
    }


def _turn_from_json(record: Mapping[str, Any]) -> Turn:
    reward = record["reward"]
    return Turn(
        observation_ids=tuple(record["observation_ids"]),
        action_ids=tuple(record["action_ids"]),
        action_logprobs=tuple(map(_float, record["action_logprobs"])),
        finish=FinishReason(record["finish"]),
        reward=None if reward is None else _float(reward),
        reward_parts={
            _join(name): None if part is None else _float(part)
            for name, part in record["reward_parts"]
        },
        observation=_join(record["observation"]),
        action=_join(record["action"]),
        choices=tuple(map(_join, record["choices"])),
        candidates=tuple(map(tuple, record["candidates"])),
        media=tuple(record.get("media", ())),
    )


def payload_problem(task: Task) -> str:
    """Why a task's payload cannot be written down, in a sentence; empty if it can."""
    try:
        _plain(task.payload, "payload")
    except EpisodeError as error:
        return f"{error.where}: {error.problem.rstrip('.')}"
    return ""


def _text(text: str) -> str | list[str]:
    parts = _SPLIT.split(text)
    return parts if len(parts) > 1 else text


def _join(text: str | list[str]) -> str:
    return text if isinstance(text, str) else "".join(text)


def _number(value: float) -> float | str:
    value = float(value)
    if math.isfinite(value):
        return value
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


def _float(value: float | str) -> float:
    return _NOT_FINITE[value] if isinstance(value, str) else float(value)


def _plain(value: object, where: str) -> Any:
    """A JSON copy of a payload that reads back equal."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, str) and not _SPLIT.search(value):
        return value
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {_plain(key, where): _plain(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, f"{where}[{index}]") for index, item in enumerate(value)]
    raise EpisodeError(
        where=where,
        problem=f"{value!r} ({type(value).__name__}) is not a JSON value.",
        fix="Build payloads of finite numbers, text, lists, tables with text keys, and None.",
    )
