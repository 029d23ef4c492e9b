"""``sayso bench``: the gate refuses what differs; pairs are measured in fresh processes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner

from sayso.bench import gate
from sayso.bench.ours import sampled, setting
from sayso.bench.pairs import Side, best_micro_batch, paired
from sayso.bench.record import Record, commit
from sayso.bench.works import Job
from sayso.cli.main import app
from sayso.errors import GuardError, OptionValueError, RunError

pytestmark = pytest.mark.medium


OURS = {"a": torch.tensor([1.0, -2.0]), "b": torch.tensor([[0.5]]), "loss": torch.tensor([0.7])}


def compared(folder: Path, **changes: torch.Tensor) -> dict[str, float]:
    save_file(OURS, folder / "ours.safetensors")
    save_file({**OURS, **changes}, folder / "peer.safetensors")
    return gate.compare(folder / "ours.safetensors", folder / "peer.safetensors")


def test_the_gate_passes_what_agrees(tmp_path: Path) -> None:
    found = compared(tmp_path, a=torch.tensor([1.0, -2.00001]))
    assert found["cosine"] > 0.9999
    assert found["loss_gap"] == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"loss": torch.tensor([0.7002])},
        {"a": torch.tensor([1.1, -2.0])},
        {"a": -OURS["a"], "b": -OURS["b"]},
        {"c": torch.tensor([1.0])},
    ],
)
def test_the_gate_refuses_another_loss_or_gradient(
    changes: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    with pytest.raises(GuardError, match="differ on the same batch"):
        compared(tmp_path, **changes)


def test_the_saved_gradient_is_that_of_a_plain_padded_loss(tmp_path: Path, tiny_dir: str) -> None:
    """One row at a time through the model's own forward, as a peer would."""
    job = Job(model=tiny_dir, threads=1, gate=str(tmp_path / "batch.json"),
              out=str(tmp_path / "ours.safetensors"))  # fmt: skip
    learner, env = setting(job)
    gate.save(learner, sampled(learner, env, 0), job)
    rows = json.loads((tmp_path / "batch.json").read_text())
    network = learner.lm.causal_lm
    total = torch.zeros(())
    for row in rows:
        ids = torch.tensor([row["prompt"] + row["completion"]])
        scores = network(input_ids=ids).logits[0, :-1].log_softmax(-1)
        said = scores.gather(-1, ids[0, 1:, None])[-len(row["completion"]) :, 0]
        ratio = (said - said.detach()).exp()
        total = total - (ratio * row["advantage"]).mean() / len(rows)
    network.zero_grad()
    total.backward()
    found = {n: p.grad for n, p in network.named_parameters() if p.grad is not None}
    save_file({**found, "loss": total.detach()[None]}, tmp_path / "peer.safetensors")
    agreed = gate.compare(tmp_path / "ours.safetensors", tmp_path / "peer.safetensors")
    assert agreed["norm_ratio"] == pytest.approx(1, abs=1e-4)


def side(tmp_path: Path, name: str, body: str) -> Side:
    script = tmp_path / f"{name}.py"
    script.write_text(
        "import json, sys\nasked = dict(a[2:].split('=', 1) for a in sys.argv[1:])\n" + body
    )
    return Side(command=(sys.executable, str(script)), threads=1)


SAY = "print(json.dumps({'warmup': %s, 'seconds': %s, 'tokens': 100, 'peak_gb': 2.0}))\n"


def test_pairs_are_ratios_of_speeds_without_the_warm_up(tmp_path: Path) -> None:
    ours = side(tmp_path, "ours", SAY % (True, 100) + SAY % (False, 1))
    chatter = "print({'loss': 0.0})\n"
    peer = side(tmp_path, "peer", SAY % (True, 1) + chatter + SAY % (False, 4))
    kept = Record(None, {})
    found = paired(ours, peer, Job(model="m"), kept, num_pairs=3, tell=lambda _: None)
    assert found["ratio"] == {"median": 4.0, "low": 4.0, "high": 4.0}
    assert found["memory"]["median"] == 1.0
    assert found["pairs"] == 3


def test_pairs_that_were_measured_are_not_measured_again(tmp_path: Path) -> None:
    count = "open(__file__ + '.runs', 'a').write('x')\n"
    ours = side(tmp_path, "ours", count + SAY % (False, 1))
    peer = side(tmp_path, "peer", count + SAY % (False, 4))
    out = tmp_path / "kept.jsonl"

    def go(num_pairs: int) -> float:
        found = paired(
            ours, peer, Job(model="m"), Record(out, {"what": "step"}), num_pairs=num_pairs,
            tell=lambda _: None,
        )  # fmt: skip
        assert found["pairs"] == num_pairs
        return float(found["ratio"]["median"])

    assert go(2) == go(3) == 4.0
    assert (tmp_path / "ours.py.runs").read_text() == "xxx"
    header, *rows = map(json.loads, out.read_text().splitlines())
    assert header == {"what": "step"}
    assert [(row["side"], row["number"]) for row in rows] == [
        (name, number) for number in range(3) for name in ("ours", "peer")
    ]
    assert all(row["commit"] == commit() for row in rows)


def test_a_peer_gets_the_micro_batch_that_suits_it_best(tmp_path: Path) -> None:
    worse = "s = abs(int(asked['micro_batch']) - 8) + 1\n"
    peer = side(tmp_path, "peer", worse + SAY % ("False", "s"))
    assert best_micro_batch(peer, Job(model="m"), lambda _: None) == 8


def test_a_process_that_fails_is_told(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"ended with code 1: .*no such module"):
        side(tmp_path, "bad", "raise SystemExit('no such module')").measure(Job(model="m"))


def test_our_rollout_against_generate_of_transformers_end_to_end(tiny_dir: str) -> None:
    asked = [
        "bench", "rollout", "--set", f"model={tiny_dir}", "--set", "precision=exact",
        "--set", "threads=1", "--pairs", "1", "--json",
    ]  # fmt: skip
    done = CliRunner().invoke(app, asked)
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["ratio"]["median"] > 0
    assert found["ours"]["tokens"] == found["peer"]["tokens"] == 64 * 48
    assert "native" in found["ours"]["path"]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (["step"], "what --against hf does"),
        (["step", "--against", "trl"], "--peer-python"),
        (["rollout", "--against", "nobody"], "--against"),
        (["rollout", "--work", "W9"], "--work"),
        (["rollout", "--set", "lora=many"], "--set lora"),
        (["rollout", "--set", "colour=red"], "Use name=value with one of: model, precision"),
        (["rollout", "--set", "precision=int4"], "exact, int8"),
    ],
)
def test_what_cannot_be_measured_is_refused(asked: list[str], said: str) -> None:
    done = CliRunner().invoke(app, ["bench", *asked])
    assert isinstance(done.exception, OptionValueError)
    assert said in str(done.exception)
