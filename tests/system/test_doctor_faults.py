"""The doctor says what is wrong, whatever a check raises: never a traceback."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer

from sayso.cli import doctor

FAULTY = """
import numpy as np
import sayso

class Sound(sayso.TextEnv):
    max_turns = 1
    def tasks(self, split):
        return [sayso.Task(id=f"t{n}", env="Env", split=split, payload={"n": n}) for n in range(4)]
    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.choose(seed, options)
        return "", {}
    def step(self, action):
        return "", float("a" in action), True, False, {}

class DupIds(Sound):
    def tasks(self, split):
        return [sayso.Task(id="t", env="Env", split=split, payload={"n": n}) for n in range(8)]

class NumpyPayload(Sound):
    def tasks(self, split):
        return [sayso.Task(id=f"t{n}", env="Env", split=split, payload={"n": np.int64(n)})
                for n in range(4)]

"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "faulty_envs.py").write_text(FAULTY)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    return "faulty_envs"


def told(capsys: pytest.CaptureFixture[str], env: str) -> dict[str, str]:
    """What the doctor holds against a recipe with this environment."""
    with pytest.raises(typer.Exit) as left:
        doctor.run("tinylang", overrides=[f"env.id={env}"], as_json=True)
    assert left.value.exit_code == 2
    findings = json.loads(capsys.readouterr().out)["findings"]
    return {f["name"]: f["says"] for f in findings if not f["ok"]}


@pytest.mark.medium
def test_tasks_of_one_id_are_a_finding(module: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = told(capsys, f"{module}:DupIds")
    assert list(found) == ["environment check"]
    assert "the id 't' stands for 8 tasks of 'train'" in found["environment check"]


@pytest.mark.medium
def test_whatever_a_check_raises_is_a_finding(
    module: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("not again")

    monkeypatch.setattr("sayso.app.opening.require_playable", broken)
    found = told(capsys, f"{module}:Sound")
    assert list(found) == ["environment check"]
    assert found["environment check"].startswith("ZeroDivisionError: not again (test_doctor_faults")


@pytest.mark.medium
def test_a_payload_that_is_no_json_is_a_finding(
    module: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found = told(capsys, f"{module}:NumpyPayload")
    assert list(found) == ["environment check"]
    assert "task 't0' of 'train', payload.n: np.int64(0) (int64)" in found["environment check"]
