"""Comparisons, whole: what is trained, paired, resumed, written; with a tiny model."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import sayso
from sayso.app.comparison import results, run_all
from sayso.app.plan import read_plan
from sayso.cli.compare import Comparison
from sayso.errors import GuardError
from sayso.runs.digest import digest_run
from sayso.runs.jsonl import read
from sayso.training.callbacks import StepReport, TrainingContext
from sayso.training.spending import UnderBudget

SMALL = ["model.tiny.width=16", "model.tiny.layers=1", "algorithm.group_size=8"]
MAZE_ARM = "maze:ppo,optim.schedule=constant,optim.total_steps=none,algorithm.tasks_per_step=4"
OPTIONS: dict[str, Any] = {
    "seeds": 2, "budget": "env_tokens=300", "episodes": 4, "points": 2, "point_episodes": 4,
}  # fmt: skip


def compared(folder: Path, *arms: str, **changes: Any) -> Comparison:
    chosen = arms or ("tinylang:grpo", "tinylang:rloo")
    return sayso.compare(*chosen, set=SMALL, out=folder, **{**OPTIONS, **changes})


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    return compared(tmp_path_factory.mktemp("compare") / "c")


@pytest.mark.medium
def test_every_run_stops_at_the_first_step_past_the_budget(done: Comparison) -> None:
    for arm in ("tinylang-grpo", "tinylang-rloo"):
        for seed in (0, 1):
            lines = list(read(done.path / arm / f"seed-{seed}/metrics.jsonl"))
            used = [line["progress/env_tokens"] for line in lines]
            assert used[-1] >= 300 > used[-2]
            told = json.loads((done.path / arm / f"seed-{seed}.json").read_text())
            assert told["spent"]["env_tokens"] == used[-1]
            assert told["stopped_by"] == "budget"


@pytest.mark.medium
def test_arms_begin_with_the_same_weights_and_are_asked_the_same(done: Comparison) -> None:
    found = {(r["arm"], r["seed"]): r for r in results(done.path, read_plan(done.path), [0, 1])}
    for seed in (0, 1):
        grpo, rloo = found["grpo", seed], found["rloo", seed]
        assert grpo["curve"][0]["mean"] == rloo["curve"][0]["mean"], "before the first step"
        assert grpo["curve"][0]["step"] == 0
        for one, other in zip(grpo["evals"], rloo["evals"], strict=True):
            assert [x[:2] for x in one["returns"]] == [x[:2] for x in other["returns"]]
    assert found["grpo", 0]["curve"][0]["mean"] != found["grpo", 1]["curve"][0]["mean"]


@pytest.mark.medium
def test_the_report_is_what_the_runs_found(done: Comparison) -> None:
    rows = {(r["algorithm"], r["metric"]): r for r in done.rows}
    found = results(done.path, read_plan(done.path), [0, 1])
    means = [
        sum(value for _, _, value in e["returns"]) / len(e["returns"])
        for r in found if r["arm"] == "rloo" for e in r["evals"] if e["decode"] == "greedy"
    ]  # fmt: skip
    assert rows["rloo", "return, greedy"]["mean"] == pytest.approx(sum(means) / 2)
    assert rows["rloo", "return, greedy"]["seeds"] == 2
    assert [v["verdict"] for v in done.verdicts] == ["not enough seeds to tell"] * 2
    assert "not enough seeds" in str(done)


@pytest.mark.medium
def test_it_is_the_same_in_processes_and_finished_runs_are_not_run_again(
    done: Comparison, tmp_path: Path
) -> None:
    one = compared(tmp_path / "c", jobs=2, seeds=1)
    assert one.report["seeds"] == {"sayso/TinyLang-v0": [0]}
    for path in sorted(done.path.glob("*/seed-0")):
        other = tmp_path / "c" / path.relative_to(done.path)
        assert digest_run(path) == digest_run(other)
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "c").glob("*/*.json")}
    assert len(before) == 2
    more = compared(tmp_path / "c")
    assert {p: p.stat().st_mtime_ns for p in before} == before
    assert without_clocks(more.report) == without_clocks(done.report)


def without_clocks(report: Any) -> Any:
    """A report without seconds, which differ between equal runs."""
    if isinstance(report, dict):
        return {k: without_clocks(v) for k, v in report.items() if k != "wall_clock"}
    return [without_clocks(x) for x in report] if isinstance(report, list) else report


@pytest.mark.medium
def test_a_killed_run_goes_on_from_its_directory(done: Comparison, tmp_path: Path) -> None:
    """Killed in the middle of training: the curve and the result are those of an unbroken run."""
    kill = (
        "import os, signal, sys\n"
        "from sayso.training import spending\n"
        "plain = spending.UnderBudget.on_step\n"
        "def on_step(self, context, report):\n"
        "    if report.step == 8:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return plain(self, context, report)\n"
        "spending.UnderBudget.on_step = on_step\n"
        "import sayso\n"
        f"sayso.compare('tinylang:grpo', 'tinylang:rloo', set={SMALL!r}, out='c', "
        f"**{OPTIONS | {'seeds': 1}!r})\n"
    )
    first = subprocess.run([sys.executable, "-c", kill], cwd=tmp_path, check=False)
    assert first.returncode == -signal.SIGKILL
    assert not list((tmp_path / "c").glob("*/*.json"))
    compared(tmp_path / "c", seeds=1)
    for name in ("tinylang-grpo/seed-0", "tinylang-rloo/seed-0"):
        assert digest_run(tmp_path / "c" / name) == digest_run(done.path / name)
        one, other = (
            json.loads((folder / f"{name}.json").read_text())
            for folder in (tmp_path / "c", done.path)
        )
        assert without_clocks(one) == without_clocks(other)


@pytest.mark.slow
def test_ctrl_c_saves_and_the_same_command_goes_on(tmp_path: Path) -> None:
    command = [
        sys.executable, "-m", "sayso.cli.main", "compare", "tinylang:grpo", "tinylang:rloo",
        "--seeds", "1", "--budget", "env_tokens=40000", "--jobs", "2", "--out", "c",
        "--with", "points=1", "--with", "episodes=4",
    ]  # fmt: skip
    child = subprocess.Popen(
        command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    logs = [tmp_path / f"c/tinylang-{arm}/seed-0/metrics.jsonl" for arm in ("grpo", "rloo")]
    deadline = time.monotonic() + 100
    while not all(log.exists() and log.read_bytes().count(b"\n") > 2 for log in logs):
        assert time.monotonic() < deadline
        assert child.poll() is None
        time.sleep(0.05)
    child.send_signal(signal.SIGINT)
    child.communicate(timeout=60)
    assert child.returncode == 130
    steps = [len(log.read_text().splitlines()) for log in logs]
    plan = read_plan(tmp_path / "c")
    for arm in plan.arms:
        assert not (tmp_path / "c" / arm.key / "seed-0.json").exists()
        assert list((tmp_path / "c" / arm.key / "seed-0/checkpoints").iterdir())
    assert min(steps) > 2


@pytest.mark.medium
def test_a_run_that_fails_is_told_and_the_others_are_not_lost(tmp_path: Path) -> None:
    (tmp_path / "odd.py").write_text(ODD)
    few = {**OPTIONS, "seeds": 3, "budget": "episodes=16", "points": 1, "decode": ["greedy"]}
    script = (
        "import sayso, json\n"
        f"c = sayso.compare('tinylang:grpo,env.id=odd:Odd', 'tinylang:rloo,env.id=odd:Odd', "
        f"set={SMALL!r}, out='c', **{few!r})\n"
        "print(json.dumps([c.report['seeds'], c.report['notes']]))\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, check=True, capture_output=True, text=True
    )
    seeds, notes = json.loads(ran.stdout.splitlines()[-1])
    assert seeds == {"odd:Odd": [0, 2]}
    assert sum("Failed" in note and "seed 1" in note for note in notes) == 1
    assert any("seeds [1] are left out" in note for note in notes)


ODD = """
import sys
import sayso

