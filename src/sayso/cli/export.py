"""``sayso export``."""

from __future__ import annotations

from pathlib import Path

from sayso.cli.restore import restore
from sayso.errors import RunError
from sayso.runs.run import Run


def run(path: Path, directory: Path, *, checkpoint: str) -> None:
    """Write a run's policy as a plain Hugging Face directory."""
    from sayso.app.cards import export_policy

    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        problem = "is not empty." if directory.is_dir() else "is a file."
        raise RunError(where=str(directory), problem=problem, fix="Name a new directory.")
    config, learner, step = restore(path, checkpoint)
    export_policy(
        config, learner.lm, directory,
        run=Run.open(path), step=step, is_base=checkpoint == "base",
    )  # fmt: skip
    print(f"Step {step} of {path} written to {directory}.")
    print(f'Load it: AutoModelForCausalLM.from_pretrained("{directory}")')
