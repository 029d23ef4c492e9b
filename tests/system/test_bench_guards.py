"""``sayso bench guards``: what is counted, what counts as what, and that every goal is printed."""

from __future__ import annotations

import ctypes
import json
from collections import Counter

import pytest
import tiny_models
import torch
from typer.testing import CliRunner

from sayso.bench import guards
from sayso.bench.decoding import Rows, engine_of, line_misfit
from sayso.bench.flops import (
    decode_roofline_s,
    sizes,
    trunk_shapes,
    update_flops,
    visible_pairs,
)
from sayso.bench.guards import Guard
from sayso.bench.operators import (
    UNCLASSIFIED,
    class_of,
    decode_rest_s,
    first_tokens,
    spent,
    without_products,
)
from sayso.bench.ours import sampled, setting
from sayso.bench.works import Job
from sayso.cli.main import app
from sayso.errors import OptionValueError
from sayso.kernels.library import library
from sayso.models.forest import Forest
from sayso.models.lm import LanguageModel
from sayso.models.load import load
from sayso.models.options import LoraOptions, ModelOptions
from sayso.sampling.native.weights import Weights

pytestmark = pytest.mark.medium


def lm_of(rank: int = 0) -> LanguageModel:
    lora = LoraOptions(rank=rank, alpha=2.0) if rank else None
    return load(tiny_models.tiny_llama(), ModelOptions(lora=lora))


TRUNK = 2 * (32 * 32 + 2 * 16 * 32 + 32 * 32 + 3 * 32 * 48)
ADAPTERS = 2 * 2 * ((32 + 32) + 2 * (32 + 16) + (32 + 32) + 3 * (32 + 48))
FOREST = Forest(((3, (2, 2)), (1, (4,))))
PAIRS = (6 + 2 * (2 * 3 + 3)) + (1 + (4 * 1 + 10))


def test_the_parts_of_a_model_are_counted_as_by_hand() -> None:
    found = sizes(lm_of())
    vocabulary = lm_of().causal_lm.config.vocab_size
    assert (found.trunk, found.head, found.adapters) == (TRUNK, vocabulary * 32, 0)
    assert (found.attention, found.kv) == (2 * 4 * 8, 2 * 2 * 2 * 8)
    assert not found.is_frozen
    assert trunk_shapes(lm_of()) == [(16, 32), (32, 32), (32, 48), (48, 32)]
    with_adapters = sizes(lm_of(rank=2))
    assert (with_adapters.trunk, with_adapters.adapters) == (TRUNK, ADAPTERS)
    assert with_adapters.is_frozen


def test_visible_pairs_are_those_of_the_mask() -> None:
    assert visible_pairs([FOREST]) == PAIRS == int(FOREST.mask().sum())


def test_useful_operations_of_an_update_as_by_hand() -> None:
    full, frozen = sizes(lm_of()), sizes(lm_of(rank=2))
    attention = 12 * 64 * PAIRS
    assert update_flops(full, tokens=12, actions=8, pairs=PAIRS) == (
        6 * TRUNK * 12 + 6 * full.head * 8 + attention
    )
    assert update_flops(frozen, tokens=12, actions=8, pairs=PAIRS) == (
        (4 * TRUNK + 6 * ADAPTERS) * 12 + 4 * full.head * 8 + attention
    )


def test_the_roofline_of_a_step_is_the_slower_of_reading_and_multiplying_and_the_cache() -> None:
    model = sizes(lm_of())
    weights = model.trunk + model.head
    given = {"weight_bytes": 1, "kv_bytes": 4, "ops_per_s": 20.0, "bytes_per_s": 2.0}
    few = decode_roofline_s(model, rows=1, positions_read=0, **given)
    many = decode_roofline_s(model, rows=100, positions_read=0, **given)
    assert few == weights / 2
    assert many == 2 * weights * 100 / 20
    with_cache = decode_roofline_s(model, rows=1, positions_read=3, **given)
    assert with_cache - few == pytest.approx(3 * model.kv * 4 / 2)


@pytest.mark.parametrize("rank", [0, 2])
def test_every_operator_of_a_step_has_a_class(rank: int, tiny_dir: str) -> None:
    job = Job(model=tiny_dir, threads=1, lora=rank)
    learner, env = setting(job, graded=guards.unequal)
    kept = sampled(learner, env, 0)
    learner.update(kept, seed=0)
    rollout = spent(lambda: sampled(learner, env, 1))
    update = spent(lambda: learner.update(kept, seed=1))
    assert rollout.unclassified == {}
    assert update.unclassified == {}
    assert {"gemm", "attention", "softmax of the head", "optimiser"} <= update.by_class.keys()
    assert {"decode kernel", "draw", "python"} <= rollout.by_class.keys()
    for part in (rollout, update):
        assert sum(part.by_class.values()) == pytest.approx(part.total_s, rel=0.05)
    prompts = sum(len(kept[8 * n].turns[0].observation_ids) for n in range(8))
    assert rollout.passes == Counter({(64, 64): 47, (prompts, 8): 1})
    assert library().calls.sayso_step.__class__.__name__ == "_FuncPtr"


