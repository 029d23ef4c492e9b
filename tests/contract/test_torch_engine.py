"""What ``TorchEngine`` promises beyond the contract: no work done twice, memory bounded."""

from __future__ import annotations

import gc
import logging
import weakref
from typing import Any

import pytest
import torch
from engine_cases import (
    EOS,
    KINDS,
    NUM_TOKENS,
    Fed,
    drain,
    language_model,
    network,
    prompts,
    request,
    rescored,
)
from transformers import BloomConfig, BloomForCausalLM, MistralConfig, MistralForCausalLM

from sayso.models.filters import Distribution
from sayso.sampling import torch_engine
from sayso.sampling.hf_engine import HFEngine
from sayso.sampling.make import make_engine
from sayso.sampling.options import SamplingOptions
from sayso.sampling.torch_engine import TorchEngine

PLAIN = Distribution()


def test_a_prompt_shared_by_a_group_is_prefilled_once() -> None:
    net = network("llama")
    fed = Fed(net)
    engine = TorchEngine(language_model(net), PLAIN, max_rows=16)
    first, second = tuple(range(1, 21)), tuple(range(5, 25))
    group = [request(f"a{i}", first, seed=i, budget=1) for i in range(8)]
    done = drain(engine, group + [request(f"b{i}", second, seed=i, budget=1) for i in range(8)])
    assert fed.shapes == [(2, 20)]
    assert len({completion.ids for completion in done.values()}) > 2


@pytest.mark.parametrize("max_rows", [1, 3])
def test_groups_larger_than_the_slots_still_prefill_each_prompt_once(max_rows: int) -> None:
    net = network("llama")
    fed = Fed(net)
    lm = language_model(net, stop_ids=EOS)
    engine = TorchEngine(lm, PLAIN, max_rows=max_rows)
    both = (tuple(range(1, 21)), tuple(range(9, 31)))
    mixed = [request(str(i), both[i % 2], seed=i, budget=3 + i) for i in range(14)]
    done = drain(engine, mixed)
    assert sum(rows * columns for rows, columns in fed.shapes if columns > 1) in (42, 44)
    assert max(rows for rows, _ in fed.shapes) <= max_rows
    assert not engine._prompts
    wide = drain(TorchEngine(lm, PLAIN, max_rows=14), mixed)
    assert {n: c.ids for n, c in done.items()} == {n: c.ids for n, c in wide.items()}


@pytest.mark.parametrize("others", [0, 3])
def test_a_later_turn_feeds_the_last_token_and_the_new_ones_only(others: int) -> None:
    """In its slot (no others waiting) and after its slot was taken by others."""
    net = network("llama")
    fed = Fed(net)
    engine = TorchEngine(language_model(net), PLAIN, max_rows=1)
    drain(engine, [request("a", range(1, 31), budget=4)])
    assert fed.shapes == [(1, 30), (1, 1), (1, 1), (1, 1)]
    drain(engine, [request(f"x{i}", (1, 2), seed=i, budget=1) for i in range(others)])
    fed.shapes.clear()
    drain(engine, [request("a", (7, 8, 9), budget=2)])
    assert fed.shapes == [(1, 4), (1, 1)]


def test_finished_rows_cost_nothing_more() -> None:
    net = network("llama")
    fed = Fed(net)
    engine = TorchEngine(language_model(net), PLAIN, max_rows=4)
    budgets = [2, 9, 4, 6]
    drain(engine, [request(str(i), (1, i), seed=i, budget=n) for i, n in enumerate(budgets)])
    assert [rows for rows, columns in fed.shapes if columns == 1] == [4, 3, 3, 2, 2, 1, 1, 1]


def test_attention_reads_no_further_than_the_longest_row_being_decoded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = TorchEngine(language_model(network("llama")), PLAIN, max_rows=2)
    drain(engine, [request("long", range(1, 31), budget=2), request("a", (1, 2), budget=2)])
    engine.close("long")
    engine.submit(request("a", (3,), budget=2))
    engine.poll()
    assert engine._backend.cache.place is not None
    assert engine._backend.cache.place.num_keys == 6
    assert engine._backend.cache.place.slots == slice(0, 1)


@pytest.mark.parametrize("kind", KINDS)
def test_sessions_dropped_from_memory_are_computed_again_with_the_same_result(kind: str) -> None:
    lm = language_model(network(kind), stop_ids=EOS)

    def play(idle_bytes: int) -> list[Any]:
        engine = TorchEngine(lm, PLAIN, max_rows=2, idle_bytes=idle_bytes)
        log = []
        for turn in range(3):
            turns = [
                request(str(i), ids, seed=9 * turn + i, budget=5)
                for i, ids in enumerate(prompts(6, seed=turn))
            ]
            done = drain(engine, turns)
            log += [done[str(i)] for i in range(6)]
            assert engine._parking._held_bytes <= idle_bytes
        return log

    roomy, tight, none = play(1 << 30), play(40_000), play(0)
    assert tight == play(40_000)
    assert [c.ids for c in roomy] == [c.ids for c in tight] == [c.ids for c in none]
    for one, other in zip(roomy, none, strict=True):
        torch.testing.assert_close(
            torch.tensor(one.logprobs), torch.tensor(other.logprobs), atol=1e-5, rtol=0
        )


