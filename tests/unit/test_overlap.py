"""ROUGE-L: by hand, and against the package where it is installed."""

from __future__ import annotations

import pytest

from sayso.envs.summary_tasks import tasks
from sayso.rewards.overlap import longest_common_subsequence, rouge_l


@pytest.mark.parametrize(
    ("one", "two", "length"),
    [("abcd", "abcd", 4), ("abcd", "acbd", 3), ("abc", "cba", 1), ("abc", "xyz", 0), ("", "a", 0),
     ("axbxc", "abc", 3)],
)  # fmt: skip
def test_the_longest_common_subsequence_by_hand(one: str, two: str, length: int) -> None:
    assert longest_common_subsequence(one, two) == length
    assert longest_common_subsequence(two, one) == length


def test_f1_is_twice_the_common_words_over_all_words() -> None:
    assert rouge_l("the cat sat", "the cat sat on the mat") == pytest.approx(2 * 3 / 9)
    assert rouge_l("The CAT, sat!", "the cat sat") == 1.0
    assert rouge_l("", "the cat") == rouge_l("the cat", "") == rouge_l("?", "!") == 0.0


def test_the_package_gives_the_same_numbers() -> None:
    rouge_scorer = pytest.importorskip("rouge_score.rouge_scorer", reason="extra metrics")
    scorer = rouge_scorer.RougeScorer(["rougeL"], use_stemmer=False)
    for index in range(30):
        payload = tasks("train")[index].payload
        for text in (payload["document"], payload["summary"][::2], "3-1 won't it's 4,200 café"):
            theirs = scorer.score(payload["summary"], text)["rougeL"].fmeasure
            assert rouge_l(text, payload["summary"]) == pytest.approx(theirs)
