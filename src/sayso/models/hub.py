"""Whether the hub of models can be asked: one short question, no retries to wait for."""

from __future__ import annotations

from http.client import HTTPException
from threading import Thread
from urllib.request import Request, urlopen

REACH_S = 3.0


def has_cached(repo: str, *files: str) -> bool:
    """Whether the hub's own cache holds these files of a repository."""
    from huggingface_hub import try_to_load_from_cache

    try:
        return all(isinstance(try_to_load_from_cache(repo, file), str) for file in files)
    except ValueError:  # no name that a repository can have
        return False


def is_reachable() -> bool:
    """Whether the hub answers at all; one of your own is taken to."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    is_ours = constants.ENDPOINT.rstrip("/") != "https://huggingface.co"
    return is_ours or answers(constants.ENDPOINT)


def answers(url: str) -> bool:
    """Whether an address answers within ``REACH_S``."""
    found: list[bool] = []
    asking = Thread(target=lambda: found.append(_ask(url)), daemon=True)
    asking.start()
    asking.join(REACH_S)  # looking up the host's name has no limit of its own
    return found == [True]


def _ask(url: str) -> bool:
    if not url.startswith("https://"):
        return False
    question = Request(url, method="HEAD", headers={"User-Agent": "sayso"})  # noqa: S310  # https
    try:
        with urlopen(question, timeout=REACH_S) as answer:  # noqa: S310  # https
            return bool(answer.status < 400)
    except (OSError, HTTPException):
        return False
