"""Absolute guards, ours alone, so that a slow peer cannot flatter us.

``python -m sayso.bench.guards --model=DIR --work=W1 ...`` prints a line of JSON for each.
"""

from __future__ import annotations

import statistics
import time
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch

from sayso.algorithms.grpo import GRPO
from sayso.bench import roofline
from sayso.bench.decoding import NEW_TOKENS, Rows, engine_of, line_misfit, token_s
from sayso.bench.flops import decode_roofline_s, sizes, trunk_shapes, update_flops, visible_pairs
from sayso.bench.operators import Spent, decode_rest_s, spent
from sayso.bench.ours import sampled, setting
from sayso.bench.works import GROUP_SIZE, NUM_PROMPTS, Job, parse, report
from sayso.envs.registry import EnvSource
from sayso.models.lm import LanguageModel
from sayso.sampling.base import Engine
from sayso.sampling.native.probe import why_not_native
from sayso.sampling.native.weights import Weights
from sayso.sampling.network import unwrapped

ROWS = (16, 32, 64, 128)
CONTEXTS = (64, 128, 256, 512, 768, 1024)
CONTEXT_ROWS = 8
TURNS, TURN_ROWS, TURN_FED, TURN_NEW = 20, 16, 16, 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """One goal and what was measured.

    Attributes:
        name: What it is about.
        measured: ``None`` where it cannot be measured here.
        goal: The bound.
        side: Whether the measured number must be at least or at most that.
        unit: ``"%"`` or ``"s"``.
        details: What it was made of.
    """

    name: str
    measured: float | None
    goal: float
    side: Literal[">=", "<="]
    unit: str
    details: dict[str, Any]

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; ``None`` when nothing was measured."""
        if self.measured is None:
            return None
        return self.measured >= self.goal if self.side == ">=" else self.measured <= self.goal


def guards(job: Job) -> Iterator[Guard]:
    """Measure one after the other."""
    learner, env = setting(job, graded=unequal)
    lm = learner.lm
    yield update_guard(learner, env, job)
    yield step_guard(learner, env, job)
    yield packing_guard(lm, job)
    engine = engine_of(lm, job.precision)
    yield decode_guard(engine, lm, job)
    yield rows_guard(engine, lm, job)
    yield context_guard(engine, lm)
    yield turns_guard(engine, lm, TURN_ROWS)
    yield turns_guard(engine, lm, 1)


def unequal(prompt: str, completion: str) -> float:
    """A reward that no two texts share: no group and no row is without signal, so all are paid."""
    del prompt
    return zlib.crc32(completion.encode()) / 2**32


def update_guard(learner: GRPO, env: EnvSource, job: Job) -> Guard:
    """Useful operations per second of whole updates over those of sgemm just before and after."""
    model, shares, rates, gemms = sizes(learner.lm), [], [], []
    for repeat in range(job.repeats + 1):
        episodes = sampled(learner, env, repeat)
        rows = learner.core.pack(episodes).rows
        useful = update_flops(
            model, tokens=sum(len(row.ids) for row in rows),
            actions=sum(len(row.target) for row in rows),
            pairs=visible_pairs(row.forest for row in rows),
        )  # fmt: skip
        before = roofline.sgemm_flops()
        start = time.perf_counter()
        learner.update(episodes, seed=repeat)
        seconds = time.perf_counter() - start
        gemm = (before + roofline.sgemm_flops()) / 2
        if repeat:  # the first one warms up
            rates.append(useful / seconds)
            gemms.append(gemm)
            shares.append(useful / seconds / gemm)
    shapes = {
        f"{columns}x{depth}": roofline.sgemm_flops(1024, columns, depth) / 1e9
        for columns, depth in trunk_shapes(learner.lm)
    }
    return Guard(
        name="update: useful operations, share of sgemm", side=">=", goal=65, unit="%",
        measured=100 * statistics.median(shares),
        details={
            "update_gflops": statistics.median(rates) / 1e9,
            "sgemm_gflops": statistics.median(gemms) / 1e9,
            "sgemm_of_1024_tokens_by_shape_gflops": shapes, "repeats": job.repeats,
        },
    )  # fmt: skip


def step_guard(learner: GRPO, env: EnvSource, job: Job) -> Guard:
    """Share of a whole step, sampling and update, outside of products and attention."""
    kept: list[Any] = []
    rollout = spent(lambda: kept.append(sampled(learner, env, 1000)))
    update = spent(lambda: learner.update(kept[0], seed=1000))
    kernel = _kernel_rest(learner.lm, rollout, job)
    in_kernel = rollout.by_class.get("decode kernel", 0.0) - kernel["decode_kernel_rest_s"]
    outside = {
        "rollout": rollout.total_s - rollout.inside_s - in_kernel,
        "update": update.total_s - update.inside_s,
    }
    total = rollout.total_s + update.total_s
    return Guard(
        name="step: time outside gemm and attention", side="<=", goal=25, unit="%",
        measured=100 * sum(outside.values()) / total,
        details={
            "rollout_s": rollout.total_s, "update_s": update.total_s,
            "outside_of_rollout": outside["rollout"] / rollout.total_s,
            "outside_of_update": outside["update"] / update.total_s,
            **kernel,
            "rollout_by_class_s": _sorted(rollout.by_class),
            "update_by_class_s": _sorted(update.by_class),
            "unclassified_s": rollout.unclassified | update.unclassified,
        },
    )  # fmt: skip


def _kernel_rest(lm: LanguageModel, rollout: Spent, job: Job) -> dict[str, float]:
    """Of the decode kernel: measured for its most frequent pass, in proportion for the others."""
    if not rollout.passes:
        return {"decode_kernel_rest_s": 0.0}
    (rows, _), _ = rollout.passes.most_common(1)[0]
    network = unwrapped(lm.network)
    rest, whole = decode_rest_s(network, rows=rows, is_int8=job.precision == "int8")
    tokens = sum(count * times for (count, _), times in rollout.passes.items())
    return {
        "decode_kernel_rest_s": rest / rows * tokens,
        "decode_pass_rest_s": rest, "decode_pass_s": whole, "decode_pass_rows": float(rows),
    }  # fmt: skip


def packing_guard(lm: LanguageModel, job: Job) -> Guard:
    """Seconds to pack the weights again after each of them has changed."""
    name, is_int8, network = "weights packed again, a step", job.precision == "int8", lm.causal_lm
    reason = why_not_native(lm, is_int8=is_int8)
    if reason is not None:
        return Guard(
            name=name, side="<=", goal=0.5, unit="s", measured=None, details={"why": reason}
        )
    weights = Weights(network, is_int8=is_int8)

    def changed() -> float:
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(0.0)
        start = time.perf_counter()
        weights.refresh()
        return time.perf_counter() - start

    changed()
    return Guard(
        name=name, side="<=", goal=0.5, unit="s",
        measured=statistics.median(changed() for _ in range(3)), details={},
    )  # fmt: skip


def decode_guard(engine: Engine, lm: LanguageModel, job: Job) -> Guard:
    """The work's rows, decoded by the engine, over what the int8 roofline allows."""
    name, goal = "decoding, share of the int8 roofline", 25
    ops = roofline.int8_ops_per_s() if job.precision == "int8" else None
    if ops is None:
        return Guard(
            name=name, side=">=", goal=goal, unit="%", measured=None,
            details={"why": "no int8 kernel here, or precision=exact"},
        )  # fmt: skip
    num_new, rows, copied = job.max_new, NUM_PROMPTS * GROUP_SIZE, roofline.copy_bytes_per_s()
    model = sizes(lm)
    found = token_s(
        engine, lm, prompts=NUM_PROMPTS, group_size=GROUP_SIZE, length=job.prompt_tokens,
        num_new=num_new,
    )  # fmt: skip
    prompts_read = NUM_PROMPTS * job.prompt_tokens
    least = sum(
        decode_roofline_s(
            model, rows=rows, positions_read=prompts_read + rows * own, weight_bytes=1,
            kv_bytes=1, ops_per_s=ops, bytes_per_s=copied,
        )
        for own in range(2, num_new + 2)
    )  # fmt: skip
    allowed = least / (num_new * rows)
    return Guard(
        name=name, side=">=", goal=goal, unit="%", measured=100 * allowed / found,
        details={
            "tokens_per_s": 1 / found, "roofline_tokens_per_s": 1 / allowed,
            "int8_gops": ops / 1e9, "copy_gb_per_s": copied / 1e9,
        },
    )  # fmt: skip