class Odd(sayso.TextEnv):
    max_turns = 1
    reward_low, reward_high = 0.0, 1.0
    def tasks(self, split):
        return [sayso.Task(id=f"{split}-{k}", env="Odd", split=split, payload={}) for k in range(2)]
    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return "", {}
    def step(self, action):
        path = sys._getframe()
        while path is not None and "config" not in path.f_locals.get("self", object).__dict__:
            path = path.f_back
        me = path.f_locals["self"] if path else None
        if getattr(me, "seed", None) == 1 and me.arm.name == "rloo":
            raise RuntimeError("out of luck")
        return "", float("a" in action), True, False, {}
"""


@pytest.mark.medium
def test_when_every_run_fails_that_is_an_error(tmp_path: Path, monkeypatch: Any) -> None:
    def fail(*_: Any) -> None:
        raise GuardError(where="step 1", problem="it broke.", fix="Mend it.")

    monkeypatch.setattr("sayso.app.comparison.run_trial", fail)
    with pytest.raises(GuardError, match=r"every run failed; the first: grpo .* it broke"):
        compared(tmp_path / "c")


@pytest.mark.medium
def test_adaptation_trains_on_unseen_tasks_tells_what_is_forgotten_and_goes_on_when_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def adapted() -> Comparison:
        return compared(
            tmp_path / "c", f"{MAZE_ARM},env.max_turns=6,train.checkpoint_every=1",
            f"{MAZE_ARM},env.max_turns=6,name=other",
            budget="episodes=16", seeds=1, adapt=[0, 32, 64], episodes=4, point_episodes=4,
            points=1, decode=["sampled"],
        )  # fmt: skip

    found = adapted()
    result, _ = results(found.path, read_plan(found.path), [0])
    assert result["arm"] == "ppo"
    assert [p["spent"]["episodes"] for p in result["adaptation"]["points"]] == [0, 32, 64]
    unseen = next(e for e in result["evals"] if e["split"] == "unseen")
    assert result["adaptation"]["points"][0]["mean"] == unseen["mean"]
    metrics = {(r["split"], r["metric"]) for r in found.rows}
    assert ("unseen", "adaptation, area under the curve") in metrics
    assert ("train", "change on train by adapting") in metrics
    run = found.path / "maze-ppo/seed-0"
    for folder, split in ((run, "train"), (run.with_name("seed-0-adapt"), "unseen")):
        played = list(read(folder / "episodes/episodes.jsonl"))
        assert {line["episode"]["task"]["split"] for line in played} == {split}

    run.with_suffix(".json").unlink()
    shutil.rmtree(run.with_name("seed-0-adapt"))
    plain = UnderBudget.on_step

    def killed(self: UnderBudget, context: TrainingContext, report: StepReport) -> bool | None:
        if report.step == 2:
            raise Killed
        return plain(self, context, report)

    monkeypatch.setattr(UnderBudget, "on_step", killed)
    with pytest.raises(Killed):
        adapted()
    monkeypatch.setattr(UnderBudget, "on_step", plain)
    adapted()
    again, _ = results(found.path, read_plan(found.path), [0])
    assert without_clocks(again) == without_clocks(result)


class Killed(BaseException):
    """Nothing catches it, so nothing is saved: as SIGKILL, in this process."""


@pytest.mark.medium
def test_the_command_prints_tables_and_writes_json_and_a_page(tmp_path: Path) -> None:
    command = [
        sys.executable, "-m", "sayso.cli.main", "compare", "tinylang:grpo", "tinylang:rloo",
        "--seeds", "1", "--budget", "episodes=64", "--with", "points=1", "--with", "episodes=4",
        "--with", "point_episodes=4", "--with", "decode=sampled",
        "--json", "out/r.json", "--html", "p.html",
    ]  # fmt: skip
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert "not enough seeds to tell" in " ".join(ran.stdout.split())
    assert "2/2" in ran.stderr
    told = json.loads((tmp_path / "out/r.json").read_text())
    assert told["rows"][0]["command"].startswith("sayso compare tinylang:grpo tinylang:rloo")
    assert "<!doctype html>" in (tmp_path / "p.html").read_text()
    (folder,) = (tmp_path / "runs").iterdir()
    assert folder.name.startswith("compare-tinylang-grpo-vs-tinylang-rloo-")
    assert run_all(folder, read_plan(folder), seeds=[0], jobs=1, tell=print) == []
