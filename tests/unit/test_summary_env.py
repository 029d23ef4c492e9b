"""Summary-v0: contract, tasks, players, other documents."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
from gymnasium.utils.env_checker import check_env

from sayso.envs import summary_data
from sayso.envs.scripted import bounds, play
from sayso.envs.summary import SummaryEnv
from sayso.envs.summary_score import BASE, score
from sayso.envs.summary_tasks import NUM_TASKS, SHORTEST_RATIO, domains, pools, report, tasks
from sayso.envs.tasks import bucket
from sayso.errors import DataError, EnvContractError, ExtraMissingError
from sayso.rewards.text import sentences, words
from sayso.rollout.check import check_text_env
from sayso.seeds import generator


def test_an_answer_ends_the_episode_and_shows_its_parts() -> None:
    env = SummaryEnv()
    prompt, _ = env.reset(options={"task": "train-0003", "split": "train"})
    payload = env.tasks("train")[3].payload
    assert prompt == payload["prompt"]
    assert f"at most {payload['budget']} words" in prompt
    _, reward, terminated, truncated, info = env.step(payload["summary"])
    assert (reward, terminated, truncated) == (1.0, True, False)
    assert {"coverage", "faithfulness", "length", "fluency", "rouge_l"} <= set(info["reward_parts"])
    with pytest.raises(EnvContractError, match="no task is posed"):
        env.step("Too late.")


def test_the_reward_is_the_product_of_its_parts() -> None:
    payload = tasks("train")[0].payload
    text = sentences(payload["document"])[0]
    value, parts = score(text, payload)
    gate = parts["fluency"] * parts["faithfulness"] * parts["length"]  # type: ignore[operator]
    assert value == pytest.approx(gate * (BASE + (1 - BASE) * parts["coverage"]))  # type: ignore[operator]


def test_unseen_reports_are_of_kinds_that_are_never_trained_on() -> None:
    trained, unseen = set(domains("train")), set(domains("unseen"))
    assert set(domains("held_out")) == trained
    assert not trained & unseen
    assert unseen == {"rescue", "election", "harvest"}
    for split, kinds in (("train", trained), ("held_out", trained), ("unseen", unseen)):
        assert {tasks(split)[i].payload["domain"] for i in range(12)} == kinds


@pytest.mark.medium
def test_thousands_of_tasks_no_content_twice_and_none_in_two_splits() -> None:
    hashes = {s: {task.content_hash for task in tasks(s)} for s in NUM_TASKS}
    documents = {s: {task.payload["document"] for task in tasks(s)} for s in NUM_TASKS}
    assert {s: len(found) for s, found in hashes.items()} == NUM_TASKS
    assert not documents["train"] & documents["held_out"]
    assert not (documents["train"] | documents["held_out"]) & documents["unseen"]
    for split in NUM_TASKS:
        for task in tasks(split):
            payload = task.payload
            if split != "unseen":
                assert (bucket(payload["document"]) == 0) is (split == "held_out")
            assert len(words(payload["document"])) >= SHORTEST_RATIO * payload["budget"]
            assert len(words(payload["summary"])) <= payload["budget"]


def test_ids_find_their_tasks_and_no_others() -> None:
    listed = tasks("unseen")
    assert listed.index_of("unseen-0999") == 999
    assert listed[7].id == "unseen-0007"
    assert [listed.index_of(x) for x in ("unseen-1000", "unseen-7", "train-0001")] == [None] * 3
    assert len(tasks("nowhere")) == 0


@pytest.mark.parametrize("domain", sorted(pools()["domains"]))
def test_each_report_states_all_its_facts_and_so_does_each_summary(domain: str) -> None:
    """In every wording: the document is faithful to itself, the reference earns all but style."""
    for index in range(4):
        found = report(generator(index, "test", domain), domain)
        found["prompt"] = "Summarise.\n\n" + found["document"]
        _, parts = score(found["document"], found)
        assert parts["coverage"] == 1.0, found["document"]
        assert parts["faithfulness"] >= 0.99, (found["document"], parts)
        value, parts = score(found["summary"], found)
        assert value >= 0.9, (found["summary"], parts)


@pytest.mark.medium
def test_the_players_stand_in_order() -> None:
    found = bounds(SummaryEnv(), split="held_out", num_games=60)
    means = [found[name].mean for name in ("random", "lead", "oracle_extract", "oracle_writer")]
    assert means == sorted(means)
    assert means[0] < 0.4
    assert means[2] - means[1] > 0.2
    assert means[3] > 0.95


@pytest.mark.slow
def test_both_checkers_accept_it_on_200_seeds_and_find_no_exploit() -> None:
    check_env(SummaryEnv(), skip_render_check=True)
    assert not check_text_env("sayso/Summary-v0", num_seeds=200, exploits=False).problems
    report = check_text_env("sayso/Summary-v0", num_seeds=10)
    assert max(report.exploits.values()) <= 0.05


def write(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


DOCUMENT = " ".join(
    [f"The {noun} of the old mill was painted by the children." for noun in ("door", "roof")]
    + ["On Friday the mill was sold to Anna Parker for 900 pounds after a long talk in the garden."]
    + [f"A {noun} stood beside the river for many quiet years." for noun in ("boat", "horse")]
)


def test_own_documents_with_facts_are_judged_by_them(tmp_path: Path) -> None:
    facts = ["Friday", ["900", "pounds"], [["Anna Parker", "Parker"], ["sold", "bought"]]]
    env = SummaryEnv(data=write(tmp_path / "x.jsonl", {"document": DOCUMENT, "facts": facts}))
    (task,) = (*env.tasks("train"), *env.tasks("held_out"))
    assert "summary" not in task.payload
    text = "On Friday the mill was sold to Parker for 900 pounds."
    value, parts = score(text, task.payload)
    assert (parts["coverage"], parts["rouge_l"]) == (1.0, None)
    assert value >= 0.9
    assert score("The mill was sold to Parker.", task.payload)[1]["coverage"] == pytest.approx(
        1 / 3
    )


def test_own_documents_with_a_reference_are_judged_by_rouge(tmp_path: Path) -> None:
    reference = "The old mill was sold to Anna Parker on Friday."
    path = write(
        tmp_path / "x.jsonl", {"document": DOCUMENT, "summary": reference, "split": "unseen"}
    )
    env = SummaryEnv(data=path)
    (task,) = env.tasks("unseen")
    assert (len(env.tasks("train")), len(env.tasks("held_out"))) == (0, 0)
    assert score(reference, task.payload)[0] >= 0.9
    other, parts = score("A boat stood beside the river.", task.payload)
    assert parts["coverage"] is None
    assert other < 0.3
    env.reset(options={"split": "unseen"})
    assert play(env, task, env.scripted["oracle_writer"].act, seed=0).moves[0].action == reference


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"facts": ["x"]}, "`document` is no text"),
        ({"document": DOCUMENT}, "neither `summary` nor `facts`"),
        ({"document": DOCUMENT, "facts": [[]]}, "`facts` is no list"),
        ({"document": DOCUMENT, "facts": [3]}, "`facts` is no list"),
        ({"document": DOCUMENT, "summary": 3}, "`summary` is no text"),
        ({"document": DOCUMENT, "facts": ["x"], "budget": 40}, "copying would pay"),
        ({"document": DOCUMENT, "facts": ["x"], "budget": True}, "no number of words"),
        ({"document": "Too short.", "facts": ["x"]}, "copying would pay"),
    ],
)
def test_wrong_rows_are_refused(row: dict[str, Any], told: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"DAT-001.*line 1"):
        SummaryEnv(data=write(tmp_path / "x.jsonl", row))
    with pytest.raises(DataError) as raised:
        SummaryEnv(data=write(tmp_path / "x.jsonl", row))
    assert told in str(raised.value)


def test_a_missing_package_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    summary_data.aclsum_tasks.cache_clear()
    with pytest.raises(ExtraMissingError, match=r"sayso\[summaries\]"):
        SummaryEnv(data="aclsum")


def papers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SummaryEnv:
    """As the package lays its files out, with one paper each."""
    folder = tmp_path / "aclsum" / "dataset"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").write_text("raise ImportError('must not be imported')\n")
    for name in ("train", "val", "test"):
        sentence = f"We show , in the {name} set , that long sentences ( of words ) can be read ."
        summary = dict.fromkeys(
            summary_data.ASPECTS, f"Long sentences of the {name} set can be read."
        )
        row = {"id": name, "sentences": {"abstract": [sentence] * 4}, "summary": summary}
        write(folder / f"{name}.jsonl", row)
    monkeypatch.syspath_prepend(tmp_path)
    summary_data.aclsum_tasks.cache_clear()
    env = SummaryEnv(data="aclsum")
    summary_data.aclsum_tasks.cache_clear()
    return env


def test_papers_are_split_by_document_and_by_aspect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    env = papers(tmp_path, monkeypatch)
    assert [t.id for t in env.tasks("train")] == ["train-challenge", "train-approach"]
    assert [t.id for t in env.tasks("held_out")] == ["val-challenge", "val-approach"]
    assert [t.id for t in env.tasks("unseen")] == ["test-outcome"]
    prompt, _ = env.reset(options={"task": "test-outcome", "split": "unseen"})
    assert "in the test set, that long sentences (of words) can be read." in prompt
    assert prompt.startswith("Summarise the outcome of this text in one or two sentences, at most")


def test_the_installed_package_reads() -> None:
    if importlib.util.find_spec("aclsum") is None:
        pytest.skip("aclsum is not installed")
    summary_data.aclsum_tasks.cache_clear()
    env = SummaryEnv(data="aclsum")
    assert all(len(env.tasks(split)) >= 50 for split in NUM_TASKS)