def rows_guard(engine: Engine, lm: LanguageModel, job: Job) -> Guard:
    """Spread of the cost of a token over the number of rows."""

    def cost_of(rows: int) -> float:
        return token_s(
            engine, lm, prompts=rows // GROUP_SIZE, group_size=GROUP_SIZE,
            length=job.prompt_tokens,
        )  # fmt: skip

    cost = {rows: cost_of(rows) for rows in ROWS}
    return Guard(
        name="cost of a token, 16 to 128 rows: largest over least", side="<=", goal=20, unit="%",
        measured=100 * (max(cost.values()) / min(cost.values()) - 1),
        details={"token_ms_by_rows": {n: 1000 * s for n, s in cost.items()}},
    )  # fmt: skip


def context_guard(engine: Engine, lm: LanguageModel) -> Guard:
    """Distance of the cost of a token from a line in the length of the context."""
    most = lm.max_context - NEW_TOKENS - 2
    contexts = [min(length, most) for length in CONTEXTS]
    cost = [
        token_s(engine, lm, prompts=CONTEXT_ROWS, group_size=1, length=length)
        for length in contexts
    ]
    return Guard(
        name="cost of a token, context 64 to 1024: distance from a line", side="<=", goal=20,
        unit="%", measured=100 * line_misfit(contexts, cost),
        details={
            "rows": CONTEXT_ROWS,
            "token_ms_by_context": dict(zip(contexts, (1000 * s for s in cost), strict=True)),
        },
    )  # fmt: skip


