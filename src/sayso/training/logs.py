"""What a run writes beside its checkpoints: metrics, episodes, evaluations, bad batches, notes."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any

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
        """Tell the user something that is no metric, and keep it in ``notes.jsonl``."""
        _log.warning(sentence)
        notes = JsonlLog(self.run.path / "notes.jsonl")
        notes.append({"note": sentence})
        notes.close()

    def save_bad_batch(self, step: int, episodes: Sequence[Episode], reason: str) -> None:
        """Keep the episodes whose update was refused, for whoever looks into it."""
        folder = self.run.path / "bad"
        folder.mkdir(exist_ok=True)
        text = json.dumps(
            {"step": step, "reason": reason, "episodes": [episode_to_json(e) for e in episodes]}
        )
        (folder / f"step-{step:08d}.json").write_text(text)


def write_evaluation(run: Run, step: int, report: Mapping[str, Any]) -> None:
    """One file per evaluation, named by step; done again after a crash, it is the same file."""
    target = run.eval / f"step-{step:08d}.json"
    partial = target.with_suffix(".tmp")
    partial.write_text(json.dumps({"step": step, **report}, sort_keys=True))
    partial.replace(target)
