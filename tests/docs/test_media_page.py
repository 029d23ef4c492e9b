"""The page about pictures and sound is run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from media_models import shown, sound

from sayso.models.lm import LanguageModel

PAGE = (Path(__file__).parents[2] / "docs/media.md").read_text(encoding="utf-8")


def test_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) == 2
    namespace: dict[str, object] = {"__name__": "media_page"}
    for number, block in enumerate(blocks):
        exec(compile(block, f"media.md block {number}", "exec"), namespace)  # noqa: S102
    assert isinstance(namespace["answer"], str)
    lm = namespace["lm"]
    assert isinstance(lm, LanguageModel)
    assert max(lm.chat.prompt(shown("<audio>", sound()))) > lm.vocabulary
