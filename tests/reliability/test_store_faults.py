"""Full disks, input/output errors, damage and schemas: rows 20, 21, 22, 25 of the fault table.

Each test asserts four things: the message, what was kept, that the process lives (or its exit
code), and that a counter or report tells.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from kill_harness import run_forked, tree

from sayso.errors import CheckpointError
from sayso.runs import commit, failpoints

FILES = {"learner.safetensors": b"w" * 500, "state.json": b"{}"}
SAVE_POINTS = [
    "checkpoint.tmpdir_made",
    "checkpoint.file_half",
    "checkpoint.file_written",
    "checkpoint.file_fsynced",
    "checkpoint.manifest_written",
    "checkpoint.before_rename",
    "checkpoint.after_rename",
    "checkpoint.parent_fsynced",
]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Checkpoints of steps 1, 2 and 3."""
    for step in (1, 2, 3):
        commit.commit(tmp_path / "checkpoints", step, {**FILES, "state.json": b"%d" % step})
    return tmp_path / "checkpoints"


@pytest.mark.parametrize("action", ["enospc", "eio"])
@pytest.mark.parametrize("point", SAVE_POINTS)
def test_fault_20_and_21_a_refused_write_leaves_the_last_checkpoint_and_nothing_else(
    store: Path, point: str, action: str
) -> None:
    before = tree(store)
    failpoints.arm(f"{point}:1:{action}")
    with pytest.raises(OSError, match=r"step-00000004|tmp-4") as raised:
        commit.commit(store, 4, FILES)
    number = errno.ENOSPC if action == "enospc" else errno.EIO
    assert raised.value.errno == number
    assert raised.value.filename is not None
    assert tree(store) == before
    assert sorted(path.name for path in store.iterdir()) == [f"step-{n:08d}" for n in (1, 2, 3)]
    # Training goes on, and the next attempt, in a new file, succeeds.
    assert commit.commit(store, 4, FILES).step == 4
    found = commit.newest(store)
    assert found is not None
    assert (found.step, found.damaged) == (4, ())


@pytest.mark.parametrize("point", [*SAVE_POINTS, "checkpoint.replaced_moved"])
def test_fault_21_a_failed_replacement_keeps_the_one_of_the_same_step(
    store: Path, point: str
) -> None:
    before = tree(store)
    failpoints.arm(f"{point}:1:eio")
    with pytest.raises(OSError, match="error") as raised:
        commit.commit(store, 3, {"other": b"1"})
    assert raised.value.errno == errno.EIO
    assert tree(store) == before
    assert commit.commit(store, 3, {"other": b"1"}).read("other") == b"1"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 kB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"mounting a tmpfs is not permitted here: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_fault_20_a_really_full_disk_keeps_the_last_checkpoint(small_disk: Path) -> None:
    commit.commit(small_disk, 1, {"a": b"x" * 20_000})
    before = tree(small_disk)
    with pytest.raises(OSError, match="No space left") as raised:
        commit.commit(small_disk, 2, {"a": b"x" * 60_000})
    assert raised.value.errno == errno.ENOSPC
    assert str(raised.value.filename).endswith("/a")
    assert tree(small_disk) == before
    assert commit.commit(small_disk, 3, {"a": b"x" * 10_000}).step == 3
    found = commit.newest(small_disk)
    assert found is not None
    assert found.step == 3


