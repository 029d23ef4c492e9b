"""Arms under control beside arms that change the model: one budget, the same episodes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import sayso
from sayso.app.allowance import worked_out
from sayso.app.arms import differences, refuse_adapting, refuse_lonely, refuse_under
from sayso.app.comparison import results
from sayso.app.plan import read_plan
from sayso.cli.compare import Comparison, parse_arm
from sayso.errors import OptionValueError
from sayso.runs.jsonl import read
from sayso.training.budget import Budget

pytest.importorskip("stable_baselines3")
SHARED = ["model.name=tiny", "model.tiny.width=16", "model.tiny.layers=1",
          "sampling.max_new_tokens=4"]  # fmt: skip
SMALL = "control.num_components=3,control.num_states=8,control.num_probes=8,learner.num_envs=4"
ARMS = (
    f"control-sac,{SMALL}",
    "writing:grpo,algorithm.tasks_per_step=1,algorithm.group_size=8,algorithm.train_on=4",
)
OPTIONS: dict[str, Any] = {
    "seeds": 2, "budget": "env_tokens=9000", "episodes": 4, "points": 2, "point_episodes": 4,
    "splits": ("held_out",),
}  # fmt: skip


def arm(text: str) -> Any:
    return parse_arm(text, SHARED)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    folder = tmp_path_factory.mktemp("compare") / "c"
    return sayso.compare(*ARMS, set=SHARED, out=folder, **OPTIONS)


@pytest.mark.medium
def test_both_kinds_of_arms_spend_the_budget_and_meet_the_same_episodes(done: Comparison) -> None:
    found = {(r["arm"], r["seed"]): r for r in results(done.path, read_plan(done.path), [0, 1])}
    assert len(found) == 4
    for seed in (0, 1):
        sac, grpo = found["sac", seed], found["grpo", seed]
        assert sac["spent"]["env_tokens"] >= 9_000
        assert sac["spent"]["learner_tokens"] == 0
        used = [point["spent"]["env_tokens"] for point in sac["curve"]]
        assert used == sorted(used)
        assert used[0] > 0, "what fitting takes is of the budget"
        assert sac["curve"][0]["step"] == 0
        assert len(used) == 3
        for one, other in zip(sac["evals"], grpo["evals"], strict=True):
            assert one["num_failed"] == 0
            assert [x[:2] for x in one["returns"]] == [x[:2] for x in other["returns"]]
        assert sac["kl"] is not None
    assert found["sac", 0]["spent"] != found["sac", 1]["spent"], "each seed fits its own directions"
    rows = {(r["algorithm"], r["metric"]) for r in done.rows}
    assert {("sac", "return, sampled"), ("grpo", "return, sampled")} <= rows
    done.save(html=done.path / "page.html")


@pytest.mark.medium
def test_a_run_that_was_cut_short_goes_on_and_a_finished_one_is_not_done_again(
    done: Comparison, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = done.path / "control-sac-sac/seed-0.json"
    before = json.loads(place.read_text())
    place.unlink()
    from sayso.control import run

    def refuse(*args: Any, **options: Any) -> None:
        raise AssertionError("the budget is spent already")

    monkeypatch.setattr(run, "train_agent", refuse)
    again = sayso.compare(*ARMS, set=SHARED, out=done.path, **OPTIONS)
    after = json.loads(place.read_text())
    assert (after["steps"], after["curve"]) == (before["steps"], before["curve"])
    assert after["evals"] == before["evals"]
    assert again.rows == done.rows


@pytest.mark.medium
def test_a_run_killed_between_checkpoints_loses_the_points_beyond(tmp_path: Path) -> None:
    from sayso.app.control_trial import ControlTrial
    from sayso.app.plan import CompareOptions, make_plan

    one = arm(f"control-sac,{SMALL},train.checkpoint_every=8")
    plan = make_plan([one], CompareOptions(**{**OPTIONS, "budget": "env_tokens=4000"}))
    trial = ControlTrial(plan, one, 0)
    run = trial.open(tmp_path / "run")
    whole = trial.trained(run)
    for path in sorted((run.path / "checkpoints").glob("step-*"))[-1:]:
        import shutil

        shutil.rmtree(path)
    again = ControlTrial(plan, one, 0)
    found = again.trained(again.open(tmp_path / "run"))
    assert found["spent"]["env_tokens"] >= 4_000
    steps = [line["step"] for line in read(run.path / "curve.jsonl")]
    assert steps == sorted(set(steps)), "no point twice"
    assert len(found["curve"]) == len(whole["curve"])


def test_options_of_all_arms_reach_those_under_control_by_their_own_names() -> None:
    sac, grpo = (arm(text) for text in ARMS)
    assert sac.config["control"]["max_new_tokens"] == 4
    assert differences([sac, grpo]) == []
    other = arm(f"{ARMS[0]},control.max_new_tokens=6")
    (told,) = differences([other, grpo])
    assert "sampling.max_new_tokens is not the same in all arms (sac 6, grpo 4)" in told
    assert arm(f"control-sac:td3,{SMALL}").name == "td3"


def test_what_such_an_arm_cannot_do_is_refused() -> None:
    sac = arm(ARMS[0])
    with pytest.raises(OptionValueError, match="updates read no tokens"):
        refuse_under(sac, Budget(axis="learner_tokens", amount=1.0))
    with pytest.raises(OptionValueError, match="fitted to its tasks"):
        refuse_adapting(sac)


@pytest.mark.medium
def test_a_budget_that_is_not_named_is_that_of_the_first_recipes_steps() -> None:
    first = arm(f"{ARMS[0]},train.total_steps=100")
    amount = worked_out([first, arm(ARMS[1])]).amount
    half = worked_out([arm(f"{ARMS[0]},train.total_steps=50")]).amount
    assert amount == pytest.approx(2 * half, rel=0.06)
    assert amount > 100 * 4


def test_beside_an_arm_under_control_reward_and_beginning_are_told_all_the_same() -> None:
    warm = arm('writing:grpo,warm_start.player="a",env.reward.type="model",env.reward.model="m"')
    told = "\n".join(differences([arm(f"control-sac,{SMALL}"), warm]))
    assert "warm_start.player is not the same in all arms (sac unset, grpo a)" in told
    assert "env.reward.type is not the same in all arms (sac unset, grpo model)" in told


def test_a_lonely_arm_under_control_is_told_so() -> None:
    with pytest.raises(OptionValueError, match="Name two: control-sac writing:grpo"):
        refuse_lonely([arm(f"control-sac,{SMALL}")])
