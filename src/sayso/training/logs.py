"""What a run writes beside its checkpoints: metrics, episodes, evaluations, bad batches, notes."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from sayso.runs.durable import replace_file
from sayso.runs.jsonl import JsonlLog
from sayso.runs.ledger import EpisodeLog, episode_to_json
from sayso.runs.run import Run
from sayso.types import Episode

_log = logging.getLogger("sayso")


class RunLogs:
    """The append-only logs of a run, cut back to where a checkpoint left them.

    Lines written after the checkpoint belong to steps that will be done again, with the same
    numbers; keeping them would count those steps twice.
    """

    def __init__(self, run: Run, offsets: Mapping[str, int]) -> None:
        self.run = run
        self.metrics = JsonlLog(run.metrics)
        self.episodes = EpisodeLog(run.episodes)
        self.truncate({"metrics": 0, "episodes": 0, **offsets})

    def append(self, step: int, metrics: Mapping[str, float], episodes: Sequence[Episode]) -> None:
        """One line of metrics and one per episode."""
        self.metrics.append({"step": step, **metrics})
        if episodes:
            self.episodes.append(step, episodes)

    def offsets(self) -> dict[str, int]:
        """Length of each log in bytes."""
        return {"metrics": self.metrics.offset, "episodes": self.episodes.offset}

    def truncate(self, offsets: Mapping[str, int]) -> None:
        """Cut each log back."""
        self.metrics.truncate(offsets["metrics"])
        self.episodes.truncate(offsets["episodes"])

    def flush(self) -> None:
        """Put everything on the disk: a checkpoint must not know more than its logs.

        Raises:
            OSError: If the disk refuses; the lines stay in memory and are tried again.
        """
        if not (self.metrics.flush() and self.episodes.flush()):
            raise OSError("the logs could not be written to the disk")

    def close(self) -> None:
        """Flush and close."""
        self.metrics.close()
        self.episodes.close()

    def note(self, sentence: str) -> None:
        """Tell the user something that is no metric; keep it in ``notes.jsonl`` if that can be."""
        _log.warning(sentence)
        try:
            notes = JsonlLog(self.run.path / "notes.jsonl")
        except OSError as error:
            _log.warning("%s: the note could not be kept: %s", self.run.path, error)
            return
        notes.append({"note": sentence})
        notes.close()

    def save_bad_batch(self, step: int, episodes: Sequence[Episode], reason: str) -> None:
        """Keep the episodes whose update was refused, for whoever looks into it, if it can be."""
        folder = self.run.path / "bad"
        text = json.dumps(
            {"step": step, "reason": reason, "episodes": [episode_to_json(e) for e in episodes]}
        )
        try:
            folder.mkdir(exist_ok=True)
            (folder / f"step-{step:08d}.json").write_text(text)
        except OSError as error:
            self.note(f"step {step}: the refused batch could not be kept: {error}")


def write_evaluation(run: Run, step: int, report: Mapping[str, Any]) -> None:
    """One file per evaluation, named by step; done again after a crash, it is the same file.

    Raises:
        OSError: If the disk refuses.
    """
    run.eval.mkdir(exist_ok=True)
    data = json.dumps({"step": step, **report}, sort_keys=True).encode()
    replace_file(run.eval / f"step-{step:08d}.json", data)
