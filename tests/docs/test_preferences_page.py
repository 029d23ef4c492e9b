"""The page on preferences is run: its file, its Python, its recipe table against the records."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from sayso.data.preference_files import PreferenceOptions, read_preferences
from sayso.models.reward_network import RewardModelOptions
from sayso.training.reward_model import RewardTrainOptions

PAGE = (Path(__file__).parents[2] / "docs/preferences.md").read_text(encoding="utf-8")


def test_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, text in re.findall(r"`(\w+\.jsonl)`:\n\n```\n(.*?)```", PAGE, re.DOTALL):
        (tmp_path / name).write_text(text)
    (tmp_path / "pairs.jsonl").read_text()
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) == 3
    namespace: dict[str, object] = {"__name__": "preferences_page"}
    for number, block in enumerate(blocks):
        exec(compile(block, f"preferences.md block {number}", "exec"), namespace)  # noqa: S102
    assert len(read_preferences("copy.jsonl")) == 4


def test_the_table_names_every_option() -> None:
    table = PAGE.split("| table | option |")[1].split("\n\n")[0]
    for record in (RewardModelOptions, PreferenceOptions, RewardTrainOptions):
        for field in dataclasses.fields(record):
            assert f"`{field.name}`" in table, field.name
