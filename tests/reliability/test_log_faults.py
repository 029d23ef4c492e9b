"""Torn, damaged and refused log records, hostile text: rows 13, 20, 24 of the fault table."""

from __future__ import annotations

import json
import subprocess
import warnings
from collections.abc import Iterable
from pathlib import Path

import pytest
from kill_harness import run_forked

from sayso.errors import LogError
from sayso.runs import failpoints
from sayso.runs.jsonl import JsonlLog, read
from sayso.runs.ledger import EpisodeLog, episode_to_json, read_episodes
from sayso.runs.terminal import printable
from sayso.types import EndReason, Episode, Failure, Task, Turn

RECORDS = [{"step": 1, "text": 'é\n"\\'}, {"step": 2, "x": -1.5e-300}, {"step": 3, "n": [1, {}]}]
HOSTILE = [
    "lone \ud800 high",
    "lone \udfff low",
    "apart \ud83d" + "\ude00 apart",
    "NUL \x00 here",
    "\x1b[31mred\x1b[0m \x1b]0;title\x07 \x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\",
    "\u202eevil\u202c \u2066x\u2069 \u200f\u061c",
    "<script>alert(1)</script>",
    "\x9b31m \x85 \x7f \r\n \u2028 \u2029",
    "\\ud800 and \\n are six and two characters",
]


def _write(path: Path, records: list[dict[str, object]]) -> bytes:
    with JsonlLog(path) as log:
        _append_all(log, records)
    return path.read_bytes()


def _append_all(log: JsonlLog, records: Iterable[dict[str, object]]) -> None:
    for record in records:
        log.append(record)


def test_fault_24_a_log_cut_at_every_byte_keeps_whole_records_and_takes_the_next(
    tmp_path: Path,
) -> None:
    whole = _write(tmp_path / "whole", RECORDS)
    ends = [i + 1 for i, byte in enumerate(whole) if byte == ord("\n")]
    for cut in range(len(whole) + 1):
        path = tmp_path / f"cut-{cut}"
        path.write_bytes(whole[:cut])
        # A record is whole without its newline: its closing brace is there.
        num_whole = sum(end - 1 <= cut for end in ends)
        assert list(read(path)) == RECORDS[:num_whole]
        assert path.read_bytes() == whole[:cut]
        with JsonlLog(path) as log:
            assert log.offset == ([0, *ends])[num_whole]
            log.append({"next": True})
            assert log.num_dropped == 0
        assert list(read(path)) == [*RECORDS[:num_whole], {"next": True}]


GARBAGE = {
    "zeros": b"\0" * 30,
    "half a record": b'{"step": 2, "x"',
    "two joined": b'{"step": 2}{"step": 3}',
    "not an object": b"[1]",
    "a number": b"17",
    "NaN": b'{"x": NaN}',
    "not ASCII": '{"x": "é"}'.encode("latin-1"),
    "nested": b"[" * 100_000,
    "empty": b"",
}


@pytest.mark.parametrize("name", GARBAGE)
def test_fault_24_damage_in_the_middle_is_reported_with_its_line(tmp_path: Path, name: str) -> None:
    path = tmp_path / "log"
    lines = _write(path, RECORDS).splitlines(keepends=True)
    damaged = lines[0] + GARBAGE[name] + b"\n" + lines[2]
    path.write_bytes(damaged)
    records = read(path)
    assert next(records) == RECORDS[0]
    with pytest.raises(LogError, match=r"log, line 2: not a record") as raised:
        next(records)
    assert "RUN-003" in str(raised.value)
    assert path.read_bytes() == damaged
    outcome = run_forked(lambda: list(read(path)))
    assert outcome.exit_code == 1
    assert "line 2" in outcome.error
    # Opening for appending destroys nothing either.
    JsonlLog(path).close()
    assert path.read_bytes() == damaged


