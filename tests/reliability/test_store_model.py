"""A model of the checkpoint store against the store, under crashes, damage and full disks."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from kill_harness import run_forked

from sayso.errors import CheckpointError
from sayso.runs import commit

POINTS = [
    "checkpoint.tmpdir_made",
    "checkpoint.file_half",
    "checkpoint.file_written",
    "checkpoint.file_fsynced",
    "checkpoint.manifest_written",
    "checkpoint.replaced_moved",
    "checkpoint.before_rename",
    "checkpoint.after_rename",
    "checkpoint.parent_fsynced",
    "prune.renamed",
    "prune.deleted",
]
FILES = ["a.bin", "b.json", "MANIFEST.json"]


class Store(RuleBasedStateMachine):
    """The newest verified state is loadable and equals the model."""

    def __init__(self) -> None:
        super().__init__()
        # Memory, where there is some: this test is about order, and an fsync costs milliseconds.
        memory = Path("/dev/shm")  # noqa: S108
        self.root = Path(tempfile.mkdtemp(dir=memory if memory.is_dir() else None))
        self.parent = self.root / "checkpoints"
        self.states: dict[int, dict[str, bytes]] = {}
        self.damaged: set[int] = set()
        self.step = 0

    def teardown(self) -> None:
        shutil.rmtree(self.root)

    def _files(self, content: bytes) -> dict[str, bytes]:
        return {"a.bin": content, "b.json": b"{}" + content}

    @initialize(content=st.binary(max_size=64))
    def first(self, content: bytes) -> None:
        self.save(content)

    @rule(content=st.binary(max_size=64))
    def save(self, content: bytes) -> None:
        self.step += 1
        commit.commit(self.parent, self.step, self._files(content))
        self.states[self.step] = self._files(content)

    @rule(content=st.binary(max_size=64))
    def save_again(self, content: bytes) -> None:
        commit.commit(self.parent, self.step, self._files(content))
        self.states[self.step] = self._files(content)
        self.damaged.discard(self.step)

    @rule(
        content=st.binary(max_size=64),
        point=st.sampled_from(POINTS),
        hit=st.integers(1, 4),
        is_new=st.booleans(),
        action=st.sampled_from(["kill", "enospc", "eio"]),
    )
    def save_and_fail(
        self, content: bytes, point: str, hit: int, action: str, *, is_new: bool
    ) -> None:
        step = self.step + is_new
        files = self._files(content)
        before = self._newest()

        def body() -> None:
            commit.commit(self.parent, step, files)
            commit.prune(self.parent, 2)

        run_forked(body, spec=f"{point}:{hit}:{action}")
        after = self._newest()
        # Either the new state, whole, or the one before, whole; never a third thing.
        assert after in (before, (step, files)), (before, after)
        self._forget_pruned()
        if after == (step, files):
            self.states[step] = files
            self.damaged.discard(step)
        self.step = max(self.step, after[0]) if after else self.step

    @precondition(lambda self: len(set(self.states) - self.damaged) > 1)
    @rule(data=st.data())
    def corrupt(self, data: st.DataObject) -> None:
        step = data.draw(st.sampled_from(sorted(set(self.states) - self.damaged)))
        commit.clean(self.parent)  # else the one it replaced, if still there, would be found
        file = self.parent / f"step-{step:08d}" / data.draw(st.sampled_from(FILES))
        how = data.draw(st.sampled_from(["flip", "cut", "grow", "empty", "missing", "link"]))
        content = file.read_bytes() if file.exists() else None
        if content is None or (not content and how in ("flip", "cut", "empty")):
            return
        if how == "flip":
            place = data.draw(st.integers(0, len(content) - 1))
            bit = 1 << data.draw(st.integers(0, 7))
            file.write_bytes(content[:place] + bytes([content[place] ^ bit]) + content[place + 1 :])
        elif how == "cut":
            file.write_bytes(content[: max(0, len(content) - 2)])  # more than a final newline
        elif how == "grow":
            file.write_bytes(content + b"\0x")
        elif how == "empty":
            file.write_bytes(b"")
        else:
            file.unlink()
            if how == "link":
                file.symlink_to("/etc/hostname")
        self.damaged.add(step)

    @rule(keep=st.integers(2, 3), protected=st.integers(0, 6))
    def prune(self, keep: int, protected: int) -> None:
        steps = commit.steps(self.parent)
        sound = [step for step in steps if step not in self.damaged]
        deleted = commit.prune(self.parent, keep, {protected})
        assert protected not in deleted
        left = commit.steps(self.parent)
        assert sorted([*left, *deleted]) == steps
        # Nothing sound is lost unless enough newer sound ones are there.
        for step in deleted:
            assert len([s for s in sound if s > step and s in left]) >= keep
        self._forget_pruned()

    @invariant()
    def newest_equals_the_model(self) -> None:
        sound = sorted(set(self.states) - self.damaged)
        found = self._newest()
        assert found == ((sound[-1], self.states[sound[-1]]) if sound else None)

    @invariant()
    def reading_changes_nothing_and_names_what_it_passed_over(self) -> None:
        found = commit.newest(self.parent)
        if found is not None:
            newer = [step for step in self.damaged if step > found.step]
            assert len(found.damaged) == len(newer)

    def _newest(self) -> tuple[int, dict[str, bytes]] | None:
        try:
            found = commit.newest(self.parent)
        except CheckpointError:
            return None
        if found is None:
            return None
        return found.step, {name: found.read(name) for name in found.manifest.files}

    def _forget_pruned(self) -> None:
        there = set(commit.steps(self.parent))
        self.states = {step: files for step, files in self.states.items() if step in there}
        self.damaged &= there


@pytest.mark.medium
def test_the_newest_verified_state_is_loadable_and_equals_the_model() -> None:
    run_state_machine_as_test(
        Store,
        settings=settings(
            max_examples=60,
            stateful_step_count=20,
            deadline=None,
            database=None,
            phases=[Phase.generate],  # the steps are printed; shrinking forks for minutes
            suppress_health_check=list(HealthCheck),
        ),
    )
