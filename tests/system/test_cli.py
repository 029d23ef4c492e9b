"""The command line, whole: commands, exit codes, JSON forms."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

SMALL = [
    "--set", "train.total_episodes=64", "--set", "train.eval_every=2",
    "--set", "train.checkpoint_every=1", "--set", "algorithm.group_size=16",
    "--set", "train.eval_episodes=8",
]  # fmt: skip


def sayso(*arguments: str, cwd: Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "sayso.cli.main", *arguments],
        cwd=cwd,
        input=stdin,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=200,
        check=False,
    )


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run in runs/tinylang-1."""
    where = tmp_path_factory.mktemp("cli")
    done = sayso("train", "tinylang", *SMALL, cwd=where)
    assert done.returncode == 0, done.stderr
    assert "Run: runs/tinylang-1" in done.stdout
    assert "step 4  64/64 episodes" in done.stderr
    return where


@pytest.mark.medium
def test_train_prints_one_json_object(tmp_path: Path) -> None:
    options = [*SMALL, "--seed", "3", "--run", "mine", "--json"]
    done = sayso("train", "tinylang", *options, cwd=tmp_path)
    told = json.loads(done.stdout)
    assert told["run"] == "mine"
    assert (told["steps"], told["episodes"], told["stopped_by"]) == (4, 64, "done")
    assert told["best_step"] in {0, 2, 4}
    assert "seed = 3" in (tmp_path / "mine/config.toml").read_text()


@pytest.mark.medium
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["eval", "runs/tinylang-1", "--episodes", "0"], "greater than or equal to 1"),
        (["eval", "runs/tinylang-1", "--checkpoint", "²"], "Use last, best, base or a step"),
        (["eval", "runs/tinylang-1", "--checkpoint", "999"], "There are those of step"),
        (["export", "runs/tinylang-1", "a-file"], "is a file"),
        (["chat", "runs/tinylang-1", "--max-new-tokens", "0"], "greater than or equal to 1"),
        (["eval", "runs/tinylang-1", "--split", "test"], "Splits with tasks: train (1)."),
        (["train", "tinylang", "--seed", "-1"], "greater than or equal to 0"),
        (["train", "tinylang", "--run", "a-file/run"], "below a file"),
        (["train", "tinylang", "--set", "env.id=broken:Env"], "ZeroDivisionError: division by"),
        (["doctor", "tinylang", "--set", "env.id=broken:Env"], ""),
        (["train", "tinylang", "--set", "env.id=mine:Env", "--set", "train.split=easy",
          "--set", "train.eval_every=1", "--set", "train.eval_split=unseen"],
         "split 'unseen': has no tasks. Splits with tasks: none of train"),
    ],
)  # fmt: skip
def test_mistakes_are_explained_without_a_traceback(
    workplace: Path, arguments: list[str], says: str
) -> None:
    (workplace / "a-file").write_text("")
    (workplace / "broken.py").write_text("1 / 0\n")
    (workplace / "mine.py").write_text(OWN_ENV)
    runs = sorted((workplace / "runs").iterdir())
    done = sayso(*arguments, cwd=workplace)
    assert done.returncode == 2, done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    assert sorted((workplace / "runs").iterdir()) == runs


OWN_ENV = """
import sayso

class Env(sayso.TextEnv):
    max_turns = 1
    def tasks(self, split):
        if split != "easy":
            return []
        return [sayso.Task(id="t", env="Env", split=split, payload={"n": 1})]
    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return "", {}
    def step(self, action):
        return "", float("a" in action), True, False, {}
"""


