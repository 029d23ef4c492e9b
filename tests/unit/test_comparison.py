"""From results of runs to rows and verdicts: what is paired, left out, told."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from compare_cases import ENV, SPLITS, plan, result

from sayso.cli.compare import Comparison
from sayso.evaluation.comparison import ALL, summarise
from sayso.evaluation.tracks import area

COMMAND = "sayso compare writing:grpo writing:ppo"


def rows_of(report, **where):
    return [r for r in report["rows"] if all(r[key] == value for key, value in where.items())]


def test_rows_have_the_form_of_published_results_and_are_plain_json() -> None:
    results = [result(arm, seed) for arm in ("grpo", "ppo") for seed in range(6)]
    report = summarise(plan(), results, command=COMMAND)
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    for row in report["rows"]:
        assert set(row) == {
            "env", "split", "algorithm", "metric", "seeds", "mean", "low", "high", "command",
        }  # fmt: skip
        assert (row["seeds"], row["command"]) == (6, COMMAND)
        assert row["low"] <= row["mean"] <= row["high"]
    assert {(r["split"], r["metric"]) for r in report["rows"]} >= {
        *((split, "return, sampled") for split in SPLITS),
        ("unseen", "gap from train, sampled"), ("held_out", "KL to the start, nats a token"),
    }  # fmt: skip


def test_a_run_is_one_observation_and_a_task_counts_once() -> None:
    """Two attempts at one task and one at another: their means weigh the same."""
    results = [result("grpo", s) for s in range(6)] + [result("ppo", s) for s in range(6)]
    for r in results:
        for found in r["evals"]:
            found["returns"] = [["a", 0, 0.0], ["a", 1, 1.0], ["b", 0, 0.1 * r["seed"]]]
    report = summarise(plan(), results, command="")
    (row,) = rows_of(report, split="train", algorithm="grpo", metric="return, sampled")
    assert row["mean"] == pytest.approx(np.mean([(0.5 + 0.1 * s) / 2 for s in range(6)]))
    assert row["seeds"] == 6


def test_what_seeds_share_cancels_and_a_gain_is_found() -> None:
    results = [result("grpo", s, gain=0.1) for s in range(10)] + [
        result("ppo", s) for s in range(10)
    ]
    report = summarise(plan(), results, command="")
    assert {v["verdict"] for v in report["verdicts"]} == {"better"}
    assert {(v["split"], v["first"], v["second"]) for v in report["verdicts"]} == {
        (split, "grpo", "ppo") for split in SPLITS
    }
    alone = summarise(plan(), [r for r in results if r["seed"] < 5], command="")
    assert {v["verdict"] for v in alone["verdicts"]} == {"not enough seeds to tell"}


def test_seeds_that_an_arm_lacks_are_left_out_of_all_and_told() -> None:
    results = [result("grpo", s) for s in range(8)] + [result("ppo", s) for s in range(6)]
    report = summarise(plan(), results, command="", notes=["Failed: ppo"])
    assert report["seeds"] == {ENV: [0, 1, 2, 3, 4, 5]}
    assert {r["seeds"] for r in report["rows"]} == {6}
    assert report["notes"][0] == "Failed: ppo"
    assert "seeds [6, 7] are left out" in report["notes"][1]


def test_an_episode_that_failed_in_an_arm_is_in_no_arms_mean() -> None:
    returns = {split: [0.0, 0.5, 1.0] for split in SPLITS}
    results = [result(arm, s, returns=returns) for arm in ("grpo", "ppo") for s in range(6)]
    results[0]["evals"][0]["returns"].pop(2)  # grpo, seed 0, train
    report = summarise(plan(), results, command="")
    for arm in ("grpo", "ppo"):
        (row,) = rows_of(report, split="train", algorithm=arm, metric="return, sampled")
        assert row["mean"] == pytest.approx((0.25 + 5 * 0.5) / 6)
    assert any("train, sampled: 1 episodes failed" in note for note in report["notes"])


def test_where_nothing_is_shared_nothing_is_said() -> None:
    results = [result(arm, s) for arm in ("grpo", "ppo") for s in range(6)]
    results[3]["evals"][2]["returns"] = []
    report = summarise(plan(), results, command="")
    assert not rows_of(report, split="unseen")
    assert any("of seed 3 no episode was graded in all arms" in note for note in report["notes"])


def test_the_gap_is_that_of_each_run() -> None:
    results, noise = [], [0.01, -0.01, 0.02, -0.02, 0.0, 0.0]
    for s in range(6):
        returns = {"train": [0.9 - 0.1 * s], "held_out": [0.8 - 0.1 * s + noise[s]],
                   "unseen": [0.3]}  # fmt: skip
        results += [result(arm, s, returns=returns) for arm in ("grpo", "ppo")]
    report = summarise(plan(), results, command="")
    (gap,) = rows_of(report, split="held_out", algorithm="ppo", metric="gap from train, sampled")
    assert (gap["mean"], gap["high"] - gap["low"]) == pytest.approx((0.1, 2 * 0.0148), abs=1e-3)
    (wide,) = rows_of(report, split="unseen", algorithm="ppo", metric="gap from train, sampled")
    assert wide["high"] - wide["low"] > 0.2


def test_curves_are_read_between_their_points_and_told_against_every_axis() -> None:
    results = [result(arm, s) for arm in ("grpo", "ppo") for s in range(3)]
    for r in results:
        r["curve"] = [r["curve"][0], r["curve"][-1]]  # a coarse run: 0 and 200 000 tokens
        r["curve"][0]["mean"], r["curve"][1]["mean"] = 0.0, 1.0
    report = summarise(plan(), results, command="")
    first = report["curves"][0]
    assert [p["mean"] for p in first["points"]] == pytest.approx([0.0, 0.2, 0.4, 0.6, 0.8, 1.0])
    assert first["x"]["env_tokens"] == pytest.approx([0, 4e4, 8e4, 1.2e5, 1.6e5, 2e5])
    assert first["x"]["learner_tokens"] == pytest.approx([4 * x for x in first["x"]["env_tokens"]])
    assert first["split"] == "held_out"


def test_a_point_without_a_graded_episode_is_passed_over() -> None:
    results = [result(arm, s) for arm in ("grpo", "ppo") for s in range(3)]
    results[0]["curve"][2]["mean"] = None
    report = summarise(plan(), results, command="")
    assert all(p["mean"] is not None for p in report["curves"][0]["points"])


def test_several_environments_are_put_together_in_their_own_ranges() -> None:
    envs = (ENV, "sayso/Maze-v0")
    chosen = plan(envs=envs, ranges={ENV: [0.0, 1.0], "sayso/Maze-v0": [-100.0, 0.0]})
    results = []
    for s in range(6):
        for arm in ("grpo", "ppo"):
            results.append(result(arm, s, returns={x: [0.5] for x in SPLITS}))
            maze = {x: [-20.0] for x in SPLITS}
            results.append(result(arm, s, env="sayso/Maze-v0", returns=maze))
    report = summarise(chosen, results, command="")
    (row,) = rows_of(report, env=ALL, split="train", algorithm="ppo", metric="return, sampled")
    assert row["mean"] == pytest.approx((0.5 + 0.8) / 2)
    assert any(v["env"] == ALL for v in report["verdicts"])
    unknown = plan(envs=envs, ranges={ENV: [0.0, 1.0], "sayso/Maze-v0": [None, 0.0]})
    assert not rows_of(summarise(unknown, results, command=""), env=ALL)


def test_adaptation_is_an_area_and_forgetting_a_change() -> None:
    adapt = [0, 64, 256, 1000]
    chosen = plan(adapt=adapt)
    results = [result(arm, s, adapt=adapt) for arm in ("grpo", "ppo") for s in range(6)]
    report = summarise(chosen, results, command="")
    (row,) = rows_of(report, algorithm="grpo", metric="adaptation, area under the curve")
    by_hand = (0.425 * 64 + 0.475 * 192 + 0.525 * 744) / 1000
    assert row["mean"] == pytest.approx(by_hand)
    (lost,) = rows_of(report, algorithm="grpo", metric="change on train by adapting")
    before = np.mean([r["evals"][0]["mean"] for r in results if r["arm"] == "grpo"])
    assert lost["mean"] == pytest.approx(0.5 - before)
    assert report["adaptation"][0]["episodes"] == adapt
    assert area([(0, 1.0), (10, 1.0)]) == 1.0
    assert area([(0, 0.25)]) == 0.25


def test_an_arm_that_speaks_no_tokens_has_no_divergence() -> None:
    chosen = plan(("grpo", "candidate_dqn"))
    results = [result(arm, s) for arm in ("grpo", "candidate_dqn") for s in range(6)]
    rows = rows_of(summarise(chosen, results, command=""), metric="KL to the start, nats a token")
    assert [r["algorithm"] for r in rows] == ["grpo"]


def test_a_margin_allows_to_say_that_nothing_matters() -> None:
    results = [
        result(arm, s, returns={split: [0.5 + 0.01 * (s % 3) * k] for split in SPLITS})
        for k, arm in enumerate(("grpo", "ppo")) for s in range(6)
    ]  # fmt: skip
    report = summarise(plan(), results, command="", margin=0.05)
    assert {v["verdict"] for v in report["verdicts"]} == {"no difference that matters"}


def test_runs_that_are_all_the_same_are_not_taken_for_certain() -> None:
    """Saturated arms: every number keeps the room that six runs leave, and nothing is claimed."""
    results = [
        result(arm, s, returns={x: [1.0] for x in SPLITS}, adapt=[0, 64])
        for arm in ("grpo", "ppo") for s in range(6)
    ]  # fmt: skip
    report = summarise(plan(adapt=[0, 64]), results, command="", margin=0.05)
    assert {v["verdict"] for v in report["verdicts"]} == {"not enough seeds to tell"}
    assert {v["detectable"] for v in report["verdicts"]} == {None}
    assert all(v["difference"]["high"] > 0.4 for v in report["verdicts"])
    for row in report["rows"]:
        assert row["metric"].startswith("KL") or row["high"] - row["low"] > 0.01, row
    assert "all 6 differences are the same" in str(Comparison(report=report, path=Path()))


def test_no_interval_says_what_cannot_be() -> None:
    """Two runs are shown without one; a divergence is not negative."""
    two = summarise(plan(), [result(arm, s) for arm in ("grpo", "ppo") for s in range(2)],
                    command="")  # fmt: skip
    assert {(row["low"], row["high"]) for row in two["rows"]} == {(None, None)}
    assert all(row["mean"] is not None for row in two["rows"])
    assert {v["difference"]["low"] for v in two["verdicts"]} == {None}
    assert "[-]" in str(Comparison(report=two, path=Path()))
    three = [result(arm, s) for arm in ("grpo", "ppo") for s in range(3)]
    for number, found in enumerate(three):
        found["kl"] = [0.0, 0.1, 1.0][number % 3]
    rows = rows_of(summarise(plan(), three, command=""), metric="KL to the start, nats a token")
    assert {row["low"] for row in rows} == {0.0}


def test_runs_without_a_divergence_are_left_out_and_told() -> None:
    results = [result(arm, s, adapt=[0, 64]) for arm in ("grpo", "ppo") for s in range(6)]
    results[2]["kl"] = results[3]["adaptation"]["kl"] = None
    report = summarise(plan(adapt=[0, 64]), results, command="")
    kl = {r["algorithm"]: r for r in rows_of(report, metric="KL to the start, nats a token")}
    assert (kl["grpo"]["seeds"], kl["ppo"]["seeds"]) == (5, 6)
    assert sum("1 of 6 runs are left out" in note and "grpo" in note
               for note in report["notes"]) == 2  # fmt: skip


def test_an_arm_that_used_another_budget_than_the_others_is_told() -> None:
    results = [result(arm, s) for arm in ("grpo", "ppo") for s in range(2)]
    assert summarise(plan(), results, command="")["notes"] == []
    for r in results[:2]:
        r["spent"]["env_tokens"] = 242_700.0
    for r in results[2:]:
        r["spent"]["env_tokens"] = 29_500.0
    results[2]["stopped_by"] = "patience"
    results[2]["own_evaluations"] = {"episodes": 640, "tokens": 3200.0}
    more, less, early = summarise(plan(), results, command="")["notes"]
    assert "grpo: used 242,700 env_tokens a run in the mean, 21% more than" in more
    assert "ppo: used 29,500 env_tokens a run in the mean, 85% less than" in less
    assert "ppo: 1 of 2 runs ended early. Its own evaluations, 320 episodes and 1,600" in early
