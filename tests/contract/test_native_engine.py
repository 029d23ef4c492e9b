"""What is special about the compiled kernels."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch
from engine_cases import (
    KINDS,
    drain,
    language_model,
    native_engine,
    network,
    prompts,
    request,
    rescored,
)
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from sayso.kernels import library as lib
from sayso.models.families import why_no_family
from sayso.models.filters import Distribution
from sayso.sampling.make import make_engine
from sayso.sampling.native.backend import NativeBackend
from sayso.sampling.native.cache import NativeCache
from sayso.sampling.native.probe import why_not_native
from sayso.sampling.options import SamplingOptions
from sayso.sampling.torch_engine import TorchEngine

PLAIN = Distribution()


class Counting(NativeBackend):
    """Remembers the rows and tokens of each pass."""

    def forward(
        self, slots: Sequence[int], num_cached: Sequence[int], chunks: Sequence[Sequence[int]]
    ) -> Any:
        self.passes = [*getattr(self, "passes", []), [len(chunk) for chunk in chunks]]
        return super().forward(slots, num_cached, chunks)


def counting(net: Any, *, max_rows: int, is_int8: bool = False) -> tuple[TorchEngine, Counting]:
    lm = language_model(net)
    backend = Counting(lm, PLAIN, is_int8=is_int8)
    return TorchEngine(lm, PLAIN, max_rows=max_rows, backend=backend), backend


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_a_groups_prompt_is_fed_once_and_its_keys_are_shared_not_copied() -> None:
    engine, backend = counting(network("llama"), max_rows=4)
    prompt = tuple(range(1, 24))
    for i in range(4):
        engine.submit(request(str(i), prompt, seed=i, budget=5 + i))
    engine.poll()
    assert [sum(one) for one in backend.passes] == [23, 4, 4, 4, 4]
    states = [backend._cache.state(slot) for slot in range(4)]
    assert len({id(state.prefix) for state in states}) == 1
    assert states[0].num_prefix == 23


def test_a_later_turn_feeds_the_last_token_and_the_new_ones_only() -> None:
    for others in (0, 3):
        engine, backend = counting(network("llama"), max_rows=1)
        drain(engine, [request("a", range(1, 31), budget=4)])
        drain(engine, [request(f"x{i}", (1, 2), seed=i, budget=1) for i in range(others)])
        backend.passes.clear()
        drain(engine, [request("a", (7, 8, 9), budget=2)])
        assert backend.passes == [[4], [1]]


@pytest.mark.parametrize("kind", KINDS)
def test_long_shared_and_later_contexts_equal_the_plain_pass(kind: str) -> None:
    """A prompt longer than a vector, shared by three; then turns on top of it; then a long one."""
    net = network(kind)
    lm = language_model(net)
    engine = native_engine(lm, PLAIN, max_rows=3)
    shared = prompts(1, seed=5)[0] + tuple(range(1, 30))
    held = {str(i): shared for i in range(5)}
    new = dict(held)
    for turn in range(3):
        done = drain(engine, [request(n, new[n], seed=9 * turn + int(n), budget=17) for n in held])
        for name, completion in done.items():
            expected = rescored(net, held[name], completion.ids, PLAIN)
            torch.testing.assert_close(
                torch.tensor(completion.logprobs), expected.float(), atol=1e-5, rtol=0
            )
            new[name] = tuple(range(2, 2 + 3 * (turn + 1) + int(name)))
            held[name] = held[name] + completion.ids + new[name]


def test_contexts_fed_in_several_passes_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    net = network("llama")
    lm = language_model(net)
    requests = [request(str(i), ids, seed=i, budget=6) for i, ids in enumerate(prompts(12))]
    whole = drain(native_engine(lm, PLAIN, max_rows=12), requests)
    monkeypatch.setattr("sayso.sampling.native.backend.PASS_TOKENS", 7)
    monkeypatch.setattr("sayso.sampling.torch_engine.PIECE_TOKENS", 7)
    assert drain(native_engine(lm, PLAIN, max_rows=12), requests) == whole


@pytest.mark.parametrize("is_int8", [False, True])
@pytest.mark.usefixtures("threads")
def test_no_bit_depends_on_threads_or_neighbours(is_int8: bool) -> None:
    if is_int8 and not lib.library().has_int8:
        pytest.skip("this processor multiplies no bytes")
    lm = language_model(network("qwen2"))
    requests = [request(str(i), ids, seed=i, budget=12) for i, ids in enumerate(prompts(9))]
    found = []
    for num_threads, rows in ((1, 9), (3, 9), (2, 1)):
        torch.set_num_threads(num_threads)
        backend = NativeBackend(lm, PLAIN, is_int8=is_int8)
        found.append(drain(TorchEngine(lm, PLAIN, max_rows=rows, backend=backend), requests))
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("kind", KINDS)
def test_int8_is_near_and_its_logprobs_are_those_it_sampled_from(kind: str) -> None:
    if not lib.library().has_int8:
        pytest.skip("this processor multiplies no bytes")
    net = network(kind)
    lm = language_model(net)
    assert why_not_native(lm, is_int8=True) is None
    backend = NativeBackend(lm, PLAIN, is_int8=True)
    contexts = {str(i): ids for i, ids in enumerate(prompts(40))}
    engine = TorchEngine(lm, PLAIN, max_rows=40, backend=backend)
    done = drain(engine, [request(n, ids, seed=int(n), budget=10) for n, ids in contexts.items()])
    gaps = torch.cat(
        [
            rescored(net, contexts[n], c.ids, PLAIN) - torch.tensor(c.logprobs, dtype=torch.float64)
            for n, c in done.items()
        ]
    )
    assert 1e-4 < float(gaps.abs().mean()) < 0.1
    # exp(gap) averages to 1 only if what was recorded is what the tokens were drawn from.
    ratio = gaps.exp()
    error = float(ratio.std()) / len(ratio) ** 0.5
    assert abs(float(ratio.mean()) - 1) < 4 * error


def int8_backend(net: Any) -> NativeBackend:
    if not lib.library().has_int8:
        pytest.skip("this processor multiplies no bytes")
    return NativeBackend(language_model(net), PLAIN, is_int8=True)


def fed_in_turn(backend: NativeBackend) -> torch.Tensor:
    """Log-probabilities after a context fed whole, and after tokens on top of it, one by one."""
    context = list(range(1, 31))
    found = [backend.forward([0], [0], [context])[0].clone()]
    found += [backend.forward([0], [30 + n], [[n]])[0].clone() for n in range(20)]
    return torch.stack(found).log_softmax(-1)


@pytest.mark.parametrize("kind", KINDS)
def test_keys_and_values_as_bytes_are_near_those_in_float32(kind: str) -> None:
    """Matrices are bytes on both sides; the bound is in nats."""
    as_bytes, as_floats = int8_backend(network(kind)), int8_backend(network(kind))
    as_floats._weights.model.is_int8 = False
    as_floats.refresh()
    ours, expected = fed_in_turn(as_bytes), fed_in_turn(as_floats)
    assert as_bytes.snapshot(0, 50).nbytes < as_floats.snapshot(0, 50).nbytes / 3
    divergence = (ours.exp() * (ours - expected)).sum(-1)
    assert not torch.equal(ours, expected)
    assert float(divergence.mean()) < 2e-3


def test_keys_and_values_of_any_size_are_kept_as_well() -> None:
    """By powers of two, so that nothing else rounds otherwise: beyond what 16 bits could hold."""
    net, large = network("llama"), network("llama")
    with torch.no_grad():
        for layer in large.model.layers:
            layer.self_attn.v_proj.weight.mul_(2.0**30)
            layer.self_attn.o_proj.weight.mul_(2.0**-30)
            layer.self_attn.k_proj.weight.mul_(2.0**30)
            layer.self_attn.q_proj.weight.mul_(2.0**-30)
    found = fed_in_turn(int8_backend(large))
    assert torch.equal(found, fed_in_turn(int8_backend(net)))


def test_a_value_that_is_not_finite_shows() -> None:
    net = network("llama")
    with torch.no_grad():
        net.model.layers[0].self_attn.v_proj.weight[3] = float("inf")
    assert bool(fed_in_turn(int8_backend(net)).isnan().all())


def test_in_int8_a_rest_and_a_shared_beginning_change_no_token() -> None:
    """Three rows that share a prompt, then rest; and each of them alone, all in one slot."""
    shared = tuple(range(1, 24))
    together, alone = (
        TorchEngine(language_model(network("llama")), PLAIN, max_rows=rows,
                    backend=int8_backend(network("llama")))
        for rows in (3, 1)
    )  # fmt: skip
    for turn in range(3):
        asked = [request(str(i), shared if turn == 0 else (7, 8), seed=9 * turn + i, budget=17)
                 for i in range(3)]  # fmt: skip
        ours = drain(together, asked)
        others = drain(together, [request(f"x{turn}{i}", (3, 4), seed=i) for i in range(3)])
        expected = {c.session: c for one in asked for c in drain(alone, [one]).values()}
        assert len(others) == 3
        for name, completion in ours.items():
            assert completion.ids == expected[name].ids
            torch.testing.assert_close(
                torch.tensor(completion.logprobs), torch.tensor(expected[name].logprobs),
                atol=1e-2, rtol=0,
            )  # fmt: skip


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning")  # peft's
@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_adapters_move_without_packing_the_base_again(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(
        r=3, lora_alpha=6, target_modules="all-linear", fan_in_fan_out=kind == "gpt2",
        task_type="CAUSAL_LM", init_lora_weights=False,
    )  # fmt: skip
    net = peft.get_peft_model(network(kind), config)
    lm = language_model(net)
    engine = native_engine(lm, PLAIN, max_rows=4)
    backend = engine._backend  # type: ignore[attr-defined]
    contexts = {str(i): ids for i, ids in enumerate(prompts(4))}
    requests = [request(n, ids, seed=int(n), budget=12) for n, ids in contexts.items()]
    packed: list[int] = []
    plain_pack = backend._weights._pack
    monkeypatch.setattr(
        backend._weights, "_pack",
        lambda sources, depth, held: (packed.append(depth), plain_pack(sources, depth, held)),
    )  # fmt: skip
    for _ in range(2):
        packed.clear()
        engine.sync()
        for name, completion in drain(engine, requests).items():
            expected = rescored(net, contexts[name], completion.ids, PLAIN)
            torch.testing.assert_close(
                torch.tensor(completion.logprobs), expected.float(), atol=2e-5, rtol=0
            )
        with torch.no_grad():
            for name, parameter in net.named_parameters():
                if "lora_" in name:
                    parameter.mul_(1.5)
    num_linears = 4 * net.config.num_hidden_layers
    assert len(packed) == 2 * num_linears  # a product down and one up; no base matrix


@pytest.mark.parametrize("is_int8", [False, True])
def test_new_weights_are_sampled_from_after_sync(is_int8: bool) -> None:
    if is_int8 and not lib.library().has_int8:
        pytest.skip("this processor multiplies no bytes")
    net = network("gpt2")
    engine, _ = counting(net, max_rows=2, is_int8=is_int8)
    asked = [request("a", (1, 2, 3), budget=30)]
    before = drain(engine, asked)
    engine.sync()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(1.1)
    assert drain(engine, asked) != before


@pytest.mark.parametrize("dtype", [torch.float32, torch.int8])
def test_regions_are_used_again_and_a_rest_restores_bit_for_bit(dtype: torch.dtype) -> None:
    cache = NativeCache(num_heads=3, width=16, dtype=dtype)
    state = cache.room(0, 70)
    assert state.own is not None
    assert state.own.capacity == 128
    state.own.held.copy_(50 * torch.randn(state.own.held.shape))
    kept = state.own.held.clone()
    snapshot = cache.snapshot(0, 70)
    address = state.own.address
    cache.clear(0)
    again = cache.room(1, 100).own
    assert again is not None
    assert again.address == address
    again.held.zero_()
    cache.restore(2, snapshot)
    restored = cache.state(2).own
    assert restored is not None
    assert torch.equal(restored.held[:, :, :70], kept[:, :, :70])


def llama(**changes: Any) -> Any:
    sizes = {
        "vocab_size": 37, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1,
        "num_attention_heads": 2, "max_position_embeddings": 64,
    }  # fmt: skip
    return LlamaForCausalLM(LlamaConfig(**sizes | changes)).eval()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"hidden_act": "gelu"}, "activation is 'gelu'"),
        (
            {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}},
            "dynamic",
        ),
        ({"dtype": torch.bfloat16}, "not all float32"),
    ],
)
def test_what_the_kernels_do_not_compute_is_named(changes: Any, reason: str) -> None:
    dtype = changes.pop("dtype", torch.float32)
    found = why_no_family(llama(**changes).to(dtype), 64)
    assert found is not None
    assert reason in found


def test_gpt2_scaled_by_layer_is_left_to_its_own_forward() -> None:
    net = GPT2LMHeadModel(
        GPT2Config(vocab_size=37, n_embd=16, n_layer=1, n_head=2,
                   scale_attn_by_inverse_layer_idx=True)
    )  # fmt: skip
    assert why_no_family(net, 64) == "its attention is scaled by layer"


@pytest.mark.parametrize(
    "changes", [{"attention_bias": True, "mlp_bias": True}, {"num_key_value_heads": 1},
                {"head_dim": 12, "hidden_size": 24}, {"tie_word_embeddings": True},
                {"rope_parameters": {"rope_type": "llama3", "rope_theta": 1e4, "factor": 8.0,
                 "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                 "original_max_position_embeddings": 32}}],
    ids=["biases", "one key head", "odd width", "tied", "scaled rotary"],
)  # fmt: skip
def test_variants_of_a_family_are_computed_rightly(changes: Any) -> None:
    torch.manual_seed(1)
    net = llama(initializer_range=0.3, **changes)
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if name.endswith("bias"):
                parameter.normal_()
    contexts = {str(i): ids for i, ids in enumerate(prompts(6))}
    engine = native_engine(language_model(net, context=64), PLAIN, max_rows=4)
    done = drain(engine, [request(n, ids, seed=int(n), budget=20) for n, ids in contexts.items()])
    for name, completion in done.items():
        expected = rescored(net, contexts[name], completion.ids, PLAIN)
        torch.testing.assert_close(
            torch.tensor(completion.logprobs), expected.float(), atol=1e-5, rtol=0
        )


def test_no_compiler_costs_speed_and_one_line_not_the_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("SAYSO_CACHE", str(tmp_path))
    monkeypatch.setenv("CXX", "/nonexistent/compiler")
    lib.library.cache_clear()
    try:
        with caplog.at_level(logging.WARNING, logger="sayso"):
            engine = make_engine(language_model(network("llama")), SamplingOptions())
    finally:
        lib.library.cache_clear()
    assert engine.path == "torch: the model's own forward, cpu"
    assert len(caplog.records) == 1
    assert "/nonexistent/compiler failed" in caplog.text
    assert drain(engine, [request("a", (1, 2), budget=2)])["a"].ids


def test_a_failing_compiler_is_quoted(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    compiler = tmp_path / "cxx"
    compiler.write_text("#!/bin/sh\necho 'error: no such flag' >&2\nexit 1\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("SAYSO_CACHE", str(tmp_path))
    monkeypatch.setenv("CXX", str(compiler))
    with pytest.raises(lib.CompileError, match="no such flag"):
        lib._compiled()
    assert not list((tmp_path / "kernels").iterdir())


def test_the_path_is_told() -> None:
    engine = make_engine(language_model(network("llama")), SamplingOptions())
    assert engine.path.startswith("native: compiled kernels, float32")
    for name, expected in (("torch", "torch: the model's own forward, cpu"), ("hf", "hf: ")):
        options = SamplingOptions(engine=name)  # type: ignore[arg-type]
        assert make_engine(language_model(network("llama")), options).path.startswith(expected)


def test_int8_without_the_kernels_is_refused() -> None:
    with pytest.raises(ValueError, match="needs engine 'native'"):
        SamplingOptions(engine="torch", precision="int8")