def test_parking_drops_the_oldest_first() -> None:
    net = network("llama")
    engine = TorchEngine(language_model(net), PLAIN, max_rows=1)
    names = ("a", "b", "c")
    for name in names:
        drain(engine, [request(name, range(1, 11), budget=1)])
    drain(engine, [request("z", (1,), budget=1)])
    held = engine._parking._held_bytes
    engine._parking._budget_bytes = held
    drain(engine, [request("y", (1, 2), budget=1)])  # parks z: over the budget
    fed = Fed(net)
    drain(engine, [request("b", (1,), budget=1)])
    drain(engine, [request("a", (1,), budget=1)])
    assert fed.shapes == [(1, 2), (1, 12)]


@pytest.mark.parametrize("kind", KINDS)
def test_long_and_many_contexts_are_fed_in_pieces_with_the_same_result(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = network(kind)
    lm = language_model(net)
    requests = [request(str(i), ids, seed=i, budget=6) for i, ids in enumerate(prompts(8, seed=4))]
    whole = drain(TorchEngine(lm, PLAIN, max_rows=8), requests)
    monkeypatch.setattr(torch_engine, "PIECE_TOKENS", 5)
    monkeypatch.setattr(torch_engine, "PREFILL_TOKENS", 12)
    fed = Fed(net)
    pieces = drain(TorchEngine(lm, PLAIN, max_rows=8), requests)
    assert {n: c.ids for n, c in whole.items()} == {n: c.ids for n, c in pieces.items()}
    assert max(columns for _, columns in fed.shapes) == 5
    assert max(rows * columns for rows, columns in fed.shapes if columns > 1) <= 12


def test_closing_all_sessions_and_sync_give_the_memory_back() -> None:
    engine = TorchEngine(language_model(network("llama")), PLAIN, max_rows=2)
    drain(engine, [request(str(i), (1, 2, 3)) for i in range(5)])
    for i in range(5):
        engine.close(str(i))
    assert engine.poll() == []
    assert engine._slots == []
    assert engine._parking._held_bytes == 0
    assert engine._sessions._sessions == {}
    cache = weakref.ref(engine._backend.cache)
    engine.sync()
    gc.collect()
    assert cache() is None


def test_closing_a_session_while_it_is_decoded_frees_its_slot() -> None:
    lm = language_model(network("llama"))
    engine = TorchEngine(lm, PLAIN, max_rows=3)
    for name, budget in (("a", 20), ("b", 2), ("c", 20)):
        engine.submit(request(name, (1, 2), seed=ord(name), budget=budget))
    assert [completion.session for completion in engine.poll()] == ["b"]
    engine.close("a")
    engine.submit(request("d", (4, 5), seed=1, budget=20))
    rest = engine.poll()
    alone = TorchEngine(lm, PLAIN, max_rows=1)
    expected = drain(
        alone,
        [request("c", (1, 2), seed=ord("c"), budget=20), request("d", (4, 5), seed=1, budget=20)],
    )
    assert rest[0].session == "c"
    rest += engine.poll()
    assert {c.session: c.ids for c in rest} == {n: c.ids for n, c in expected.items()}


def test_memory_not_yet_written_is_zero_so_that_masked_entries_stay_finite() -> None:
    engine = TorchEngine(language_model(network("llama")), PLAIN, max_rows=4)
    drain(engine, [request("a", range(1, 31), budget=40), request("b", (1,), budget=2)])
    for keys, values in engine._backend.cache._held:
        assert keys.shape[2] >= 69
        for held in (keys, values):
            assert not held[:, :, 69:].any()
            assert held[0, :, :69].any(-1).all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_precisions_are_recorded_as_they_are_computed(dtype: torch.dtype) -> None:
    net = network("llama").to(dtype)
    contexts = {str(i): ids for i, ids in enumerate(prompts(5))}
    done = drain(
        TorchEngine(language_model(net), PLAIN, max_rows=5),
        [request(n, ids, seed=int(n)) for n, ids in contexts.items()],
    )
    atol = 1e-10 if dtype is torch.float64 else 0.3
    for name, completion in done.items():
        expected = rescored(net, contexts[name], completion.ids, PLAIN)
        torch.testing.assert_close(
            torch.tensor(completion.logprobs, dtype=torch.float64),
            expected.double(),
            atol=atol,
            rtol=0,
        )


@pytest.mark.parametrize("kind", KINDS)
def test_eager_attention_gives_the_same_tokens(kind: str) -> None:
    net = network(kind)
    requests = [request(str(i), ids, seed=i) for i, ids in enumerate(prompts(5))]
    sdpa = drain(TorchEngine(language_model(net), PLAIN, max_rows=5), requests)
    net.set_attn_implementation("eager")
    eager = drain(TorchEngine(language_model(net), PLAIN, max_rows=5), requests)
    assert {n: c.ids for n, c in sdpa.items()} == {n: c.ids for n, c in eager.items()}


def test_a_network_that_always_gives_all_logits_is_sampled_rightly() -> None:
    net = network("llama")
    complete = type(net).forward
    requests = [request(str(i), ids, seed=i) for i, ids in enumerate(prompts(5))]
    usual = drain(TorchEngine(language_model(net), PLAIN, max_rows=2), requests)

    class Complete(type(net)):  # type: ignore[misc]
        def forward(
            self, input_ids: Any, attention_mask: Any, position_ids: Any, past_key_values: Any,
            use_cache: bool, return_dict: bool,
        ) -> Any:  # fmt: skip
            return complete(
                self, input_ids, attention_mask, position_ids, past_key_values,
                use_cache=use_cache, return_dict=return_dict,
            )  # fmt: skip

    net.__class__ = Complete
    done = drain(TorchEngine(language_model(net), PLAIN, max_rows=2), requests)
    assert {n: c.ids for n, c in done.items()} == {n: c.ids for n, c in usual.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_make_engine_takes_ours_for_models_it_can_drive(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    options = SamplingOptions(max_rows=3, stop=("X",), top_k=5)
    engine = make_engine(language_model(network(kind)), options)
    assert isinstance(engine, TorchEngine)
    assert (engine._max_rows, engine._backend._distribution.top_k) == (3, 5)
    assert engine._sessions._stop == ("X",)
    assert isinstance(
        make_engine(language_model(network(kind)), SamplingOptions(engine="hf")), HFEngine
    )
    assert caplog.records == []


def test_a_network_is_probed_once() -> None:
    lm = language_model(network("llama"))
    make_engine(lm, SamplingOptions())
    fed = Fed(lm.network)
    make_engine(lm, SamplingOptions(top_k=1))
    assert fed.shapes == []


def _sliding() -> Any:
    config = MistralConfig(
        vocab_size=NUM_TOKENS,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        sliding_window=4,
        head_dim=8,
    )
    return MistralForCausalLM(config)


def _alibi() -> Any:
    return BloomForCausalLM(
        BloomConfig(
            vocab_size=NUM_TOKENS, hidden_size=16, n_layer=1, n_head=2, max_position_embeddings=160
        )
    )


class _Shifted(type(network("gpt2"))):  # type: ignore[misc]
    """Ignores the positions it is given; nothing that it declares shows it."""

    def forward(self, *args: Any, position_ids: Any = None, past_key_values: Any = None,
                attention_mask: Any = None, **kwargs: Any) -> Any:  # fmt: skip
        return super().forward(
            *args, position_ids=None if position_ids is None else position_ids * 0,
            past_key_values=past_key_values, attention_mask=attention_mask, **kwargs,
        )  # fmt: skip


def _wrong_positions() -> Any:
    net = network("gpt2")
    net.__class__ = _Shifted
    return net


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (_sliding, "DynamicSlidingWindowLayer"),
        (_alibi, "no position_ids"),
        (_wrong_positions, "off by"),
    ],
)
def test_make_engine_falls_back_with_one_line_that_gives_the_reason(
    build: Any, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    lm = language_model(build().eval())
    with caplog.at_level(logging.INFO, logger="sayso"):
        engine = make_engine(lm, SamplingOptions())
    assert isinstance(engine, HFEngine)
    assert len(caplog.records) == 1
    assert caplog.records[0].name == "sayso"
    assert reason in caplog.text
    assert "tiny-model" in caplog.text


def test_a_window_as_wide_as_the_context_is_no_reason_to_fall_back() -> None:
    net = _sliding().eval()
    lm = language_model(net, context=4)
    engine = make_engine(lm, SamplingOptions())
    assert isinstance(engine, TorchEngine)
    done = drain(engine, [request("a", (1, 2), budget=2), request("b", (3,), budget=3)])
    for name, context in (("a", (1, 2)), ("b", (3,))):
        expected = rescored(net, context, done[name].ids, PLAIN)
        torch.testing.assert_close(
            torch.tensor(done[name].logprobs), expected.float(), atol=1e-5, rtol=0
        )


@pytest.mark.parametrize("build", [_sliding, _alibi])
def test_a_model_we_cannot_drive_is_sampled_rightly_by_the_fallback(build: Any) -> None:
    torch.manual_seed(0)
    net = build().eval()
    contexts = {str(i): ids for i, ids in enumerate(prompts(4))}
    done = drain(
        HFEngine(language_model(net), PLAIN, max_rows=4),
        [request(n, ids, seed=int(n)) for n, ids in contexts.items()],
    )
    for name, completion in done.items():
        expected = rescored(net, contexts[name], completion.ids, PLAIN)
        torch.testing.assert_close(
            torch.tensor(completion.logprobs), expected.float(), atol=1e-5, rtol=0
        )