def test_fault_24_a_log_longer_than_one_read_is_repaired_at_its_tail_only(tmp_path: Path) -> None:
    path = tmp_path / "log"
    whole = _write(path, [{"text": "x" * 50_000}] * 5)
    path.write_bytes(whole + b'{"text": "' + b"y" * 200_000)
    with JsonlLog(path) as log:
        assert log.offset == len(whole)
    assert path.read_bytes() == whole
    path.write_bytes(b'{"' + b"y" * 200_000)
    with JsonlLog(path) as log:
        assert log.offset == 0
    assert path.read_bytes() == b""


@pytest.mark.parametrize("point", ["log.before", "log.half"])
@pytest.mark.parametrize("action", ["enospc", "eio"])
def test_fault_20_a_full_disk_keeps_records_in_memory_and_training_alive(
    tmp_path: Path, point: str, action: str
) -> None:
    path = tmp_path / "log"
    log = JsonlLog(path)
    log.append({"step": 1})
    failpoints.arm(f"{point}:1+:{action}")
    with pytest.warns(RuntimeWarning, match=r"the disk refuses records") as caught:
        _append_all(log, [{"step": step} for step in (2, 3, 4)])
    assert len(caught) == 1
    assert str(path) in str(caught[0].message)
    assert f"errno {28 if action == 'enospc' else 5}" in str(caught[0].message)
    assert (log.num_buffered, log.num_dropped) == (3, 0)
    assert list(read(path)) == [{"step": 1}]
    assert log.offset == path.stat().st_size
    assert log.flush() is False
    failpoints.disarm()
    log.append({"step": 5})
    assert (log.num_buffered, log.num_dropped) == (0, 0)
    assert log.flush() is True
    log.close()
    assert list(read(path)) == [{"step": step} for step in range(1, 6)]


def test_fault_20_beyond_the_buffer_records_are_dropped_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = JsonlLog(path, buffer_bytes=40)
    failpoints.arm("log.half:1+:enospc")
    with pytest.warns(RuntimeWarning, match="dropped and counted"):
        _append_all(log, [{"step": step} for step in range(10)])  # 11 bytes each
    assert (log.num_buffered, log.num_dropped) == (3, 7)
    failpoints.disarm()
    log.append({"step": 10})
    assert (log.num_buffered, log.num_dropped) == (0, 7)
    log.close()
    assert [record["step"] for record in read(path)] == [0, 1, 2, 10]


def test_fault_20_what_waits_when_a_log_is_closed_counts_as_dropped(tmp_path: Path) -> None:
    log = JsonlLog(tmp_path / "log")
    failpoints.arm("log.half:1+:enospc")
    with pytest.warns(RuntimeWarning, match="refuses"):
        log.append({"step": 1})
    log.close()
    log.close()
    assert log.num_dropped == 1
    assert (tmp_path / "log").read_bytes() == b""


def test_fault_20_a_really_full_disk_tears_no_record(tmp_path: Path) -> None:
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
    try:
        log = JsonlLog(place / "log")
        with pytest.warns(RuntimeWarning, match="No space left"):
            _append_all(log, [{"step": step, "text": "x" * 1000} for step in range(100)])
        assert log.num_buffered > 0
        written = [record["step"] for record in read(place / "log")]
        assert written == list(range(len(written)))
        assert (place / "log").stat().st_size == log.offset
        log.truncate(0)
        assert (log.offset, log.num_buffered) == (0, 0)
        log.append({"step": 0})
        log.close()
        assert list(read(place / "log")) == [{"step": 0}]
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_a_record_written_but_followed_by_an_error_is_not_written_twice(tmp_path: Path) -> None:
    log = JsonlLog(tmp_path / "log")
    failpoints.arm("log.after:1:eio")
    with pytest.warns(RuntimeWarning, match="refuses"):
        log.append({"step": 1})
    log.append({"step": 2})
    log.close()
    assert list(read(tmp_path / "log")) == [{"step": 1}, {"step": 2}]


