"""What every engine must do, run over both engines and every kind of model."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from engine_cases import (
    CONTEXT,
    ENGINES,
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

from sayso.errors import SamplingError
from sayso.models.filters import Distribution
from sayso.sampling.base import Engine
from sayso.seeds import uniforms
from sayso.types import FinishReason

PLAIN = Distribution()
GREEDY = Distribution(top_k=1)
TOLERANCE = 1e-5


FEW = ("llama", "gpt2")
"""Rotary and absolute positions; the others differ in a layer and are in `make test`."""


@pytest.fixture(
    params=[pytest.param(k, marks=() if k in FEW else pytest.mark.medium) for k in KINDS]
)
def kind(request: Any) -> str:
    return request.param


@pytest.fixture(params=ENGINES)
def make(request: Any) -> Any:
    return ENGINES[request.param]


def assert_logprobs_match(lm: Any, contexts: Any, done: Any, how: Distribution) -> None:
    for name, completion in done.items():
        expected = rescored(lm.network, contexts[name], completion.ids, how)
        # A low temperature magnifies the rounding of the logits.
        atol = TOLERANCE / min(1.0, how.temperature)
        torch.testing.assert_close(
            torch.tensor(completion.logprobs), expected.float(), atol=atol, rtol=0
        )


def test_is_an_engine(make: Any) -> None:
    engine = make(language_model(network("llama")), PLAIN, max_rows=2)
    assert isinstance(engine, Engine)
    assert engine.max_context == CONTEXT
    assert engine.poll() == []


def test_greedy_tokens_are_those_of_plain_generate(make: Any, kind: str) -> None:
    lm = language_model(network(kind))
    contexts = prompts(6)
    done = drain(
        make(lm, GREEDY, max_rows=4),
        [request(str(i), ids, budget=12) for i, ids in enumerate(contexts)],
    )
    lm.network.generation_config.eos_token_id = None
    for i, ids in enumerate(contexts):
        expected = lm.network.generate(
            torch.tensor([ids]),
            attention_mask=torch.ones(1, len(ids), dtype=torch.long),
            max_new_tokens=12,
            do_sample=False,
            pad_token_id=0,
        )
        assert done[str(i)].ids == tuple(expected[0, len(ids) :].tolist())
        assert done[str(i)].logprobs == (0.0,) * 12
        assert done[str(i)].finish is FinishReason.LENGTH


def test_all_engines_draw_the_same_tokens(kind: str) -> None:
    lm = language_model(network(kind), stop_ids=EOS)
    requests = [request(str(i), ids, seed=i, budget=20) for i, ids in enumerate(prompts(9))]
    done = {name: drain(make(lm, PLAIN, max_rows=9), requests) for name, make in ENGINES.items()}
    reference = done.pop("hf")
    for ours, name in itertools.product(done.values(), reference):
        assert ours[name].ids == reference[name].ids
        assert ours[name].finish is reference[name].finish
        torch.testing.assert_close(
            torch.tensor(ours[name].logprobs),
            torch.tensor(reference[name].logprobs),
            atol=TOLERANCE,
            rtol=0,
        )


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_row_09_recorded_logprobs_carry_the_temperature(
    make: Any, kind: str, temperature: float
) -> None:
    lm, how = language_model(network(kind)), Distribution(temperature=temperature)
    contexts = {str(i): ids for i, ids in enumerate(prompts(5))}
    done = drain(
        make(lm, how, max_rows=5), [request(n, ids, seed=7) for n, ids in contexts.items()]
    )
    assert_logprobs_match(lm, contexts, done, how)


@pytest.mark.parametrize(
    "how",
    [
        Distribution(top_k=4),
        Distribution(top_p=0.7),
        Distribution(min_p=0.1),
        Distribution(temperature=1.5, top_k=10, top_p=0.9, min_p=0.05),
    ],
)
def test_row_11_recorded_logprobs_are_renormalised_over_what_was_kept(
    make: Any, how: Distribution
) -> None:
    lm = language_model(network("llama"))
    contexts = {str(i): ids for i, ids in enumerate(prompts(8))}
    requests = [request(n, ids, seed=int(n), budget=12) for n, ids in contexts.items()]
    done = drain(make(lm, how, max_rows=8), requests)
    assert_logprobs_match(lm, contexts, done, how)


def test_row_12_ratio_of_recomputed_and_recorded_is_one(make: Any, kind: str) -> None:
    lm = language_model(network(kind), stop_ids=EOS)
    contexts = {str(i): ids for i, ids in enumerate(prompts(8, seed=1))}
    requests = [request(n, ids, seed=int(n), budget=20) for n, ids in contexts.items()]
    done = drain(make(lm, PLAIN, max_rows=3), requests)
    ratios = torch.cat(
        [
            (
                rescored(lm.network, contexts[name], completion.ids, PLAIN)
                - torch.tensor(completion.logprobs, dtype=torch.float64)
            ).exp()
            for name, completion in done.items()
        ]
    )
    assert (ratios - 1).abs().max() <= TOLERANCE


def test_row_13_dropout_is_off_while_sampling_and_the_mode_is_put_back(
    make: Any, kind: str
) -> None:
    net = network(kind, dropout=0.5)
    lm = language_model(net)
    net.train()
    frozen = next(module for module in net.modules() if isinstance(module, torch.nn.Linear))
    frozen.eval()
    contexts = {str(i): ids for i, ids in enumerate(prompts(3))}
    done = drain(make(lm, PLAIN, max_rows=3), [request(n, ids) for n, ids in contexts.items()])
    assert net.training
    assert not frozen.training
    net.eval()
    assert_logprobs_match(language_model(net), contexts, done, PLAIN)


def test_row_14_a_row_is_the_same_alone_and_among_longer_rows(make: Any, kind: str) -> None:
    lm = language_model(network(kind))
    requests = [request(str(i), ids, seed=i, budget=10) for i, ids in enumerate(prompts(6, seed=2))]
    together = drain(make(lm, PLAIN, max_rows=6), requests)
    for one in requests:
        alone = drain(make(lm, PLAIN, max_rows=1), [one])[one.session]
        assert alone.ids == together[one.session].ids
        torch.testing.assert_close(
            torch.tensor(alone.logprobs),
            torch.tensor(together[one.session].logprobs),
            atol=TOLERANCE,
            rtol=0,
        )


def test_row_15_every_stop_id_ends_the_action_and_is_part_of_it(make: Any) -> None:
    stop_ids = (3, 5, 0)
    lm = language_model(network("llama"), stop_ids=stop_ids)
    requests = [request(str(i), (i % NUM_TOKENS, 4), seed=i, budget=40) for i in range(60)]
    done = drain(make(lm, Distribution(temperature=3.0), max_rows=60), requests)
    last = [completion.ids[-1] for completion in done.values()]
    assert set(last) >= set(stop_ids)
    for completion in done.values():
        stopped = completion.ids[-1] in stop_ids
        assert completion.finish is (FinishReason.STOP if stopped else FinishReason.LENGTH)
        assert not set(completion.ids[:-1]) & set(stop_ids)
        assert len(completion.ids) == len(completion.logprobs)
        assert stopped or len(completion.ids) == 40


def test_row_16_the_padding_id_is_a_token_like_any_other(make: Any) -> None:
    net = network("llama")
    with torch.no_grad():  # token 0, which pads inside the engines, is drawn often
        net.lm_head.weight.mul_(0.2)
    lm = language_model(net)
    contexts = {str(i): (0,) * (1 + 3 * i) + (0, 1) for i in range(8)}
    requests = [request(n, ids, seed=int(n), budget=30) for n, ids in contexts.items()]
    done = drain(make(lm, PLAIN, max_rows=8), requests)
    assert sum(completion.ids.count(0) for completion in done.values()) >= 3
    assert all(len(completion.ids) == 30 for completion in done.values())
    assert_logprobs_match(lm, contexts, done, PLAIN)


@pytest.mark.medium
def test_two_token_sequences_follow_the_models_distribution(make: Any) -> None:
    """Chi-squared over all 25 + 5 outcomes, 20 000 draws, at the 1e-4 level."""
    num_tokens, num_draws, stop = 6, 20_000, 2
    net = network("llama", num_tokens=num_tokens, seed=3)
    how = Distribution(temperature=2.0)
    lm, prompt = language_model(net, stop_ids=(stop,)), (4, 1, 5)
    rows = 500
    done = drain(
        make(lm, how, max_rows=rows),
        [request(str(i), prompt, seed=10_000 + i, budget=2) for i in range(num_draws)],
    )
    exact = {
        pair: rescored(net, prompt, pair, how).sum().exp().item()
        for pair in itertools.product(range(num_tokens), repeat=2)
        if pair[0] != stop
    }
    exact[(stop,)] = rescored(net, prompt, (stop,), how).exp().item()
    assert sum(exact.values()) == pytest.approx(1, abs=1e-6)
    assert {completion.ids for completion in done.values()} <= exact.keys()
    counts = dict.fromkeys(exact, 0)
    for completion in done.values():
        counts[completion.ids] += 1
    assert min(exact.values()) * num_draws > 5  # so that the approximation holds
    statistic = sum(
        (counts[ids] - num_draws * p) ** 2 / (num_draws * p) for ids, p in exact.items()
    )
    # The 1e-4 quantile of chi-squared by Wilson and Hilferty's cube.
    freedom = len(exact) - 1
    limit = freedom * (1 - 2 / (9 * freedom) + 3.719 * (2 / (9 * freedom)) ** 0.5) ** 3
    assert statistic < limit


def test_few_slots_refilled_give_the_same_tokens_as_all_at_once(make: Any, kind: str) -> None:
    lm = language_model(network(kind), stop_ids=EOS)
    requests = [
        request(str(i), ids, seed=i, budget=3 + i % 9) for i, ids in enumerate(prompts(17, seed=3))
    ]
    wide = drain(make(lm, PLAIN, max_rows=17), requests)
    fed = Fed(lm.network)
    narrow = drain(make(lm, PLAIN, max_rows=3), requests)
    assert max((rows for rows, _ in fed.shapes), default=3) == 3  # the kernels run no module
    assert {n: c.ids for n, c in wide.items()} == {n: c.ids for n, c in narrow.items()}


def test_completions_come_in_order_of_submission_within_a_poll(make: Any) -> None:
    lm = language_model(network("llama"))
    engine = make(lm, PLAIN, max_rows=4)
    for name in "cadb":
        engine.submit(request(name, (1, 2), seed=ord(name), budget=3))
    assert [completion.session for completion in engine.poll()] == list("cadb")


def _play(engine: Engine, num_turns: int) -> tuple[dict[str, list[int]], list[Any]]:
    """Several sessions of several turns each; contexts and completions, turn by turn."""
    streams: dict[str, list[int]] = {}
    log = []
    for turn in range(num_turns):
        names = [str(i) for i in range(5) if turn <= i + 1]
        new = prompts(len(names), seed=10 + turn)
        for name, ids in zip(names, new, strict=True):
            streams.setdefault(name, []).extend(ids)
        done = drain(
            engine,
            [
                request(name, ids, seed=100 * turn + int(name), budget=6)
                for name, ids in zip(names, new, strict=True)
            ],
        )
        for name in names:
            log.append((name, tuple(streams[name]), done[name]))
            streams[name].extend(done[name].ids)
    return streams, log


@pytest.mark.parametrize("max_rows", [2, 5])
def test_turns_of_a_session_equal_fresh_prefills_of_the_whole_context(
    make: Any, kind: str, max_rows: int
) -> None:
    lm = language_model(network(kind), stop_ids=EOS)
    _, log = _play(make(lm, PLAIN, max_rows=max_rows), num_turns=4)
    assert len(log) > 12
    for i, (_, context, completion) in enumerate(log):
        expected = rescored(lm.network, context, completion.ids, PLAIN)
        torch.testing.assert_close(
            torch.tensor(completion.logprobs), expected.float(), atol=TOLERANCE, rtol=0
        )
        turn, name = divmod(i, 5) if i < 10 else (None, None)
        if turn is not None:
            fresh = make(lm, PLAIN, max_rows=1)
            seed = 100 * turn + name
            again = drain(fresh, [request("x", context, seed=seed, budget=6)])["x"]
            assert again.ids == completion.ids


def test_same_seeds_and_submissions_give_the_same_bits(make: Any, kind: str) -> None:
    lm = language_model(network(kind), stop_ids=EOS)
    first, second = (_play(make(lm, PLAIN, max_rows=3), num_turns=3)[1] for _ in range(2))
    assert first == second


def test_token_i_is_drawn_by_number_i_of_the_rows_own_seed_whatever_the_budget(make: Any) -> None:
    lm, context = language_model(network("gpt2")), (4, 2, 9)
    for budget in (6, 11):
        engine = make(lm, PLAIN, max_rows=2)
        noise = request("other", (1,), seed=5, budget=9)
        ids = drain(engine, [noise, request("a", context, seed=77, budget=budget)])["a"].ids
        for i, number in enumerate(uniforms(77, budget)):
            so_far = torch.tensor([[*context, *ids[:i]]])
            with torch.no_grad():
                cumulative = lm.network(so_far).logits[0, -1].double().softmax(-1).cumsum(-1)
            assert ids[i] == int((cumulative <= number).sum())


def test_another_seed_gives_other_tokens(make: Any) -> None:
    lm = language_model(network("llama"))
    done = drain(
        make(lm, PLAIN, max_rows=2),
        [request("a", (1, 2), seed=1, budget=20), request("b", (1, 2), seed=2, budget=20)],
    )
    assert done["a"].ids != done["b"].ids


def test_the_models_own_generation_defaults_change_nothing(make: Any) -> None:
    net = network("llama")
    requests = [request(str(i), ids, seed=i, budget=12) for i, ids in enumerate(prompts(6))]
    before = drain(make(language_model(net), PLAIN, max_rows=6), requests)
    net.generation_config.update(
        eos_token_id=list(range(20)), repetition_penalty=5.0, temperature=0.1, suppress_tokens=[1]
    )
    kept = net.generation_config
    after = drain(make(language_model(net), PLAIN, max_rows=6), requests)
    assert after == before
    assert net.generation_config is kept


def test_a_stop_string_ends_the_action_even_across_tokens(make: Any) -> None:
    lm = language_model(network("llama"), stop_ids=EOS)
    requests = [request(str(i), ids, seed=i, budget=25) for i, ids in enumerate(prompts(8))]
    free = drain(make(lm, PLAIN, max_rows=8), requests)
    decode = lm.chat.text
    text = decode(free["1"].ids)
    stop = text[4:6]
    done = drain(make(lm, PLAIN, max_rows=8, stop=(stop, "no such text")), requests)
    num_cut = 0
    for name, completion in done.items():
        whole = decode(free[name].ids)
        at = whole.find(stop)
        expected = whole if at < 0 else whole[: at + len(stop)]
        assert decode(completion.ids) == expected
        if at >= 0:
            num_cut += 1
            assert completion.finish is FinishReason.STOP
    assert num_cut >= 1


def test_a_context_too_long_is_refused_with_its_sizes_and_changes_nothing(make: Any) -> None:
    lm = language_model(network("llama"))
    engine = make(lm, PLAIN, max_rows=2)
    first = drain(engine, [request("a", [1] * 100, budget=10)])["a"]
    with pytest.raises(SamplingError, match=r"'a'.*110 tokens held \+ 41 new \+ 10 .* = 161.*160"):
        engine.submit(request("a", [1] * 41, budget=10))
    assert engine.poll() == []
    second = drain(engine, [request("a", [1] * 40, seed=1, budget=10)])["a"]
    context = [1] * 100 + list(first.ids) + [1] * 40
    expected = rescored(lm.network, context, second.ids, PLAIN)
    torch.testing.assert_close(
        torch.tensor(second.logprobs), expected.float(), atol=TOLERANCE, rtol=0
    )


@pytest.mark.parametrize(
    ("ids", "budget", "message"),
    [
        ((), 3, "0 new_ids"),
        ((1,), 0, "max_new_tokens 0"),
        ((1, NUM_TOKENS), 3, f"hold {NUM_TOKENS}, outside"),
        ((1, -1), 3, "hold -1, outside"),
    ],
)
def test_a_request_that_cannot_be_served_is_refused(
    make: Any, ids: tuple[int, ...], budget: int, message: str
) -> None:
    engine = make(language_model(network("llama")), PLAIN, max_rows=2)
    with pytest.raises(SamplingError, match=message):
        engine.submit(request("a", ids, budget=budget))
    assert engine.poll() == []


def test_a_busy_session_takes_no_second_request(make: Any) -> None:
    engine = make(language_model(network("llama")), PLAIN, max_rows=2)
    engine.submit(request("a", (1,)))
    with pytest.raises(SamplingError, match="already waiting"):
        engine.submit(request("a", (2,)))
    assert [completion.session for completion in engine.poll()] == ["a"]


def test_a_closed_session_starts_afresh_and_a_waiting_one_never_completes(make: Any) -> None:
    lm = language_model(network("llama"))
    engine = make(lm, PLAIN, max_rows=1)
    first = drain(engine, [request("a", (1, 2))])["a"]
    engine.close("a")
    engine.close("unknown")
    assert drain(engine, [request("a", (1, 2))])["a"] == first
    engine.submit(request("b", (3, 4)))
    engine.submit(request("c", (5, 6)))
    engine.close("b")
    assert [completion.session for completion in engine.poll()] == ["c"]
    assert engine.poll() == []


def test_sync_forgets_all_and_samples_from_the_new_weights(make: Any) -> None:
    lm = language_model(network("llama"))
    engine = make(lm, PLAIN, max_rows=1)
    requests = [request(name, (1, 2, 3), seed=i, budget=20) for i, name in enumerate("abc")]
    for one in requests:
        engine.submit(one)
    engine.poll()
    engine.poll()  # a rests, b rests, c waits
    with torch.no_grad():
        for parameter in lm.network.parameters():
            parameter.mul_(1.05)
    engine.sync()
    assert engine.poll() == []
    after = drain(engine, requests)
    assert after == drain(make(lm, PLAIN, max_rows=1), requests)
    assert_logprobs_match(lm, dict.fromkeys("abc", (1, 2, 3)), after, PLAIN)


def test_logits_that_are_not_finite_are_named(make: Any) -> None:
    lm = language_model(network("llama"))
    with torch.no_grad():
        lm.network.lm_head.weight[7] = torch.nan
    engine = make(lm, PLAIN, max_rows=2)
    engine.submit(request("a", (1, 2)))
    with pytest.raises(SamplingError, match=r"'a'.*log-probability nan"):
        engine.poll()


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning")  # peft's
def test_a_lora_model_is_sampled_with_its_adapter(make: Any) -> None:
    peft = pytest.importorskip("peft")
    base = network("llama")
    contexts = {str(i): ids for i, ids in enumerate(prompts(4))}
    requests = [request(n, ids, seed=int(n), budget=12) for n, ids in contexts.items()]
    plain = drain(make(language_model(base), PLAIN, max_rows=4), requests)
    config = peft.LoraConfig(
        r=4, target_modules="all-linear", init_lora_weights=False, lora_dropout=0.5
    )
    net = peft.get_peft_model(base, config)
    lm = language_model(net)
    done = drain(make(lm, PLAIN, max_rows=4), requests)
    assert_logprobs_match(lm, contexts, done, PLAIN)
    assert done != plain
    with net.disable_adapter():
        off = drain(make(lm, PLAIN, max_rows=4), requests)
    assert {n: c.ids for n, c in off.items()} == {n: c.ids for n, c in plain.items()}


def test_tensors_that_a_network_keeps_from_sampling_do_not_break_training(make: Any) -> None:
    net, kept = network("llama"), []
    handle = net.model.norm.register_forward_hook(lambda *call: kept.append(call[-1]))
    drain(make(language_model(net), PLAIN, max_rows=1), [request("a", (1, 2), budget=2)])
    handle.remove()
    weight = torch.ones(kept[0].shape[-1], requires_grad=True)
    (kept[0] * weight).sum().backward()
    assert weight.grad is not None
