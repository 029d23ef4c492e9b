"""The pages on Persona-v0 and Summary-v0: code that runs, tables that the lines print."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from scenario_pages import bounds_of

FOLDER = Path(__file__).parents[2] / "docs/scenarios"
PAGES = {
    name: (FOLDER / f"{name}.md").read_text(encoding="utf-8") for name in ("persona", "summary")
}


@pytest.mark.parametrize(("name", "num_blocks"), [("persona", 2), ("summary", 1)])
def test_the_page_runs(
    name: str, num_blocks: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for file, text in re.findall(r"`(\w+\.jsonl)`:\n\n```\n(.*?)```", PAGES[name], re.DOTALL):
        (tmp_path / file).write_text(text)
    blocks = re.findall(r"```python\n(.*?)```", PAGES[name], re.DOTALL)
    assert len(blocks) == num_blocks
    namespace: dict[str, object] = {"__name__": name}
    for number, block in enumerate(blocks):
        exec(compile(block, f"{name}.md block {number}", "exec"), namespace)  # noqa: S102
    env = namespace["env"]
    assert sum(len(env.tasks(split)) for split in ("train", "held_out", "unseen")) == 2  # type: ignore[attr-defined]


@pytest.mark.medium
@pytest.mark.parametrize("name", PAGES)
def test_the_table_of_bounds_is_what_its_line_prints(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    told, printed = bounds_of(PAGES[name], capsys)
    assert told == printed
