"""Stored episodes: every format, exactly as the sampler would have recorded it; every problem."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny_models

from sayso.data.batch import pack
from sayso.data.datasets import DataSet, read_data, write_episodes, write_games
from sayso.data.encode import STORED, Encoder
from sayso.data.options import DataOptions
from sayso.data.records import game_of, game_to_json
from sayso.envs.registry import source
from sayso.envs.scripted import Game, Move, games, play_many, scripted
from sayso.envs.spaces import Message
from sayso.errors import DataError
from sayso.models.chat import ChatFormat
from sayso.models.load import load
from sayso.models.options import ModelOptions, TinyOptions
from sayso.rollout.collect import collect
from sayso.rollout.limits import RolloutLimits
from sayso.runs.ledger import EpisodeLog
from sayso.sampling.base import Policy
from sayso.sampling.make import make_engine
from sayso.sampling.options import SamplingOptions
from sayso.types import EndReason, Episode, Failure, FinishReason, Task, Turn

LETTERS = TinyOptions(tokens=list("abcdefghijklmnopqrstuvwxyz .:,\n"), width=8, layers=1, heads=2,
                      context=64)  # fmt: skip


def letters() -> Any:
    return load("tiny", ModelOptions(name="tiny", tiny=LETTERS), seed=0)


def encoder(*, max_new_tokens: int = 16, max_context: int = 64, lm: Any = None) -> Encoder:
    lm = lm or letters()
    return Encoder(
        lm.chat, max_new_tokens=max_new_tokens, max_context=max_context, num_ids=lm.vocabulary
    )


def chatty() -> Encoder:
    _, tokenizer = tiny_models.tiny_chat()
    chat = ChatFormat(tokenizer)
    return Encoder(chat, max_new_tokens=16, max_context=512, num_ids=len(tokenizer))


def read(given: Any, made: Encoder | None = None, **options: Any) -> DataSet:
    return read_data(given, DataOptions(**options), made or encoder())


def lines(path: Path, *records: Any) -> str:
    path.write_text("".join(f"{json.dumps(r) if not isinstance(r, str) else r}\n" for r in records))
    return str(path)


TWO_TURNS: dict[str, Any] = {
    "task": {"id": "door", "env": "mine/Doors-v0", "split": "train", "payload": {"colour": "red"}},
    "moves": [
        {"observation": "a door", "action": "open", "reward": None, "choices": ["open", "go"]},
        {"observation": "a room", "action": "go", "reward": 1, "parts": {"speed": 0.5}},
    ],
    "last": "done",
    "terminated": True,
}


def test_a_game_becomes_the_tokens_of_its_turns() -> None:
    made = encoder()
    (episode,) = read([TWO_TURNS], made).episodes
    first, second = episode.turns
    chat = made.chat
    assert first.observation_ids == chat.prompt("a door")
    assert first.action_ids == chat.action("open")
    assert second.observation_ids == chat.reply("a room", closed=True)
    assert chat.answer(second.action_ids, ()) == second.action == "go"
    assert (first.reward, second.reward, episode.return_) == (None, 1.0, 1.0)
    assert second.reward_parts == {"speed": 0.5}
    assert first.choices == ("open", "go")
    assert first.candidates == (chat.action("open"), chat.action("go"))
    assert second.candidates == ()
    assert episode.end is EndReason.TERMINATED
    assert episode.final_ids == ()
    assert episode.policy_version == STORED
    assert all(math.isnan(p) for turn in episode.turns for p in turn.action_logprobs)
    assert episode.task.payload == {"colour": "red"}


def test_a_game_that_was_cut_off_keeps_what_was_shown_last() -> None:
    made = encoder()
    record = TWO_TURNS | {"terminated": False, "last_choices": ["stay"]}
    (episode,) = read([record], made).episodes
    assert episode.end is EndReason.TRUNCATED
    assert episode.final_ids == made.chat.reply("done", closed=True)
    assert episode.final_choices == ("stay",)


def test_stored_text_is_what_the_sampler_would_have_recorded() -> None:
    """A policy's own episodes, told as text, come back token for token."""
    tokens = "".join(map(chr, range(32, 127))) + "\n"
    tiny = TinyOptions(tokens=tokens, width=8, layers=1, heads=2, context=1024)
    lm = load("tiny", ModelOptions(name="tiny", tiny=tiny), seed=1)
    engine = make_engine(lm, SamplingOptions(max_new_tokens=3))
    policy = Policy(engine=engine, chat=lm.chat, max_new_tokens=3, stop=(), version=0, name="tiny")
    env = source(
        "sayso/Maze-v0", layout=["11111", "10001", "11111"], goal=[1, 3], starts="all", max_moves=4
    )
    episodes = collect(
        policy, env.open().tasks("train"), env, group_size=4, seed=0, path=("x",),
        limits=RolloutLimits(max_turns=3),
    )  # fmt: skip
    told = [
        Game(
            task=e.task,
            moves=tuple(
                Move(observation=t.observation, action=t.action, reward=t.reward,
                     parts=dict(t.reward_parts), choices=t.choices)
                for t in e.turns
            ),
            last="", terminated=e.end is EndReason.TERMINATED,
        )
        for e in episodes
    ]  # fmt: skip
    found = read(told, encoder(lm=lm, max_new_tokens=3, max_context=1024)).episodes
    assert len(found) == len(episodes)
    for one, other in zip(found, episodes, strict=True):
        assert len(one.turns) == len(other.turns) > 1
        for mine, theirs in zip(one.turns, other.turns, strict=True):
            assert mine.observation_ids == theirs.observation_ids
            assert mine.action_ids == theirs.action_ids
            assert mine.finish == theirs.finish
            assert (mine.reward, mine.action) == (theirs.reward, theirs.action)