@pytest.mark.medium
def test_doctor_plays_the_recipes_own_split_of_a_module_in_the_folder(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(OWN_ENV)
    options = ["--set", "env.id=mine:Env", "--set", "train.split=easy",
               "--set", "train.eval_split=easy"]  # fmt: skip
    done = sayso("doctor", "tinylang", *options, cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert "ok    rollout" in done.stdout


@pytest.mark.medium
def test_the_card_of_an_export_tells_of_its_own_step(workplace: Path) -> None:
    for checkpoint, step, says in (("base", 0, "before training"), ("last", 4, "step 4")):
        done = sayso("export", "runs/tinylang-1", checkpoint, "--checkpoint", checkpoint,
                     cwd=workplace)  # fmt: skip
        assert done.returncode == 0, done.stderr
        card = (workplace / checkpoint / "README.md").read_text()
        assert says in card
        report = json.loads((workplace / f"runs/tinylang-1/eval/step-{step:08d}.json").read_text())
        assert f"| return | {report['mean']['mean']:.4f} |" in card


@pytest.mark.medium
def test_eval_without_a_split_takes_one_that_has_tasks(workplace: Path) -> None:
    done = sayso("eval", "runs/tinylang-1", "--episodes", "4", "--json", cwd=workplace)
    assert json.loads(done.stdout)["split"] == "train"


@pytest.mark.medium
def test_eval_digest_and_resume(workplace: Path) -> None:
    report = json.loads(
        sayso("eval", "runs/tinylang-1", "--split", "train", "--episodes", "6", "--json",
              cwd=workplace).stdout
    )  # fmt: skip
    assert report["step"] == 4
    assert report["mean"]["n"] == 6
    assert report["mean"]["low"] <= report["mean"]["mean"] <= report["mean"]["high"]
    assert len(report["returns"]) == 6
    first = sayso("digest", "runs/tinylang-1", "--json", cwd=workplace).stdout
    again = sayso("train", "--resume", "runs/tinylang-1", cwd=workplace)
    assert again.returncode == 0, again.stderr
    assert sayso("digest", "runs/tinylang-1", "--json", cwd=workplace).stdout == first
    assert set(json.loads(first)) == {
        "weights", "optimiser", "cursors", "metrics", "episodes", "eval", "all",
    }  # fmt: skip


@pytest.mark.medium
def test_export_loads_with_transformers_alone(workplace: Path) -> None:
    done = sayso("export", "runs/tinylang-1", "model", cwd=workplace)
    assert done.returncode == 0, done.stderr
    model = AutoModelForCausalLM.from_pretrained(workplace / "model")
    tokenizer = AutoTokenizer.from_pretrained(workplace / "model")
    assert model.config.vocab_size == len(tokenizer) == 3
    card = (workplace / "model/README.md").read_text()
    assert "sayso/TinyLang-v0" in card
    assert "| return |" in card
    assert "| reward | Say a word of up to three letters" in card
    refused = sayso("export", "runs/tinylang-1", "model", cwd=workplace)
    assert refused.returncode == 2
    assert "[RUN-001] model: is not empty." in refused.stderr


@pytest.mark.medium
def test_chat_answers_until_an_empty_line(workplace: Path) -> None:
    done = sayso("chat", "runs/tinylang-1", cwd=workplace, stdin="hello\nagain\n\n")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 2
    assert "you>" not in done.stdout


@pytest.mark.medium
@pytest.mark.parametrize("what", ["envs", "algorithms", "models", "recipes", "options"])
def test_lists_have_text_and_json(what: str, tmp_path: Path) -> None:
    rows = json.loads(sayso("list", what, "--json", cwd=tmp_path).stdout)[what]
    assert len(rows) >= 3
    text = sayso("list", what, cwd=tmp_path).stdout
    assert all(str(row["name"]) in text for row in rows)


@pytest.mark.medium
def test_doctor_checks_without_leaving_anything(tmp_path: Path) -> None:
    done = sayso("doctor", "tinylang", "--json", cwd=tmp_path)
    told = json.loads(done.stdout)
    assert told["ok"] is True
    assert {"options", "environment check", "model", "rollout", "update"} <= {
        f["name"] for f in told["findings"]
    }
    assert list(tmp_path.iterdir()) == []
    bad = sayso("doctor", "tinylang", "--set", "env.id=sayso/Nope-v0", cwd=tmp_path)
    assert bad.returncode == 2
    assert "[ENV-002]" in bad.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["train"], "needs a recipe, or --resume RUN, and not both"),
        (["train", "tinylan"], "Did you mean `tinylang`?"),
        (["train", "--resume", "nowhere"], "nowhere: no such run directory"),
        (["eval", "nowhere"], "no such run directory"),
        (["list", "recipe"], "Did you mean `recipes`?"),
        (["train", "tinylang", "--set", "kl.target=0.1"], "has no effect while kl.coef is 0"),
        (["fly"], "No such command 'fly'"),
        (["train", "--fast"], "No such option: --fast"),
    ],
)
@pytest.mark.medium
def test_bad_input_leaves_with_2_and_says_what_to_do(
    arguments: list[str], says: str, tmp_path: Path
) -> None:
    done = sayso(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert says in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "runs").exists()


@pytest.mark.medium
def test_fault_27_every_problem_of_a_file_at_once_and_nothing_is_started(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text(
        '[env]\nid = "sayso/TinyLang-v0"\n[algorithm]\ntype = "rlo"\n'
        "[optim]\nlr = nan\nwarmup = 3\n[train]\ntotal_episodes = 0\n[sampling]\ntemperature = 0\n"
    )
    done = sayso("train", "bad.toml", cwd=tmp_path)
    assert done.returncode == 2
    for expected in (
        "algorithm.type: got 'rlo'", "optim.lr", "optim.warmup: no such option", "warmup_steps",
        "total_episodes must be positive, got 0", "temperature must be positive",
    ):  # fmt: skip
        assert expected in done.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bad.toml"]


@pytest.mark.medium
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_fault_19_a_signal_saves_the_last_step_and_the_run_goes_on_from_there(
    number: signal.Signals, code: int, tmp_path: Path
) -> None:
    """The interrupted and resumed run has the digest of an undisturbed one."""
    options = ["--set", "train.total_episodes=1600", "--set", "train.checkpoint_every=1000"]
    child = subprocess.Popen(
        [sys.executable, "-m", "sayso.cli.main", "train", "tinylang", *options, "--run", "cut"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    metrics = tmp_path / "cut/metrics.jsonl"
    deadline = time.monotonic() + 100
    while not (metrics.exists() and metrics.read_bytes().count(b"\n") > 3):
        assert time.monotonic() < deadline
        assert child.poll() is None
        time.sleep(0.05)
    child.send_signal(number)
    sent = time.monotonic()
    _, told = child.communicate(timeout=60)
    assert child.returncode == code, told
    assert time.monotonic() - sent < 10
    assert "the last whole step is saved" in told
    assert sayso("train", "--resume", "cut", cwd=tmp_path).returncode == 0
    whole = sayso("train", "tinylang", *options, "--run", "whole", cwd=tmp_path)
    assert whole.returncode == 0
    digests = [sayso("digest", name, "--json", cwd=tmp_path).stdout for name in ("cut", "whole")]
    assert digests[0] == digests[1]


@pytest.mark.medium
def test_help_is_quick_and_loads_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom sayso.cli.main import app, call\n"
        "sys.argv = ['sayso', '--help']\n"
        "assert call(app) == 0\nassert 'torch' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "train" in done.stdout
