"""What the frozen model says by itself to seeded prompts: the material that bases are fitted on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from sayso.control.generate import Answer
from sayso.control.options import ControlOptions
from sayso.control.seat import Seat
from sayso.envs.registry import EnvSource
from sayso.models.lm import LanguageModel
from sayso.sampling.base import Engine, Request
from sayso.sampling.decisions import Asked
from sayso.sampling.make import make_engine
from sayso.sampling.options import SamplingOptions
from sayso.seeds import derive

ANSWERS_PER_TASK = 4
Tell = Callable[[int], None]
"""Takes how many are done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One answer of the model as it is.

    Attributes:
        asked: What it answered.
        answer: What it said.
        task: Index of the prompt; answers to one prompt share it.
        reward: What the environment gave for it; 0.0 if it was not graded.
    """

    asked: Asked
    answer: Answer
    task: int
    reward: float


def prompts(
    lm: LanguageModel, source: EnvSource, options: ControlOptions, count: int
) -> list[Asked]:
    """First decisions of ``count`` episodes, their seeds derived from ``options.seed``."""
    seat = Seat(lm, source, replace(options, num_draws=1))
    return [seat.begin(derive(options.seed, "probe", number)) for number in range(count)]


def plain_engine(lm: LanguageModel, options: ControlOptions) -> Engine:
    """The fastest engine for the model as it is."""
    return make_engine(
        lm,
        SamplingOptions(temperature=options.temperature, max_new_tokens=options.max_new_tokens),
    )


def probe(
    lm: LanguageModel,
    engine: Engine,
    source: EnvSource,
    options: ControlOptions,
    tell: Tell | None = None,
) -> list[Probe]:
    """Answers of the model as it is, some to each prompt, each played and graded."""
    asked: list[Asked] = []
    seats: list[Seat] = []
    for number in range(options.num_probes):
        seat = Seat(lm, source, replace(options, num_draws=1))
        task, draw = divmod(number, ANSWERS_PER_TASK)
        one = seat.begin(derive(options.seed, "probe", task))
        asked.append(replace(one, seed=derive(one.seed, "probe", draw)))
        seats.append(seat)
    answers = said_plainly(engine, asked, tell)
    return [
        Probe(
            asked=one, answer=answer, task=number // ANSWERS_PER_TASK,
            reward=seat.play([answer]).reward,
        )
        for number, (seat, one, answer) in enumerate(zip(seats, asked, answers, strict=True))
    ]  # fmt: skip


def said_plainly(engine: Engine, asked: Sequence[Asked], tell: Tell | None = None) -> list[Answer]:
    """What the model says by itself, under no control; ``tell`` hears how many are answered."""
    for place, one in enumerate(asked):
        engine.submit(
            Request(
                session=f"plain/{place}", new_ids=one.context, seed=one.seed,
                max_new_tokens=one.max_new_tokens,
            )
        )  # fmt: skip
    done: dict[str, Answer] = {}
    while len(done) < len(asked) and (batch := engine.poll()):
        for completion in batch:
            engine.close(completion.session)
            done[completion.session] = Answer(
                ids=completion.ids, logprobs=completion.logprobs, finish=completion.finish
            )
        if tell is not None:
            tell(len(done))
    return [done[f"plain/{place}"] for place in range(len(asked))]