def test_truncate_goes_back_to_an_offset_and_refuses_all_others(tmp_path: Path) -> None:
    log = JsonlLog(tmp_path / "log")
    offsets = [log.offset]
    for record in RECORDS:
        log.append(record)
        offsets.append(log.offset)
    before = (tmp_path / "log").read_bytes()
    for offset in set(range(offsets[-1] + 5)) - set(offsets):
        reason = f"has {offsets[-1]} bytes" if offset > offsets[-1] else f"ends at byte {offset},"
        with pytest.raises(LogError, match=reason):
            log.truncate(offset)
    assert (tmp_path / "log").read_bytes() == before
    assert list(read(tmp_path / "log", offset=offsets[2])) == RECORDS[:2]
    log.truncate(offsets[1])
    log.append({"again": 1})
    log.close()
    assert list(read(tmp_path / "log")) == [RECORDS[0], {"again": 1}]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_number_that_is_not_finite_is_refused_and_named(tmp_path: Path, value: float) -> None:
    log = JsonlLog(tmp_path / "log")
    with pytest.raises(ValueError, match=r"^a\.b\[1\] is -?(nan|inf); a log holds finite"):
        log.append({"a": {"b": [1.0, value]}})
    log.append({"step": 1})
    log.close()
    assert list(read(tmp_path / "log")) == [{"step": 1}]


def test_a_log_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("precious")
    (tmp_path / "log").symlink_to(tmp_path / "target")
    with pytest.raises(OSError, match="symbolic"):
        JsonlLog(tmp_path / "log")
    assert (tmp_path / "target").read_text() == "precious"


def _episode(text: str) -> Episode:
    turn = Turn(
        observation_ids=(1, 2),
        action_ids=(3,),
        action_logprobs=(-0.0,),
        reward=5e-324,
        reward_parts={text: None, "other": float("-inf")},
        observation=text,
        action=text,
        choices=(text, ""),
    )
    return Episode(
        task=Task(id=text, env=text, split="train", payload={"a": [1, None, {"b": "é"}]}),
        sample_index=0,
        policy_version=2**60,
        turns=(turn,),
        end=EndReason.FAILED,
        failure=Failure(kind="env_raised", message=text, detail=text),
        seed_path=("rollout", 3, text),
    )


@pytest.mark.parametrize("text", HOSTILE)
def test_fault_13_hostile_text_is_lossless_in_the_store_and_inert_on_the_terminal(
    tmp_path: Path, text: str
) -> None:
    path = tmp_path / "episodes.jsonl"
    log = EpisodeLog(path)
    log.append(7, [_episode(text), _episode("plain")])
    assert log.num_dropped == 0
    log.close()
    # Valid UTF-8 JSON, one record a line, nothing a terminal or a line splitter could act on.
    raw = path.read_bytes()
    assert all(byte == ord("\n") or 32 <= byte < 127 for byte in raw)
    assert len([json.loads(line) for line in raw.decode("utf-8").splitlines()]) == 2
    assert list(read_episodes(path)) == [(7, _episode(text)), (7, _episode("plain"))]
    shown = printable(text)
    shown.encode("utf-8")
    assert not any((ord(c) < 32 and c not in "\n\t") or 127 <= ord(c) < 160 for c in shown)
    assert not any(c in shown for c in "\u202e\u202c\u2066\u2069\u200f\u061c\u2028\u2029")
    assert "http://x" not in shown
    assert "title" not in shown


def test_fault_24_a_line_that_is_json_but_no_episode_is_named(tmp_path: Path) -> None:
    path = tmp_path / "episodes.jsonl"
    record = {"step": 1, "episode": episode_to_json(_episode("x"))}
    broken = json.loads(json.dumps(record))
    broken["episode"]["end"] = "vanished"
    _write(path, [record, broken])
    with pytest.raises(LogError, match=r"episodes\.jsonl, line 2: not an episode .*vanished"):
        list(read_episodes(path))


def test_warnings_as_errors_do_not_lose_a_record(tmp_path: Path) -> None:
    log = JsonlLog(tmp_path / "log")
    failpoints.arm("log.half:1:enospc")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(RuntimeWarning):
            log.append({"step": 1})
    log.append({"step": 2})
    log.close()
    assert [record["step"] for record in read(tmp_path / "log")] == [1, 2]
