"""Stored records as text: games, chats and prompts with completions, all read as one ``Game``.

No token is made here: that is ``encode``'s business, and depends on the model.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from sayso.envs.base import Observation
from sayso.envs.scripted import Game, Move
from sayso.envs.spaces import ROLES, Message, message_row, observation_of
from sayso.errors import OptionValueError
from sayso.runs.ledger import payload_problem
from sayso.types import Task

Kind = Literal["episodes", "games", "messages", "preferences", "prompts"]
FOREIGN_ENV = "data"
"""Environment of a record that names none."""
FIELDS: dict[Kind, frozenset[str]] = {
    "episodes": frozenset({"step", "episode"}),
    "games": frozenset({"task", "moves", "last", "last_choices", "terminated"}),
    "messages": frozenset({"messages", "reward", "task", "terminated"}),
    "preferences": frozenset(
        {
            "prompt",
            "chosen",
            "rejected",
            "margin",
            "task",
            "split",
            "score_chosen",
            "score_rejected",
            "writer_chosen",
            "writer_rejected",
            "pair",
        }
    ),
    "prompts": frozenset({"prompt", "completion", "reward", "task"}),
}
"""What is read of each kind of record; anything else is told to the user as not used."""
MARK: dict[Kind, str] = {
    "episodes": "episode", "games": "moves", "messages": "messages", "preferences": "chosen",
    "prompts": "prompt",
}  # fmt: skip
"""The field by which a record is known."""


class RecordError(ValueError):
    """What is wrong with a record, in words; whoever reads it knows file and line."""


def kind_of(record: Mapping[str, Any]) -> Kind:
    """What kind of record this is.

    Raises:
        RecordError: If it is none.
    """
    for kind, mark in MARK.items():
        if mark in record:
            return kind
    raise RecordError(
        f"has the fields {', '.join(map(str, record)) or 'none'}; a record has one of "
        f"{', '.join(MARK.values())}"
    )


def game_of(record: Mapping[str, Any], kind: Kind) -> Game:
    """The game that a record tells.

    Raises:
        RecordError: Saying what is wrong with it.
    """
    if MARK[kind] not in record:
        raise RecordError(f"has no field {MARK[kind]!r}, which a record of {kind} has")
    return _READERS[kind](record)


def game_to_json(game: Game) -> dict[str, Any]:
    """JSON values from which ``game_of`` makes an equal game.

    Raises:
        RecordError: If the task's payload or a number cannot be written down.
    """
    if problem := payload_problem(game.task):
        raise RecordError(f"task {game.task.id}, {problem}")
    task = game.task
    about = {"id": task.id, "env": task.env, "split": task.split, "payload": dict(task.payload)}
    record = {
        "task": about,
        "moves": [
            {
                "observation": plain(move.observation),
                "action": move.action,
                "reward": move.reward,
                **({"parts": move.parts} if move.parts else {}),
                **({"choices": list(move.choices)} if move.choices else {}),
            }
            for move in game.moves
        ],
        "last": plain(game.last),
        "terminated": game.terminated,
    }
    return record | ({"last_choices": list(game.last_choices)} if game.last_choices else {})


def _from_game(record: Mapping[str, Any]) -> Game:
    moves = _list(record["moves"], "moves")
    if not moves:
        raise RecordError("moves is empty")
    played = tuple(_move(move, number) for number, move in enumerate(moves, start=1))
    return Game(
        task=task_of(record.get("task"), played[0].observation),
        moves=played,
        last=read_observation(record.get("last") or "", "last"),
        terminated=_flag(record.get("terminated", True)),
        last_choices=_texts(record.get("last_choices") or (), "last_choices"),
    )


def _move(move: Any, number: int) -> Move:
    where = f"move {number}"
    if not isinstance(move, Mapping) or not {"observation", "action"} <= move.keys():
        raise RecordError(f"{where} has no observation and action")
    parts = move.get("parts") or {}
    if not isinstance(parts, Mapping):
        raise RecordError(f"{where}: parts is no table")
    return Move(
        observation=read_observation(move["observation"], f"{where}, observation"),
        action=read_text(move["action"], f"{where}, action", may_be_empty=True),
        reward=read_number(move.get("reward"), f"{where}, reward"),
        parts={str(name): read_number(part, f"{where}, {name}") for name, part in parts.items()},
        choices=_texts(move.get("choices") or (), f"{where}, choices"),
    )


def _from_messages(record: Mapping[str, Any]) -> Game:
    """A chat: what comes before an answer of the assistant is what it saw."""
    moves: list[Move] = []
    seen: list[Message] = []
    for number, row in enumerate(_list(record["messages"], "messages"), start=1):
        where = f"message {number}"
        if not isinstance(row, Mapping) or row.get("role") not in ROLES:
            raise RecordError(f"{where} has no role of {', '.join(ROLES)}")
        is_said = row["role"] == "assistant"
        text = read_text(row.get("content"), f"{where}, content", may_be_empty=not is_said)
        if not is_said:
            known = ("role", "content", "media")
            seen += _messages([{name: row[name] for name in known if name in row}], where)
            continue
        if not seen:
            raise RecordError(f"{where} is the assistant's and answers nothing")
        reward = read_number(row.get("reward"), f"{where}, reward")
        moves.append(Move(observation=_shown(seen), action=text, reward=reward, parts={}))
        seen = []
    if not moves:
        raise RecordError("messages holds none of the assistant")
    if (whole := read_number(record.get("reward"), "reward")) is not None:
        if any(move.reward is not None for move in moves):
            raise RecordError("has a reward of the whole and rewards of messages: which counts?")
        last = moves[-1]
        moves[-1] = Move(observation=last.observation, action=last.action, reward=whole, parts={})
    return Game(
        task=task_of(record.get("task"), moves[0].observation),
        moves=tuple(moves),
        last=_shown(seen) if seen else "",
        terminated=_flag(record.get("terminated", True)),
    )


def _from_prompt(record: Mapping[str, Any]) -> Game:
    shown = read_observation(record["prompt"], "prompt")
    if "completion" not in record:
        raise RecordError("has a prompt and no completion")
    said = record["completion"]
    if isinstance(said, list | tuple):  # the conversational form: one message of the assistant
        if len(said) != 1 or not isinstance(said[0], Mapping):
            raise RecordError("completion must be text or a list of one message")
        said = said[0].get("content")
    move = Move(
        observation=shown,
        action=read_text(said, "completion"),
        reward=read_number(record.get("reward"), "reward"),
        parts={},
    )
    task = task_of(record.get("task"), shown)
    return Game(task=task, moves=(move,), last="", terminated=True)


_READERS: dict[str, Callable[[Mapping[str, Any]], Game]] = {
    "games": _from_game,
    "messages": _from_messages,
    "prompts": _from_prompt,
}


def task_of(given: Any, shown: Observation) -> Task:
    """The task a record names, by its id or whole; else one for all records that begin alike."""
    if given is None:
        text = json.dumps(plain(shown), ensure_ascii=True)
        given = hashlib.sha256(text.encode()).hexdigest()[:16]
    if isinstance(given, str | int) and not isinstance(given, bool):
        return Task(id=str(given), env=FOREIGN_ENV, split="train")
    if not isinstance(given, Mapping) or not isinstance(given.get("id"), str):
        raise RecordError(f"task is {given!r}; it is an id, or a table with one")
    payload = given.get("payload") or {}
    if not isinstance(payload, Mapping):
        raise RecordError("the task's payload is no table")
    return Task(
        id=given["id"],
        env=str(given.get("env", FOREIGN_ENV)),
        split=str(given.get("split", "train")),
        payload=dict(payload),
    )


def _shown(messages: Sequence[Message]) -> Observation:
    """Text where it is one message of the user: that is what environments show."""
    if len(messages) == 1 and messages[0].role == "user" and not messages[0].media:
        return messages[0].content
    return tuple(messages)


def read_observation(given: Any, where: str) -> Observation:
    """What was shown: text, or messages."""
    if isinstance(given, str):
        return given
    return _shown(_messages(given, where))


def _messages(given: Any, where: str) -> tuple[Message, ...]:
    try:
        found = observation_of(given, where=where)
    except (OptionValueError, KeyError, ValueError) as error:
        told = error.problem if isinstance(error, OptionValueError) else f"media: {error!r}"
        raise RecordError(f"{where}: {told.rstrip('.')}") from error
    return (Message("user", found),) if isinstance(found, str) else found


def plain(observation: Observation) -> Any:
    """An observation as JSON values."""
    if isinstance(observation, str):
        return observation
    return [message_row(message) for message in observation]


def _list(given: Any, where: str) -> Sequence[Any]:
    if not isinstance(given, list | tuple):
        raise RecordError(f"{where} is {type(given).__name__}, not a list")
    return given


def read_text(given: Any, where: str, *, may_be_empty: bool = False) -> str:
    """Text; an answer in a log that is empty was lost, a move of a game may be to say nothing."""
    if not isinstance(given, str):
        raise RecordError(f"{where} is {type(given).__name__}, not text")
    if not given and not may_be_empty:
        raise RecordError(f"{where} is empty")
    return given


def _texts(given: Any, where: str) -> tuple[str, ...]:
    return tuple(read_text(text, where) for text in _list(given, where))


def read_number(given: Any, where: str) -> float | None:
    """``None`` is "not graded"; the empty cell of a CSV file is that too."""
    if given is None or given == "":
        return None
    if isinstance(given, str):
        try:
            given = float(given)
        except ValueError:
            raise RecordError(f"{where} is {given!r}, not a number") from None
    if isinstance(given, bool) or not isinstance(given, int | float):
        raise RecordError(f"{where} is {given!r}, not a number")
    if not math.isfinite(given):
        raise RecordError(f"{where} is {given}, which is not finite")
    return float(given)


def _flag(given: Any) -> bool:
    if not isinstance(given, bool):
        raise RecordError(f"terminated is {given!r}, not true or false")
    return given