def turns_guard(engine: Engine, lm: LanguageModel, num_sessions: int) -> Guard:
    """Cost of a new token in turn 20 over turn 1, keys and values kept; the least of two runs.

    A turn feeds some tokens and decodes some more; the first begins with an empty context.
    """

    def run(name: str) -> list[float]:
        rows = Rows(engine, lm, f"{num_sessions}/{name}")
        rows.start(prompts=num_sessions, group_size=1, length=1)
        found = [rows.go_on(TURN_NEW, length=TURN_FED) for _ in range(TURNS)]
        rows.close()
        return found

    spans = [min(pair) for pair in zip(run("first"), run("second"), strict=True)]
    who = "one session" if num_sessions == 1 else f"{num_sessions} sessions"
    return Guard(
        name=f"several turns of {who}: a token of turn 20 over one of turn 1", side="<=", goal=20,
        unit="%",
        measured=100 * (spans[-1] / spans[0] - 1),
        details={
            "rows": num_sessions, "fed_a_turn": TURN_FED, "new_a_turn": TURN_NEW,
            "token_ms_by_turn": [1000 * s / (TURN_NEW * num_sessions) for s in spans],
        },
    )  # fmt: skip


def _sorted(seconds: dict[str, float]) -> dict[str, float]:
    return dict(sorted(seconds.items(), key=lambda pair: -pair[1]))


def main() -> None:
    """Report each guard as soon as it is measured."""
    job = parse()
    torch.set_num_threads(job.threads)
    for guard in guards(job):
        report(**asdict(guard), met=guard.met)


if __name__ == "__main__":
    main()
