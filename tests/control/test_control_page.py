"""The page about control is run, and lists every option."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from sayso.control.learner import AgentTrainOptions, LearnerOptions, TaskOptions
from sayso.control.options import KNOBS, MODES, ControlOptions
from sayso.models.options import ModelOptions

PAGE = (Path(__file__).parents[2] / "docs/control.md").read_text(encoding="utf-8")


@pytest.mark.medium
def test_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As written, but with a random model and few steps."""
    pytest.importorskip("stable_baselines3")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) == 4
    namespace: dict[str, object] = {"__name__": "control_page"}
    for number, block in enumerate(blocks):
        code = block.replace('"smollm2"', '"tiny"').replace("10_000)", "8)")
        code = code.replace("timesteps=800", "timesteps=16").replace("8_192", "16")
        code = code.replace('Acts-v0", lm="tiny"', 'Acts-v0", lm="tiny", context="turn"')
        code = code.replace("num_episodes=64", "num_episodes=4")
        exec(compile(code, f"control.md block {number}", "exec"), namespace)  # noqa: S102
    assert (tmp_path / "sac_model.zip").is_file()


def test_every_option_stands_on_the_page() -> None:
    records = (ModelOptions, ControlOptions, TaskOptions, LearnerOptions, AgentTrainOptions)
    for record in records:
        for field in [field for field in fields(record) if field.name != "lora"]:  # it is frozen
            assert f"| `{field.name}` |" in PAGE


def test_every_mode_and_knob_stands_on_the_page() -> None:
    assert all(f"| `{mode}` |" in PAGE for mode in MODES)
    assert all(knob in PAGE for knob in (*MODES, *(k.replace("_", "-") for k in KNOBS)))