def _flip(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


def _without_checksum(path: Path) -> None:
    body = json.loads(path.read_bytes())
    del body["sha256"]
    path.write_text(json.dumps(body))


def _without_one_checksum(path: Path) -> None:
    body = json.loads(path.read_bytes())
    del body["sha256"], body["files"]["state.json"]["sha256"]
    _resign(path, body)


def _resign(path: Path, body: dict[str, object]) -> None:
    """A manifest with a right checksum of itself, whatever it says."""
    body.pop("sha256", None)
    checksum = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
    path.write_text(json.dumps({**body, "sha256": checksum}))


def _link(path: Path) -> None:
    path.rename(path.parent.parent / "elsewhere")
    path.symlink_to("../elsewhere")


DAMAGE = {
    "flipped bit": ("learner.safetensors", _flip, "does not match its sha256"),
    "truncated": ("learner.safetensors", lambda p: os.truncate(p, 499), "has 499 bytes, not 500"),
    "longer": ("learner.safetensors", lambda p: os.truncate(p, 501), "has 501 bytes, not 500"),
    "missing": ("state.json", lambda p: p.unlink(), "is missing"),
    "zero length": ("state.json", lambda p: os.truncate(p, 0), "has 0 bytes"),
    "link": ("state.json", _link, "is a link"),
    "directory": ("state.json", lambda p: (p.unlink(), p.mkdir()), "not a regular file"),
    "manifest missing": ("MANIFEST.json", lambda p: p.unlink(), "is missing"),
    "manifest torn": ("MANIFEST.json", lambda p: os.truncate(p, 40), "is damaged"),
    "manifest empty": ("MANIFEST.json", lambda p: os.truncate(p, 0), "is damaged"),
    "manifest not JSON": ("MANIFEST.json", lambda p: p.write_bytes(b"\xff\xfe"), "is damaged"),
    "manifest a list": ("MANIFEST.json", lambda p: p.write_text("[]"), "is damaged"),
    "manifest nested": ("MANIFEST.json", lambda p: p.write_text("[" * 99_999), "is damaged"),
    "no checksum of itself": ("MANIFEST.json", _without_checksum, "has no checksum"),
    "no checksum of a file": ("MANIFEST.json", _without_one_checksum, "lacks an entry"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_fault_22_damage_is_named_and_the_checkpoint_before_is_taken(
    store: Path, name: str
) -> None:
    file, damage, reason = DAMAGE[name]
    damage(store / "step-00000003" / file)
    before = tree(store)
    with pytest.raises(CheckpointError, match=reason) as raised:
        commit.verify(store / "step-00000003")
    assert file in str(raised.value)
    found = commit.newest(store)
    assert found is not None
    assert found.step == 2
    assert found.read("state.json") == b"2"
    assert len(found.damaged) == 1
    assert "step-00000003" in found.damaged[0]
    assert file in found.damaged[0]
    assert tree(store) == before


def test_fault_22_all_damaged_is_an_error_that_names_each(store: Path) -> None:
    for step in (1, 2, 3):
        _flip(store / f"step-{step:08d}" / "state.json")
    before = tree(store)
    with pytest.raises(CheckpointError, match=r"no checkpoint verifies \(3 damaged\)") as raised:
        commit.newest(store)
    for step in (1, 2, 3):
        assert f"step-{step:08d}: state.json" in str(raised.value)
    assert tree(store) == before
    outcome = run_forked(lambda: commit.newest(store))
    assert outcome.exit_code == 1
    assert outcome.error.startswith("CheckpointError: [RUN-002]")


def test_fault_22_a_file_changed_after_verification_is_not_loaded(store: Path) -> None:
    found = commit.newest(store)
    assert found is not None
    _flip(found.path / "state.json")
    with pytest.raises(CheckpointError, match=r"state\.json does not match"):
        found.read("state.json")


def test_a_directory_renamed_to_another_step_does_not_verify(store: Path) -> None:
    (store / "step-00000003").rename(store / "step-00000009")
    found = commit.newest(store)
    assert found is not None
    assert found.step == 2
    assert "is of step 3" in found.damaged[0]


def test_a_linked_checkpoint_directory_is_not_followed(store: Path, tmp_path: Path) -> None:
    (store / "step-00000003").rename(tmp_path / "elsewhere")
    (store / "step-00000003").symlink_to(tmp_path / "elsewhere")
    found = commit.newest(store)
    assert found is not None
    assert found.step == 2


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/b", "..", ".hidden", "a\0b", "", "ä"])
def test_a_manifest_with_a_path_instead_of_a_name_is_refused(store: Path, name: str) -> None:
    manifest = store / "step-00000003" / "MANIFEST.json"
    body = json.loads(manifest.read_bytes())
    body["files"][name] = body["files"]["state.json"]
    _resign(manifest, body)
    with pytest.raises(CheckpointError, match="is not a plain file name"):
        commit.verify(store / "step-00000003")
    with pytest.raises(CheckpointError, match="is not a plain file name"):
        commit.commit(store, 4, {name: b""})
    assert commit.steps(store) == [1, 2, 3]


def test_two_names_that_differ_in_case_only_are_refused(store: Path) -> None:
    for names in (("a", "A"), ("manifest.JSON",)):
        with pytest.raises(CheckpointError, match="of its own"):
            commit.commit(store, 4, dict.fromkeys(names, b""))


def test_fault_25_a_newer_schema_says_which_version_it_needs_and_nothing_is_passed_over(
    store: Path,
) -> None:
    manifest = store / "step-00000003" / "MANIFEST.json"
    body = json.loads(manifest.read_bytes())
    _resign(manifest, {**body, "schema": commit.SCHEMA + 1, "sayso": "9.9.0", "files": "unknown"})
    before = tree(store)
    with pytest.raises(CheckpointError, match=r"needs sayso >= 9\.9\.0") as raised:
        commit.newest(store)
    assert f"schema {commit.SCHEMA + 1} is newer" in str(raised.value)
    assert tree(store) == before
    outcome = run_forked(lambda: commit.newest(store))
    assert outcome.exit_code == 1
    assert "RUN-002" in outcome.error


def test_a_damaged_manifest_that_claims_a_newer_schema_is_damage(store: Path) -> None:
    manifest = store / "step-00000003" / "MANIFEST.json"
    manifest.write_bytes(manifest.read_bytes().replace(b'"schema": 1', b'"schema": 9'))
    found = commit.newest(store)
    assert found is not None
    assert found.step == 2


def test_leftovers_of_dead_processes_are_removed_and_those_of_live_ones_kept(store: Path) -> None:

    def leave() -> None:
        (store / f".tmp-9-{os.getpid()}").mkdir()

    child = run_forked(leave)
    assert child.exit_code == 0
    (store / f".tmp-9-{os.getppid()}").mkdir()
    (store / f".tmp-9-{os.getpid()}").mkdir()
    (store / f".del-1-{os.getppid()}").mkdir()
    (store / "notes.txt").write_text("the user's")
    commit.commit(store, 4, FILES)
    names = sorted(path.name for path in store.iterdir() if not path.name.startswith("step-"))
    assert names == [f".tmp-9-{os.getppid()}", "notes.txt"]


def test_prune_keeps_the_newest_and_the_protected(store: Path) -> None:
    for step in (4, 5, 6):
        commit.commit(store, step, FILES)
    assert commit.prune(store, 2, {2}) == [1, 3, 4]
    assert commit.steps(store) == [2, 5, 6]
    assert commit.prune(store, 2, {2}) == []


@pytest.mark.parametrize("keep", [1, 0, -1])
def test_prune_never_leaves_fewer_than_two(store: Path, keep: int) -> None:
    with pytest.raises(ValueError, match="at least 2"):
        commit.prune(store, keep)
    assert commit.steps(store) == [1, 2, 3]


def test_prune_does_nothing_when_the_newest_does_not_verify(store: Path) -> None:
    commit.commit(store, 4, FILES)
    _flip(store / "step-00000004" / "state.json")
    assert commit.prune(store, 2) == []
    assert commit.steps(store) == [1, 2, 3, 4]


def test_what_is_being_deleted_is_no_checkpoint_any_more(store: Path) -> None:
    failpoints.arm("prune.renamed:1:raise")
    with pytest.raises(failpoints.FailpointError):
        commit.prune(store, 2)
    assert commit.steps(store) == [2, 3]
    assert [path.name for path in commit.clean(store)] == [f".del-1-{os.getpid()}"]


def test_everything_is_fsynced_before_the_rename_and_the_parent_after_it(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    fsync, rename = os.fsync, Path.rename

    def noting_fsync(descriptor: int) -> None:
        order.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        fsync(descriptor)

    def noting_rename(path: Path, target: Path) -> Path:
        order.append(f"{path.name} -> {target.name}")
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", noting_fsync)
    monkeypatch.setattr(Path, "rename", noting_rename)
    commit.commit(store, 4, FILES)
    temporary = f".tmp-4-{os.getpid()}"
    assert order == [
        "learner.safetensors",
        "state.json",
        "MANIFEST.json",
        temporary,
        f"{temporary} -> step-00000004",
        "checkpoints",
    ]


def test_prune_does_not_count_a_checkpoint_damaged_after_it_was_checked(store: Path) -> None:
    commit.commit(store, 4, FILES)
    assert commit.prune(store, 3) == [1]
    _flip(store / "step-00000003" / "state.json")
    assert commit.prune(store, 2) == []
    assert commit.steps(store) == [2, 3, 4]


def test_a_replaced_checkpoint_serves_until_its_successor_is_known_to_be_sound(
    store: Path,
) -> None:
    killed = run_forked(
        lambda: commit.commit(store, 3, {"other": b"1"}), spec="checkpoint.after_rename:1:kill"
    )
    assert killed.is_killed
    # The least convenient name: that of the process that goes on, as in a container.
    aside = next(store.glob(".old-*"))
    aside.rename(store / f".old-step-00000003-{os.getpid()}")
    _flip(store / "step-00000003" / "other")
    assert commit.clean(store) == []
    found = commit.newest(store)
    assert found is not None
    assert (found.step, found.read("state.json")) == (3, b"3")
    assert len(found.damaged) == 1
    again = commit.commit(store, 3, {"other": b"2"})
    assert again.read("other") == b"2"
    assert [path.name for path in commit.clean(store)] == [found.path.name]


def test_at_takes_one_step_and_reports_damage(store: Path) -> None:
    found = commit.at(store, 2)
    assert found is not None
    assert found.read("state.json") == b"2"
    assert commit.at(store, 7) is None
    _flip(store / "step-00000002" / "state.json")
    with pytest.raises(CheckpointError, match=r"state\.json does not match"):
        commit.at(store, 2)


def test_a_store_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert commit.newest(tmp_path / "none") is None
    assert commit.steps(tmp_path / "none") == []
    assert not (tmp_path / "none").exists()
