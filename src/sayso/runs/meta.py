"""What a run was made with: versions, platform, command line, commit."""

from __future__ import annotations

import platform
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = ("sayso", "torch", "transformers", "gymnasium", "safetensors", "numpy", "peft")


def collect(*, seed: int, argv: Sequence[str] | None = None) -> dict[str, Any]:
    """JSON values for ``meta.json``. Reads no environment variable.

    Args:
        seed: The run's seed.
        argv: Command line; ``None`` takes this process's.
    """
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "seed": seed,
        "argv": list(sys.argv if argv is None else argv),
        "git_commit": git_commit(Path.cwd()),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": {name: _version(name) for name in PACKAGES},
    }


def git_commit(directory: Path) -> str | None:
    """Hash of the commit checked out around ``directory``, read without running git."""
    for parent in (directory, *directory.parents):
        git = parent / ".git"
        if git.exists():
            try:
                return _head(_git_directory(git))
            except (OSError, UnicodeDecodeError, IndexError):
                return None
    return None


def _git_directory(git: Path) -> Path:
    """A worktree's ``.git`` is a file that names the real directory."""
    if git.is_dir():
        return git
    return git.parent / git.read_text().removeprefix("gitdir:").strip()


def _head(git: Path) -> str | None:
    head = (git / "HEAD").read_text().strip()
    if not head.startswith("ref:"):
        return head or None
    name = head.removeprefix("ref:").strip()
    common = git / "commondir"
    shared = git / common.read_text().strip() if common.is_file() else git
    for place in (git, shared):
        if (place / name).is_file():
            return (place / name).read_text().strip()
    packed = shared / "packed-refs"
    lines = packed.read_text().splitlines() if packed.is_file() else []
    return next((line.split()[0] for line in lines if line.endswith(f" {name}")), None)


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
