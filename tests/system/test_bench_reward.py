"""``sayso bench reward``: a grader for peers, runs that are kept, ratios that admit a bound."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sayso.bench.pairs import Side
from sayso.bench.race import Race
from sayso.bench.racer import Racer, prepare, run
from sayso.bench.record import Record
from sayso.bench.reward import compared, raced
from sayso.cli.main import app
from sayso.envs.writing import WritingEnv
from sayso.errors import OptionValueError

pytestmark = pytest.mark.medium

GOOD = "The old lighthouse keeper watched the storm roll in at midnight."


def graded_by_the_environment(task: str, text: str) -> float:
    env = WritingEnv()
    env.reset(options={"task": task, "split": task.rsplit("-", 1)[0]})
    return env.step(text)[1]


def test_the_grader_answers_line_by_line_what_the_environment_would() -> None:
    asked = [
        {"task": ["train-0003", "held_out-0000"], "text": [GOOD, "rain"]},
        {"task": ["train-0003"], "text": []},
        {"task": ["nobody"], "text": ["x"]},
        {"task": ["train-0001"], "text": [GOOD]},
    ]
    lines = "".join(json.dumps(line) + "\n" for line in asked) + "no json\n"
    done = subprocess.run(
        [sys.executable, "-m", "sayso.bench.grader"], input=lines, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    first, short, unknown, last, broken = map(json.loads, done.stdout.splitlines())
    assert first["reward"] == [
        graded_by_the_environment("train-0003", GOOD),
        graded_by_the_environment("held_out-0000", "rain"),
    ]
    assert first["reward"][0] > 0
    assert last["reward"] == [graded_by_the_environment("train-0001", GOOD)]
    assert "error" in short
    assert "nobody" in unknown["error"]
    assert "error" in broken


def test_the_grader_answers_before_the_next_question() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "sayso.bench.grader"], stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, text=True,
        env={name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"},
    ) as child:  # fmt: skip
        assert child.stdin is not None
        assert child.stdout is not None
        for name in ("train-0000", "train-0001"):
            child.stdin.write(json.dumps({"task": [name], "text": [GOOD]}) + "\n")
            child.stdin.flush()
            assert "reward" in json.loads(child.stdout.readline())


def row(seed: int, seconds: float, *, steps: int = 4, reached: bool = True) -> dict[str, Any]:
    return {"seed": seed, "seconds": seconds, "steps": steps, "reached": reached}


def test_ratio_and_interval_of_given_seconds() -> None:
    """Logarithms 1, 2, 3: mean 2, standard error 1/sqrt(3), t(0.975, 2) = 4.302653."""
    ours = [row(n, 10.0) for n in range(3)]
    peer = [row(n, 10 * math.exp(n + 1), steps=8) for n in range(3)]
    found = compared(ours, peer)
    half = 4.302653 / math.sqrt(3)
    assert found["ratio"]["median"] == pytest.approx(math.exp(2))
    assert found["ratio"]["mean"] == pytest.approx(math.exp(2))
    assert found["ratio"]["low"] == pytest.approx(math.exp(2 - half), rel=1e-5)
    assert found["ratio"]["high"] == pytest.approx(math.exp(2 + half), rel=1e-5)
    assert found["steps_ratio"] == pytest.approx(2)
    assert found["bound"] == "exact"
    assert [pair["ratio"] for pair in found["pairs"]] == pytest.approx(
        [math.e, math.e**2, math.e**3]
    )


def test_a_peer_that_never_arrives_makes_the_ratio_a_lower_bound() -> None:
    found = compared([row(0, 10.0), row(1, 10.0)], [row(0, 40.0), row(1, 90.0, reached=False)])
    assert found["bound"] == "at least"
    assert [pair["bound"] for pair in found["pairs"]] == ["exact", "at least"]
    assert found["censored"] == {"ours": [], "peer": [1]}
    assert found["ratio"]["mean"] == pytest.approx(6)


def test_a_run_of_ours_that_never_arrives_leaves_no_ratio() -> None:
    found = compared([row(0, 10.0), row(1, 10.0, reached=False)], [row(0, 40.0), row(1, 90.0)])
    assert found["ratio"] is None
    assert found["censored"] == {"ours": [1], "peer": []}
    assert found["pairs"][1]["bound"] == "at most"


def test_a_threshold_that_the_untrained_model_meets_is_no_race() -> None:
    with pytest.raises(OptionValueError, match="before the first step"):
        compared([row(0, 0.0, steps=0)], [row(0, 1.0)])


RACER = """
import json, pathlib, sys
path, *more = sys.argv[1:]
if more:
    pathlib.Path(more[1], "race.json").write_text(json.dumps({"seed": int(more[0])}))
    raise SystemExit