def test_an_operator_that_nobody_knows_is_told() -> None:
    assert class_of("aten::fold_proteins") == UNCLASSIFIED
    assert class_of("aten::mm") == "gemm"
    assert class_of("aten::_scaled_dot_product_flash_attention_for_cpu_backward") == "attention"
    assert class_of("autograd::engine::evaluate_function: MmBackward0") == "autograd"
    assert class_of("_HeadLogprobs") == "autograd"


def test_a_guard_pays_for_every_row() -> None:
    assert len({guards.unequal("p", text) for text in ("a", "b", "a b", "")}) == 4


@pytest.mark.parametrize("is_int8", [False, True])
def test_without_products_a_pass_of_the_kernel_writes_no_logits(is_int8: bool) -> None:
    """And the model that was copied still does."""
    kernels, network = library(), load(tiny_models.tiny_llama()).causal_lm
    weights = Weights(network, is_int8=is_int8 and kernels.has_int8)
    weights.refresh()
    weights.reach(1)
    rest, layers = without_products(weights.model)
    parts = [(one.qkv, one.out, one.up, one.down) for one in layers]
    assert not any(linear.columns or linear.rank for part in parts for linear in part)
    tokens, out, _alive = first_tokens(kernels, weights.model, 5)
    out.fill_(7.0)
    for model, is_written in ((rest, False), (weights.model, True)):
        kernels.calls.sayso_step(ctypes.byref(model), ctypes.byref(tokens), out.data_ptr(), 1)
        assert bool((out != 7.0).all()) is is_written
    assert all(number >= 0 for number in decode_rest_s(network, rows=5, is_int8=is_int8))


def test_rows_go_on_where_they_were_with_their_caches(tiny_dir: str) -> None:
    learner, _ = setting(Job(model=tiny_dir, threads=1))
    lm = learner.lm
    rows = Rows(engine_of(lm, "exact"), lm, "x")
    rows.start(prompts=2, group_size=3, length=5)
    two = spent(lambda: rows.go_on(4, length=7))
    # Six rows are fed seven tokens and the last one drawn, then three single ones.
    assert two.passes == Counter({(6, 6): 3, (6 * 8, 6): 1})


def test_the_distance_from_a_line() -> None:
    assert line_misfit([1, 2, 3], [2, 4, 6]) == pytest.approx(0)
    assert line_misfit([1, 2, 3], [3, 6, 3]) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("side", "measured", "met"),
    [(">=", 66.0, True), (">=", 64.0, False), ("<=", 64.0, True), ("<=", 66.0, False)],
)
def test_a_goal_has_a_side(side: str, measured: float, met: bool) -> None:
    guard = Guard(name="x", measured=measured, goal=65, side=side, unit="%", details={})  # type: ignore[arg-type]
    assert guard.met is met


GOALS = [
    ("update", ">= 65 %"), ("step", "<= 25 %"), ("weights packed again", "<= 0.5 s"),
    ("decoding", ">= 25 %"), ("cost of a token, 16 to 128", "<= 20 %"),
    ("cost of a token, context", "<= 20 %"), ("several turns of 16 sessions", "<= 20 %"),
    ("several turns of one session", "<= 20 %"),
]  # fmt: skip


def test_the_command_prints_every_guard_with_its_goal(tiny_dir: str) -> None:
    asked = ["bench", "guards", "--set", f"model={tiny_dir}", "--set", "threads=1",
             "--set", "repeats=1"]  # fmt: skip
    done = CliRunner().invoke(app, asked)
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    for line, (name, goal) in zip(lines, GOALS, strict=False):
        assert line.startswith(name)
        assert goal in line
        assert line.endswith(("  met", "NOT MET", "not measured"))
    assert "int8 sampling, 1 threads" in lines[len(GOALS)]


def test_guards_as_json_say_what_they_are_made_of(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    guard = Guard(name="x", measured=None, goal=1, side="<=", unit="s", details={"why": "no"})
    monkeypatch.setattr(guards, "guards", lambda _: iter([guard]))
    monkeypatch.setattr(guards, "parse", lambda: Job(model="m", threads=torch.get_num_threads()))
    guards.main()
    told = json.loads(capsys.readouterr().out)
    assert told["met"] is None
    assert told["details"] == {"why": "no"}


def test_a_peer_s_setting_is_refused() -> None:
    done = CliRunner().invoke(app, ["bench", "guards", "--set", "shipped=1"])
    assert isinstance(done.exception, OptionValueError)
    assert "one of: model, precision, lora, threads, repeats" in str(done.exception)