CHAT = [
    {"role": "system", "content": "Be kind."},
    {"role": "user", "content": "Hello"},
    {"role": "assistant", "content": "Good day"},
    {"role": "user", "content": "And now"},
    {"role": "assistant", "content": "Now we rest"},
]


def test_a_chat_becomes_turns_of_the_assistant() -> None:
    made = chatty()
    (episode,) = read([{"messages": CHAT, "reward": 0.5}], made).episodes
    first, second = episode.turns
    begin = (Message("system", "Be kind."), Message("user", "Hello"))
    assert first.observation_ids == made.chat.prompt(begin)
    assert second.observation_ids == made.chat.reply("And now", closed=True)
    assert made.chat.answer(first.action_ids, ()) == "Good day"
    assert [turn.reward for turn in episode.turns] == [None, 0.5]
    assert episode.end is EndReason.TERMINATED


def test_rewards_of_messages_and_a_chat_that_goes_on() -> None:
    graded = [{**m, "reward": 0.25} if m["role"] == "assistant" else m for m in CHAT]
    record = {
        "messages": [*graded, {"role": "user", "content": "Hm"}], "terminated": False, "task": "t"
    }  # fmt: skip
    made = chatty()
    (episode,) = read([record], made).episodes
    assert [turn.reward for turn in episode.turns] == [0.25, 0.25]
    assert episode.end is EndReason.TRUNCATED
    assert episode.final_ids == made.chat.reply("Hm", closed=True)
    assert episode.task.id == "t"


