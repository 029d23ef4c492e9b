"""What the tests of whole commands share."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny_models


@pytest.fixture
def tiny_dir(tmp_path: Path) -> str:
    """A chat model as a plain directory."""
    model, tokenizer = tiny_models.tiny_chat()
    model.save_pretrained(tmp_path / "tiny")
    tokenizer.save_pretrained(tmp_path / "tiny")
    return str(tmp_path / "tiny")
