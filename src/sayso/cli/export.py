"""``sayso export``."""

from __future__ import annotations

from pathlib import Path

from sayso.cli.restore import restore
from sayso.errors import RunError


def run(path: Path, directory: Path, *, checkpoint: str) -> None:
    """Write a run's policy as a plain Hugging Face directory."""
    from sayso.app.facade import export_policy

    if directory.exists() and any(directory.iterdir()):
        raise RunError(where=str(directory), problem="is not empty.", fix="Name a new directory.")
    config, learner, step = restore(path, checkpoint)
    export_policy(config, learner.lm, directory, run=path)
    print(f"Step {step} of {path} written to {directory}.")
    print(f'Load it: AutoModelForCausalLM.from_pretrained("{directory}")')
