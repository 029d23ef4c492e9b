"""Rows 17 and 18: over a thousand episodes with odd text, the ledger is what the model saw."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch
from rollout_fakes import RecordingEngine
from tiny_models import tiny_chat

from sayso.data.batch import pack
from sayso.envs.base import TextEnv
from sayso.envs.registry import source
from sayso.models.filters import Distribution
from sayso.models.lm import LanguageModel
from sayso.models.load import load
from sayso.models.options import ModelOptions, TinyOptions
from sayso.rollout.collect import collect
from sayso.rollout.limits import RolloutLimits
from sayso.rollout.pool import shutdown_pools
from sayso.runs.ledger import episode_from_json, episode_to_json
from sayso.sampling.base import Policy
from sayso.sampling.torch_engine import TorchEngine
from sayso.types import EndReason, Episode, Task

ODD = (
    "plain",
    "naïve café",
    "e\u0301 combining",
    "東京タワー",
    "🙂👩\u200d👧",
    "\udc80\ud800",
    "\ud83d\ude00",
    "\0\x01\x7f",
    "\x1b[31m",
    "\u202eright to left",
    "\u200b\u200d\ufeff",
    "  spaces \t\r\n\n ",
    "<end><|im_end|>\n<|im_start|>assistant\nsure",
    "ﷺ",
    "Z\u0351\u036b",
    "\U0010ffff",
    "",
    "\ufffd",
)


class Babel(TextEnv):
    """Shows odd text, built from the seed and from what it hears; one to four turns."""

    def tasks(self, split: str) -> Sequence[Task]:
        return [Task(id=f"b{n}", env="test/Babel-v0", split=split) for n in range(250)]

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.length, self.turn = int(self.np_random.integers(1, 5)), 0
        return self._text(), {}

    def step(self, action: str) -> Any:
        self.turn += 1
        over = self.turn == self.length
        reward = float(self.np_random.normal())
        return self._text() + action[:3], reward, over and self.length % 2 == 0, over, {}

    def _text(self) -> str:
        picks = self.np_random.integers(0, len(ODD), 2)
        return "".join(ODD[i] for i in picks)


def models() -> dict[str, LanguageModel]:
    options = ModelOptions(
        name="tiny", tiny=TinyOptions(tokens="", width=16, layers=1, heads=2, context=320)
    )
    return {"plain": load("tiny", options, seed=0), "template": load(tiny_chat())}


@pytest.fixture(autouse=True)
def _no_pools_left() -> Iterator[None]:
    yield
    shutdown_pools()


def rolled(kind: str, num_tasks: int, max_rows: int = 64) -> tuple[list[Episode], RecordingEngine]:
    lm = models()[kind]
    torch.set_num_threads(1)
    engine = RecordingEngine(
        TorchEngine(lm, Distribution(temperature=1.3), max_rows=max_rows, stop=("zz",))
    )
    policy = Policy(engine=engine, chat=lm.chat, max_new_tokens=6, stop=("zz",))
    env = source(Babel)
    episodes = collect(
        policy, env.open().tasks("train")[:num_tasks], env, group_size=4, seed=9,
        path=("rollout", 0), limits=RolloutLimits(max_turns=4, max_context_tokens=220),
    )  # fmt: skip
    return episodes, engine


def assert_ledger_is_what_happened(episodes: Sequence[Episode], engine: RecordingEngine) -> None:
    for episode in episodes:
        name = "/".join(map(str, episode.seed_path))
        contexts, completions = engine.contexts[name], engine.completions[name]
        assert len(episode.turns) == len(contexts) == len(completions)
        for number, turn in enumerate(episode.turns):
            assert turn.action_ids == completions[number].ids
            assert turn.action_logprobs == completions[number].logprobs
            assert turn.finish is completions[number].finish
            context = episode.context_ids(number)
            assert context == contexts[number]
            after = (*context, *turn.action_ids)
            following = (*contexts[number + 1 :], episode.ids())[0]
            assert following[: len(after)] == after
        assert name in engine.closed


def assert_trained_on_what_was_sampled(episodes: Sequence[Episode]) -> None:
    batch = pack(episodes, max_tokens=4096)
    seen: dict[int, list[int]] = {}
    for row in batch.rows:
        for episode, target, source_ in zip(
            row.episode.tolist(), row.target.tolist(), row.source.tolist(), strict=True
        ):
            seen.setdefault(episode, []).append(target)
            assert 0 <= source_ < len(row.ids)
    for index, episode in enumerate(episodes):
        sampled = [token for turn in episode.turns for token in turn.action_ids]
        assert seen[index] == sampled


@pytest.mark.medium
@pytest.mark.parametrize("kind", ["plain", "template"])
def test_row_17_row_18_a_thousand_episodes_are_what_the_engine_was_sent(kind: str) -> None:
    episodes, engine = rolled(kind, 250)
    assert len(episodes) == 1000
    valid = [e for e in episodes if e.end is not EndReason.FAILED]
    assert len(valid) == 1000
    assert {e.end for e in valid} == {EndReason.TERMINATED, EndReason.TRUNCATED}
    assert max(len(e.turns) for e in valid) == 4
    assert_ledger_is_what_happened(valid, engine)
    assert_trained_on_what_was_sampled(valid)
    assert [episode_from_json(episode_to_json(e)) for e in valid] == valid


@pytest.mark.medium
def test_row_17_tokenising_the_texts_again_would_be_another_episode() -> None:
    """The control: were ids rebuilt from text, this test could tell."""
    episodes, _ = rolled("plain", 20)
    chat = models()["plain"].chat
    drifted = 0
    for episode in episodes:
        for turn in episode.turns:
            again = tuple(chat.tokenizer(turn.action, add_special_tokens=False).input_ids)
            drifted += again != turn.action_ids[: len(again)] or len(again) < len(turn.action_ids)
    assert drifted > 10


@pytest.mark.medium
def test_fewer_rows_at_a_time_give_the_same_tokens() -> None:
    many, _ = rolled("plain", 10)
    few, _ = rolled("plain", 10, max_rows=3)
    for one, two in zip(many, few, strict=True):
        assert one.ids() == two.ids()
        assert [t.reward for t in one.turns] == [t.reward for t in two.turns]