log = pathlib.Path(LOG)
log.write_text(log.read_text() + NAME if log.exists() else NAME)
print(json.dumps({"seconds": SECONDS, "steps": 2, "reached": True, "curve": [[2, SECONDS, 0.5]]}))
"""


def side(folder: Path, name: str, seconds: float) -> Side:
    script = folder / f"{name}.py"
    values = f"NAME, SECONDS, LOG = {name[0]!r}, {seconds}, {str(folder / 'log')!r}\n"
    script.write_text(values + RACER)
    return Side(command=(sys.executable, str(script)), threads=1)


def test_a_second_process_goes_on_from_the_runs_in_the_file(tmp_path: Path) -> None:
    sides = side(tmp_path, "ours", 1.0), side(tmp_path, "peer", 5.0)
    race, out = Race(model="m"), tmp_path / "kept" / "out.jsonl"
    header = {"race": asdict(race)}

    def go(num_seeds: int) -> dict[str, Any]:
        record = Record(out, header)
        return raced(*sides, race, record, num_seeds=num_seeds, tell=lambda _: None)

    assert go(1)["ratio"]["median"] == 5
    assert (tmp_path / "log").read_text() == "op"
    with out.open("a") as file:
        file.write('{"side": "ours", "seed": 1, "seco')  # killed while writing
    assert [pair["seed"] for pair in go(2)["pairs"]] == [0, 1]
    assert (tmp_path / "log").read_text() == "opop"
    assert len([json.loads(line) for line in out.read_text().splitlines()]) == 5
    assert go(2)["ratio"]["median"] == 5
    assert (tmp_path / "log").read_text() == "opop"


def test_a_file_of_another_race_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    Record(out, {"race": asdict(Race(model="m"))})
    with pytest.raises(OptionValueError, match="other values of race"):
        Record(out, {"race": asdict(Race(model="m", threshold=0.4))})


def test_our_side_trains_to_the_last_step_and_says_that_it_did_not_arrive(
    tiny_dir: str, tmp_path: Path
) -> None:
    race = Race(
        model=tiny_dir, threshold=0.9, max_steps=3, every=2, held_out=4, tasks_per_step=2,
        group_size=2, max_new=4, lora=2, threads=1,
    )  # fmt: skip
    told = json.loads(prepare(race, 1, tmp_path).read_text())
    assert len(told["train_rows"]) == 3 * 2
    assert (Path(told["adapter"]) / "adapter_model.safetensors").is_file()
    found = run(Racer(told))
    assert [step for step, _, _ in found["curve"]] == [0, 2, 3]
    assert found["reached"] is False
    assert found["steps"] == 3
    assert found["curve"][0][1] == 0
    assert 12 <= found["tokens"] <= 48


def test_a_run_ends_at_the_first_evaluation_that_reaches_the_threshold(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Fake:
        race = Race(model="m", threshold=0.5, max_steps=9, every=2)
        means = iter([0.1, 0.5, 0.9])

        class learner:  # noqa: N801
            class core:  # noqa: N801
                class engine:  # noqa: N801
                    path = "fake"

        def step(self, number: int) -> int:
            return 10

        def held_out_mean(self) -> float:
            return next(self.means)

    found = run(Fake())  # type: ignore[arg-type]
    assert (found["steps"], found["reached"], found["tokens"]) == (2, True, 20)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (["--against", "hf"], "what --against hf does"),
        (["--against", "trl"], "--peer-python"),
        (["--against", "trl", "--peer-python", "x", "--set", "threshold=high"], "Use a number"),
        (["--against", "trl", "--peer-python", "x", "--set", "threshold=2"], "in \\(0, 1\\]"),
        (["--against", "trl", "--peer-python", "x", "--set", "shipped=1"], "one of: model"),
    ],
)
def test_what_cannot_be_raced_is_refused(asked: list[str], said: str) -> None:
    done = CliRunner().invoke(app, ["bench", "reward", *asked, "--set", "model=m"])
    assert isinstance(done.exception, OptionValueError)
    with pytest.raises(OptionValueError, match=said):
        raise done.exception
