"""The terminal view: live in a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Sequence

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from sayso.evaluation.report import EvalReport
from sayso.runs.terminal import exchange, printable
from sayso.training.callbacks import Callback, StepReport, TrainingContext
from sayso.types import Episode

SPARKS = "▁▂▃▄▅▆▇█"
HISTORY = 48


class TerminalView(Callback):
    """Progress, reward with its spread, KL, entropy, lengths, speed by phase, a fresh sample."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(file=sys.stderr)
        self._live: Live | None = None
        self._rewards: deque[float] = deque(maxlen=HISTORY)
        self._phase, self._sample = "starting", ""
        self._last: StepReport | None = None
        self._eval = ""
        self._warnings: deque[str] = deque(maxlen=4)

    def on_training_start(self, context: TrainingContext) -> None:
        """Open the live area, if there is a terminal."""
        self._start, self._start_episodes = time.monotonic(), context.progress.num_episodes
        if self.console.is_terminal:
            self._live = Live(console=self.console, refresh_per_second=4, transient=False)
            self._live.start()
        else:
            done, total = context.progress.num_episodes, context.options.total_episodes
            self._line(f"run {context.run.path}: {done}/{total} episodes done")
        self._line(f"sampling with {context.learner.sampler().engine.path}")

    def on_rollout_start(self, context: TrainingContext) -> None:
        """Show what is going on: a step on a small machine takes a while."""
        self._show(context, "sampling")

    def on_rollout_end(self, context: TrainingContext, episodes: Sequence[Episode]) -> None:
        """Keep one fresh text."""
        played = [e for e in episodes if e.turns]
        if played:
            chosen = played[context.progress.step % len(played)]
            reward = "not graded" if chosen.return_ is None else f"{chosen.return_:.3f}"
            self._sample = f"{exchange(chosen.turns)}  [{reward}]"
        self._show(context, "updating")

    def on_step(self, context: TrainingContext, report: StepReport) -> bool | None:
        """One more point, or one line."""
        self._last = report
        if "reward/mean" in report.metrics:
            self._rewards.append(report.metrics["reward/mean"])
        self._warnings.extend(report.warnings)
        if self._live is None:
            self._line(self._summary(context, report))
            for warning in report.warnings:
                self._line(f"  warning: {printable(warning)}")
            if self._sample:
                self._line(f"  sample: {self._sample}")
        self._show(context, "done")
        return None

    def on_evaluation(self, context: TrainingContext, report: EvalReport) -> bool | None:
        """The held-out mean with its interval."""
        self._eval = f"step {context.progress.step}: {report.split} {report.mean}"
        if self._live is None:
            self._line(f"evaluation at {self._eval}")
        return None

    def on_training_end(self, context: TrainingContext) -> None:
        """Leave the last state on the screen."""
        if self._live is not None:
            self._show(context, "ended")
            self._live.stop()
            self._live = None

    def _line(self, text: str) -> None:
        self.console.print(Text(text), soft_wrap=True, highlight=False)

    def _summary(self, context: TrainingContext, report: StepReport) -> str:
        m = report.metrics
        parts = [
            f"step {report.step}",
            f"{context.progress.num_episodes}/{context.options.total_episodes} episodes",
        ]
        for name, label in (
            ("reward/mean", "reward"), ("reward/std", "±"), ("data/return_mean", "data return"),
            ("imitation/surprisal", "surprisal"), ("kl/mean", "kl"),
            ("policy/entropy", "entropy"), ("action/tokens", "tokens"),
        ):  # fmt: skip
            if name in m:
                parts.append(f"{label} {m[name]:.3g}")
        if "time/rollout_s" in m:
            speed = f"{m['time/rollout_tokens_per_s']:.0f} tok/s"
            parts.append(f"rollout {m['time/rollout_s']:.1f} s ({speed}),")
        parts.append(f"update {m['time/update_s']:.1f} s, {self._eta(context)}")
        return "  ".join(parts)

    def _eta(self, context: TrainingContext) -> str:
        done = context.progress.num_episodes - self._start_episodes
        left = context.options.total_episodes - context.progress.num_episodes
        if done <= 0:
            return "ETA ?"
        seconds = max(0.0, (time.monotonic() - self._start) / done * left)
        return f"ETA {int(seconds // 60)}:{int(seconds % 60):02d}"

    def _show(self, context: TrainingContext, phase: str) -> None:
        if self._live is None:
            return
        self._phase = phase
        self._live.update(self._screen(context))

    def _screen(self, context: TrainingContext) -> Panel:
        done, total = context.progress.num_episodes, context.options.total_episodes
        head = Table.grid(expand=True, padding=(0, 1))
        head.add_column(no_wrap=True)
        head.add_column(ratio=1)
        head.add_column(no_wrap=True)
        head.add_row(
            f"{done}/{total} episodes", ProgressBar(total=total, completed=min(done, total)),
            f"{self._eta(context)}  {self._phase}",
        )  # fmt: skip
        rows: list[Table | Text] = [head]
        if self._last is not None:
            if self._rewards:
                rows.append(Text(f"reward  {spark(list(self._rewards))}"))
            rows.append(numbers_table(self._last))
        if self._eval:
            rows.append(Text(f"evaluation  {self._eval}", style="bold"))
        if self._sample:
            rows.append(Text(f"sample  {self._sample}", style="italic"))
        rows += [Text(f"warning  {printable(w)}", style="yellow") for w in self._warnings]
        invalid = sum(context.progress.num_invalid.values())
        if invalid:
            rows.append(Text(f"invalid episodes left out: {invalid}", style="yellow"))
        return Panel(Group(*rows), title=f"sayso  {context.run.path}")


SHOWN = (
    ("reward/mean", "reward"), ("reward/std", "spread"), ("kl/mean", "KL"),
    ("data/return_mean", "data return"), ("imitation/surprisal", "data surprisal"),
    ("policy/entropy", "entropy"), ("policy/surprisal", "surprisal"),
    ("action/tokens", "tokens/action"),
    ("action/cut_frac", "cut"), ("policy/ratio", "ratio"), ("policy/clipped_frac", "clipped"),
    ("optim/grad_norm", "grad norm"), ("time/rollout_tokens_per_s", "rollout tok/s"),
    ("time/update_tokens_per_s", "update tok/s"), ("group/dead_frac", "dead groups"),
)  # fmt: skip


def numbers_table(report: StepReport) -> Table:
    """The numbers of one step in four columns; a number that was not measured is left out."""
    grid = Table.grid(expand=True, padding=(0, 2))
    cells = [
        f"{label} {report.metrics[name]:.4g}" for name, label in SHOWN if name in report.metrics
    ]
    cells += [
        f"{name.removeprefix('reward/part/')} {value:.3f}"
        for name, value in report.metrics.items()
        if name.startswith("reward/part/")
    ]
    width = 4
    for _ in range(width):
        grid.add_column(ratio=1)
    for start in range(0, len(cells), width):
        grid.add_row(*cells[start : start + width])
    return grid


def spark(values: Sequence[float]) -> str:
    """A line of block characters from lowest to highest.

    Example:
        >>> spark([0.0, 0.5, 1.0])
        '▁▅█ 0.000 → 1.000'
    """
    if not values:
        return ""
    low, high = min(values), max(values)
    span = (high - low) or 1.0
    bars = "".join(SPARKS[round((v - low) / span * (len(SPARKS) - 1))] for v in values)
    return f"{bars} {values[0]:.3f} → {values[-1]:.3f}"
