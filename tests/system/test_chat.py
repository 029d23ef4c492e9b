"""``sayso chat`` goes on from the contexts that a rollout would have made."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tiny_models

from sayso.cli import chat
from sayso.models.load import load
from sayso.sampling.base import Completion, Policy, Request
from sayso.types import FinishReason

LM = load(tiny_models.tiny_chat())
STOP_TOKEN = min(LM.chat.stop_ids)


class Scripted:
    """Says the same each time and keeps what it was asked."""

    max_context, path = 10_000, "scripted"

    def __init__(self, ids: tuple[int, ...]) -> None:
        self.ids, self.requests = ids, list[Request]()

    def submit(self, request: Request) -> None:
        self.requests.append(request)

    def poll(self) -> list[Completion]:
        return [
            Completion(
                session="chat",
                ids=self.ids,
                logprobs=(-1.0,) * len(self.ids),
                finish=FinishReason.STOP,
            )
        ]

    def close(self, session: str) -> None: ...

    def sync(self) -> None: ...


@pytest.mark.parametrize(
    ("said", "ending", "shown", "closed"),
    [("Hello.#And", (), "Hello.", False), ("Hello.", (STOP_TOKEN,), "Hello.", True)],
    ids=["stop string", "stop token"],
)
def test_a_stop_string_is_cut_from_what_is_shown_and_closes_no_turn(
    said: str,
    ending: tuple[int, ...],
    shown: str,
    closed: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    engine = Scripted((*LM.tokenizer(said, add_special_tokens=False).input_ids, *ending))
    policy = Policy(engine=engine, chat=LM.chat, max_new_tokens=7, stop=("#",))
    learner: Any = SimpleNamespace(policy=lambda: policy)
    monkeypatch.setattr(chat, "restore", lambda *_, **__: (None, learner, 3))
    monkeypatch.setattr("sys.stdin", io.StringIO("one\ntwo\n\n"))
    chat.run(Path("run"), checkpoint="last", seed=0, max_new_tokens=None)
    assert capsys.readouterr().out == f"{shown}\n{shown}\n"  # a pipe gets the answers alone
    assert [r.new_ids for r in engine.requests] == [
        LM.chat.prompt("one"), LM.chat.reply("two", closed=closed),
    ]  # fmt: skip
    assert LM.chat.reply("two", closed=True) != LM.chat.reply("two", closed=False)


def test_a_terminal_is_shown_who_speaks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    engine = Scripted(tuple(LM.tokenizer("Hello.", add_special_tokens=False).input_ids))
    policy = Policy(engine=engine, chat=LM.chat, max_new_tokens=7)
    learner: Any = SimpleNamespace(policy=lambda: policy)
    monkeypatch.setattr(chat, "restore", lambda *_, **__: (None, learner, 3))
    monkeypatch.setattr("sys.stdin", Terminal("one\n\n"))
    chat.run(Path("run"), checkpoint="last", seed=0, max_new_tokens=None)
    said = capsys.readouterr().out
    assert said.startswith("run at step 3. An empty line ends the conversation.")
    assert "you> policy> Hello.\nyou> " in said