def test_prompts_with_completions_from_csv_jsonl_and_python_are_the_same(tmp_path: Path) -> None:
    rows = [
        {"prompt": "say a", "completion": "a, b", "reward": 1.5},
        {"prompt": "say b", "completion": "b", "reward": -1.0},
    ]
    with (tmp_path / "rows.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    from_csv = read(tmp_path / "rows.csv").episodes
    from_jsonl = read(lines(tmp_path / "rows.jsonl", *rows)).episodes
    from_python = read(rows).episodes
    assert repr(from_csv) == repr(from_jsonl) == repr(from_python)
    assert [e.return_ for e in from_csv] == [1.5, -1.0]
    messages = [{"prompt": [{"role": "user", "content": "say a"}],
                 "completion": [{"role": "assistant", "content": "a, b"}]}]  # fmt: skip
    assert read(messages).episodes[0].turns[0].action_ids == from_csv[0].turns[0].action_ids
    ungraded = read([{"prompt": "say a", "completion": "a", "reward": None}]).episodes
    assert ungraded[0].return_ is None


class Rows:
    """What a Hugging Face Dataset is to us: rows that are mappings."""

    def __init__(self, rows: list[Mapping[str, Any]]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Mapping[str, Any]:
        return self.rows[index]


def test_any_sequence_of_mappings_will_do() -> None:
    rows = Rows([{"prompt": "say a", "completion": "a"}] * 3)
    assert len(read(rows).episodes) == 3


def test_a_runs_ledger_comes_back_with_its_tokens(tmp_path: Path) -> None:
    made = encoder()
    original = [e for e in read([TWO_TURNS] * 2, made).episodes if isinstance(e, Episode)]
    known = [
        replace(e, policy_version=7, turns=tuple(
            replace(t, action_logprobs=(-0.5,) * len(t.action_ids)) for t in e.turns
        ))
        for e in original
    ]  # fmt: skip
    (tmp_path / "episodes").mkdir()
    log = EpisodeLog(tmp_path / "episodes" / "episodes.jsonl")
    log.append(3, known)
    log.close()
    with (tmp_path / "episodes" / "episodes.jsonl").open("a") as file:
        file.write('{"step": 4, "episo')  # the run was killed
    data = read(tmp_path)
    assert [e.turns for e in data.episodes] == [e.turns for e in known]
    assert {e.policy_version for e in data.episodes} == {STORED}
    assert "line 3 was never finished and is left out" in data.notes[0]
    assert write_episodes(tmp_path / "again.jsonl", known) == 2
    assert [e.turns for e in read(tmp_path / "again.jsonl").episodes] == [e.turns for e in known]


def test_tokens_of_another_vocabulary_are_refused(tmp_path: Path) -> None:
    (episode,) = read([TWO_TURNS]).episodes
    other = TinyOptions(tokens="ab", width=8, layers=1, heads=2, context=64)
    small = encoder(lm=load("tiny", ModelOptions(name="tiny", tiny=other), seed=0))
    with pytest.raises(DataError, match="this model's vocabulary has 3"):
        read([episode], small)
    shuffled = TinyOptions(tokens=list("zyxwvutsrqponmlkjihgfedcba .:,\n"), width=8, layers=1,
                           heads=2, context=64)  # fmt: skip
    wrong = encoder(lm=load("tiny", ModelOptions(name="tiny", tiny=shuffled), seed=0))
    with pytest.raises(DataError, match="another tokeniser"):
        read([episode], wrong)


def test_failed_episodes_are_left_out_and_said() -> None:
    (episode,) = read([TWO_TURNS]).episodes
    failed = replace(episode, end=EndReason.FAILED, failure=Failure(kind="x", message="y"))
    data = read([episode, failed])
    assert len(data.episodes) == 1
    assert data.notes == ("1 stored episodes failed and were left out.",)


def test_games_survive_writing_and_reading(tmp_path: Path) -> None:
    env = source("sayso/TinyLang-v0").open()
    player = scripted(env, "reference")
    played = play_many(env, player.act, split="train", num_games=20, seed=1)
    path = tmp_path / "new" / "games.jsonl"
    assert write_games(path, iter(played)) == 20
    back = [game_of(json.loads(line), "games") for line in path.read_text().splitlines()]
    assert back == list(played)
    chat = Game(
        task=Task(id="c", env="e", split="train"),
        moves=(Move(observation=(Message("system", "s"), Message("user", "u")), action="a",
                    reward=None, parts={"p": None}, choices=("a", "b")),),
        last="x\ny", terminated=False, last_choices=("z",),
    )  # fmt: skip
    assert game_of(json.loads(json.dumps(game_to_json(chat))), "games") == chat


def test_a_game_that_cannot_be_written_leaves_no_file_behind(tmp_path: Path) -> None:
    env = source("sayso/TinyLang-v0").open()
    act = scripted(env, "reference").act

    def broken() -> Any:
        yield from games(env, act, split="train", num_games=3, seed=0)
        (last,) = games(env, act, split="train", num_games=1, seed=0)
        yield replace(last, task=replace(last.task, payload={"set": {1}}))

    with pytest.raises(DataError, match="record 4: task word"):
        write_games(tmp_path / "games.jsonl", broken())
    assert list(tmp_path.iterdir()) == []


WRONG = {
    "not JSON": ("{", "line 2: is not JSON"),
    "empty line": ("", "line 2: is empty"),
    "no record": ("[1]", "line 2: is no record"),
    "NaN": ('{"prompt": "a", "completion": "b", "reward": NaN}', "line 2: is not JSON (NaN"),
    "infinite": ({"prompt": "a", "completion": "b", "reward": "inf"}, "which is not finite"),
    "not a number": ({"prompt": "a", "completion": "b", "reward": "good"}, "'good', not a number"),
    "truth": ({"prompt": "a", "completion": "b", "reward": True}, "True, not a number"),
    "no completion": ({"prompt": "a"}, "has a prompt and no completion"),
    "empty completion": ({"prompt": "a", "completion": ""}, "completion is empty"),
    "other kind": ({"messages": CHAT}, "is no record of prompts, as the others"),
    "unknown": ({"text": "a"}, "is no record of prompts"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_line_is_named_with_its_file_and_number(case: str, tmp_path: Path) -> None:
    wrong, says = WRONG[case]
    good = {"prompt": "a", "completion": "b", "reward": 1}
    with pytest.raises(DataError) as caught:
        read(lines(tmp_path / "x.jsonl", good, wrong, good))
    assert says in str(caught.value)
    assert f"{tmp_path / 'x.jsonl'}, line 2" in str(caught.value)


WRONG_RECORDS: dict[str, tuple[dict[str, Any], str]] = {
    "no kind": ({"text": "a"}, "has the fields text; a record has one of episode, moves"),
    "no moves": (TWO_TURNS | {"moves": []}, "moves is empty"),
    "half a move": (TWO_TURNS | {"moves": [{"action": "a"}]}, "move 1 has no observation"),
    "a flag": (TWO_TURNS | {"terminated": "yes"}, "'yes', not true or false"),
    "a task": (TWO_TURNS | {"task": {"name": "x"}}, "it is an id, or a table with one"),
    "a part": (
        TWO_TURNS | {"moves": [{"observation": "", "action": "a", "parts": {"p": "x"}}]},
        "move 1, p is 'x', not a number",
    ),
    "nobody answers": ({"messages": CHAT[:2]}, "messages holds none of the assistant"),
    "a role": ({"messages": [{"role": "bot", "content": ""}]}, "message 1 has no role of"),
    "an answer to nothing": ({"messages": CHAT[2:]}, "the assistant's and answers nothing"),
    "an empty answer": (
        {"messages": [CHAT[1], {"role": "assistant", "content": ""}]}, "message 2, content is empty"
    ),
    "two rewards": (
        {"messages": [CHAT[1], {**CHAT[2], "reward": 1.0}], "reward": 1.0}, "which counts?"
    ),
    "no text": ({"prompt": 3, "completion": "a"}, "neither text nor a list of messages"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG_RECORDS)
def test_a_wrong_record_is_named(case: str) -> None:
    record, says = WRONG_RECORDS[case]
    with pytest.raises(DataError) as caught:
        read([record], chatty())
    assert says in str(caught.value)
    assert "data, item 0" in str(caught.value)


def test_all_problems_are_counted_and_the_first_are_told(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        read(lines(tmp_path / "x.jsonl", *["{"] * 25))
    said = str(caught.value)
    assert "25 records are wrong" in said
    assert "line 10:" in said
    assert "line 11:" not in said
    assert "... and 15 more" in said


def test_a_csv_with_a_column_too_few_names_the_line(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("prompt,completion,reward\na,b,1\nc,d\n")
    with pytest.raises(DataError, match=r"x\.csv, line 3: does not have the 3 columns"):
        read(tmp_path / "x.csv")


@pytest.mark.parametrize("name", ["rows.parquet", "rows.json", "rows.jsonl.gz"])
def test_formats_that_are_not_read_are_told_what_to_do(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("x")
    with pytest.raises(DataError, match="sayso does not read"):
        read(tmp_path / name)


def test_files_that_are_not_there_and_files_that_are_empty(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is no file"):
        read(tmp_path / "none.jsonl")
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(DataError, match=r"empty\.jsonl: is empty"):
        read(tmp_path / "empty.jsonl")
    with pytest.raises(DataError, match="holds no episode to learn from"):
        read([])
    with pytest.raises(DataError, match="no sequence of records"):
        read(3)
    with pytest.raises(DataError, match="no mapping, Episode or Game"):
        read(["text"])


def test_a_directory_and_a_pattern_are_all_their_files_in_order(tmp_path: Path) -> None:
    for name in "ba":
        lines(tmp_path / f"{name}.jsonl", {"prompt": name, "completion": name})
    (tmp_path / "notes.txt").write_text("x")
    whole = read(tmp_path)
    assert [e.turns[0].action for e in whole.episodes] == ["a", "b"]
    assert whole.notes == ("1 files of other endings were passed over.",)
    pattern = read(str(tmp_path / "*.jsonl"))
    assert [e.turns[0].action for e in pattern.episodes] == ["a", "b"]
    assert pattern.digest == whole.digest


def test_the_limit_is_kept_and_the_digest_knows_the_content(tmp_path: Path) -> None:
    rows = [{"prompt": "a", "completion": c} for c in "abc"]
    path = lines(tmp_path / "x.jsonl", *rows)
    assert len(read(path, limit=2).episodes) == 2
    assert read(path).digest == read(path).digest != read(path, limit=2).digest
    assert read(rows).digest != read(rows[::-1]).digest


def test_fields_that_are_not_used_are_named() -> None:
    data = read([{"prompt": "a", "completion": "b", "rewards": 1.0}])
    assert data.notes == ("Fields of the data set that are not used: rewards.",)


def test_what_does_not_fit_is_cut_off_at_the_last_whole_turn_and_said() -> None:
    turns = [{"observation": "abc", "action": "de", "reward": 1.0} for _ in range(9)]
    record = TWO_TURNS | {"moves": turns}
    made = encoder(max_context=25)
    long = {"prompt": "a" * 30, "completion": "b"}
    data = read([record, TWO_TURNS], made)
    first, second = data.episodes
    # 5 tokens of the prompt (begin, abc, line break), 3 of an action, then 5 and 3 each.
    assert len(first.turns) == 3
    assert len(first.ids()) <= 25
    assert first.end is EndReason.TRUNCATED
    assert second.end is EndReason.TERMINATED
    assert "1 stored episodes do not fit a context of 25" in data.notes[0]
    alone = read([long, {"prompt": "a", "completion": "b"}], encoder(max_context=25))
    assert len(alone.episodes) == 1
    assert "1 stored episodes were left out" in alone.notes[0]


def test_a_long_action_is_cut_as_a_sampled_one_is_and_said() -> None:
    data = read([{"prompt": "a", "completion": "abcdef"}], encoder(max_new_tokens=4))
    (turn,) = data.episodes[0].turns
    assert len(turn.action_ids) == 4
    assert turn.finish is FinishReason.LENGTH
    assert "1 stored actions are longer than sampling.max_new_tokens = 4" in data.notes[0]
    whole = read([{"prompt": "a", "completion": "abcd"}], encoder(max_new_tokens=4))
    assert whole.notes == ()  # only the stop token has no room, as when sampled
    assert whole.episodes[0].turns[0].finish is FinishReason.LENGTH


def test_one_task_id_with_several_prompts_can_be_packed() -> None:
    rows = [{"prompt": p, "completion": "x", "task": "same"} for p in ("a", "b", "a", "b")]
    data = read(rows)
    ids = [e.task.id for e in data.episodes]
    assert ids[0] == ids[2] == "same"
    assert ids[1] == ids[3] != "same"
    assert len(pack(data.episodes, max_tokens=1000).rows) == 1
    anonymous = read([{k: v for k, v in row.items() if k != "task"} for row in rows])
    assert len({e.task.id for e in anonymous.episodes}) == 2


def test_equal_parts_are_one_object() -> None:
    one, other = read([TWO_TURNS, TWO_TURNS]).episodes
    for mine, theirs in zip(one.turns, other.turns, strict=True):
        assert mine.observation_ids is theirs.observation_ids
        assert mine.action_ids is theirs.action_ids
        assert mine.action_logprobs is theirs.action_logprobs
    assert one.task is other.task


def test_recorded_rewards_must_be_finite() -> None:
    turn = Turn(observation_ids=(1,), action_ids=(1,), action_logprobs=(0.0,), reward=math.inf)
    episode = Episode(
        task=Task(id="t", env="e", split="train"), sample_index=0, policy_version=0, turns=(turn,),
        end=EndReason.TERMINATED,
    )  # fmt: skip
    with pytest.raises(DataError, match="reward is inf, which is not finite"):
        read([episode])
