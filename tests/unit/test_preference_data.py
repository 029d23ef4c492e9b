"""Preferences as data: what is read, what is refused, how it is split, what becomes of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from learner_cases import tiny_lm

from sayso.app.config import load_config
from sayso.app.stored import build_data
from sayso.data.preferences import are_pairs, divided, preference_of, to_record
from sayso.data.records import RecordError
from sayso.envs.spaces import Message
from sayso.errors import ConfigError, DataError
from sayso.training.order import EpisodeOrder

ROW = {"prompt": "ab", "chosen": "a", "rejected": "b"}
CHAT = [{"role": "user", "content": "ab"}]


def answer(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


@pytest.mark.parametrize(
    "record",
    [
        ROW,
        {**ROW, "prompt": CHAT, "chosen": answer("a"), "rejected": answer("b")},
        {"chosen": [*CHAT, *answer("a")], "rejected": [*CHAT, *answer("b")]},
    ],
)
def test_the_three_forms_of_hugging_face_are_one_preference(record: dict[str, Any]) -> None:
    read = preference_of(record)
    assert (read.prompt, read.chosen, read.rejected) == ("ab", "a", "b")
    assert preference_of(to_record(read)) == read


def test_a_longer_chat_is_a_prompt_of_messages_and_scores_are_a_gap() -> None:
    system = {"role": "system", "content": "Be brief."}
    read = preference_of(
        {"prompt": [system, *CHAT], "chosen": "a", "rejected": "b", "score_chosen": 0.75,
         "score_rejected": 0.25, "margin": 1, "task": {"id": "t"}}
    )  # fmt: skip
    assert read.prompt == (Message("system", "Be brief."), Message("user", "ab"))
    assert (read.gap, read.margin, read.task) == (0.5, 1.0, "t")


@pytest.mark.parametrize(
    ("record", "told"),
    [
        ({**ROW, "rejected": " a "}, "the same text"),
        ({**ROW, "chosen": ""}, "chosen is empty"),
        ({**ROW, "rejected": " "}, "rejected is empty"),
        ({"prompt": "ab", "chosen": "a"}, "no rejected"),
        ({"chosen": "a", "rejected": "b"}, "no prompt"),
        ({"chosen": [*CHAT, *answer("a")], "rejected": [*answer("x"), *CHAT, *answer("b")]},
         "different prompts"),
        ({**ROW, "chosen": [{"role": "user", "content": "b"}, *answer("a")]}, "another prompt"),
        ({**ROW, "chosen": CHAT}, "does not end with an answer"),
        ({**ROW, "margin": "wide"}, "margin"),
        ({**ROW, "split": "test"}, "split is 'test'"),
    ],
)  # fmt: skip
def test_what_is_no_preference_is_refused(record: dict[str, Any], told: str) -> None:
    with pytest.raises(RecordError, match=told):
        preference_of(record)


def test_a_prompt_is_in_one_split_by_its_content_and_held_out_wins() -> None:
    every = [preference_of({**ROW, "prompt": f"p{i % 40}", "margin": i}) for i in range(80)]
    found = divided(every)
    assert {p.prompt for p in found.train}.isdisjoint({p.prompt for p in found.held_out})
    assert len(found.train) + len(found.held_out) == 80
    assert 2 <= len(found.held_out) <= 30
    kept = [preference_of({**ROW, "prompt": "p0"})]
    own = divided(every, kept)
    assert own.held_out == kept
    assert len(own.train) == 78
    assert own.digest != found.digest


def config(algorithm: str, **data: Any) -> Any:
    return load_config(
        {"env": {"id": "none"}, "model": {"name": "tiny"}, "sampling": {"max_new_tokens": 3},
         "algorithm": {"type": algorithm}, "data": {"path": "(in Python)", **data}},
        source="test",
    )  # fmt: skip


def test_dpo_reads_pairs_and_others_the_chosen_answers_alone() -> None:
    lm = tiny_lm()
    rows = [ROW, {**ROW, "chosen": "b", "rejected": "aa"}]
    pairs = build_data(config("dpo"), lm, rows)
    assert pairs is not None
    assert are_pairs(pairs.episodes)
    assert [e.turns[0].action for e in pairs.episodes] == ["a", "b", "b", "aa"]
    alone = build_data(config("bc"), lm, rows)
    assert alone is not None
    assert [e.turns[0].action for e in alone.episodes] == ["a", "b"]
    assert any("chosen answer alone" in note for note in alone.notes)
    with pytest.raises(DataError, match="no preferences"):
        build_data(config("dpo"), lm, [{"prompt": "ab", "completion": "a"}])
    with pytest.raises(DataError, match="no episode has a reward"):
        build_data(config("awr"), lm, rows)


def test_a_pair_of_which_one_side_does_not_fit_is_left_out_whole(tmp_path: Path) -> None:
    lm = tiny_lm(context=8)
    path = tmp_path / "p.jsonl"
    long = {**ROW, "prompt": "ababa", "chosen": "a", "rejected": "bbb"}
    path.write_text("".join(f"{json.dumps(row)}\n" for row in (long, ROW)))
    made = build_data(config("dpo", path=str(path)), lm)
    assert made is not None
    assert len(made.episodes) == 2
    assert any("left out" in note for note in made.notes)


def test_a_batch_holds_both_of_a_pair_or_none() -> None:
    order: Any = EpisodeOrder(list("AaBbCcDdEe"), 4, seed=0, together=2)  # type: ignore[arg-type]
    met = [order.batch(i) for i in range(5)]
    for batch in met:
        assert all(one.lower() == other for one, other in zip(batch[::2], batch[1::2], strict=True))
    assert sorted(x for batch in met for x in batch) == sorted("AaBbCcDdEe" * 2)
    with pytest.raises(ValueError, match="tear apart"):
        EpisodeOrder(list("AaBb"), 3, seed=0, together=2)  # type: ignore[arg-type]


def test_an_odd_batch_is_refused_before_anything_starts() -> None:
    from sayso.app.refusals import refuse_unused

    with pytest.raises(ConfigError, match="an even number"):
        refuse_unused(config("dpo", batch_episodes=7))
