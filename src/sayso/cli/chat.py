"""``sayso chat``."""

from __future__ import annotations

import sys
from pathlib import Path

from sayso.cli.restore import restore
from sayso.runs.terminal import printable


def run(path: Path, *, checkpoint: str, seed: int, max_new_tokens: int | None) -> None:
    """Read a line, answer it, keep the conversation's context; ends at an empty line.

    In a terminal it is shown who speaks; a pipe gets the answers alone, a line each.
    """
    from sayso.sampling.base import Request
    from sayso.seeds import derive

    _, learner, step = restore(path, checkpoint)
    policy = learner.policy()
    budget = policy.max_new_tokens if max_new_tokens is None else max_new_tokens
    is_terminal = sys.stdin.isatty()
    you, them = ("you> ", "policy> ") if is_terminal else ("", "")
    print(
        f"{path} at step {step}. An empty line ends the conversation.",
        file=sys.stdout if is_terminal else sys.stderr,
    )
    length, closed, turn = 0, True, 0
    while True:
        print(you, end="", flush=True)
        line = sys.stdin.readline().rstrip("\n")
        if not line:
            break
        ids = policy.chat.prompt(line) if turn == 0 else policy.chat.reply(line, closed=closed)
        if length + len(ids) + budget > policy.engine.max_context:
            print("(the context is full: this conversation ends here)", file=sys.stderr)
            break
        policy.engine.submit(
            Request(
                session="chat",
                new_ids=ids,
                seed=derive(seed, "chat", turn),
                max_new_tokens=budget,
            )
        )
        (completion,) = policy.engine.poll()
        length += len(ids) + len(completion.ids)
        closed = policy.chat.is_closed(completion.ids)
        text = policy.chat.answer(completion.ids, policy.stop)
        print(f"{them}{printable(text)}", flush=True)
        turn += 1
    policy.engine.close("chat")
