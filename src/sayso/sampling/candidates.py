"""Choosing one of several whole actions: listed by the environment, proposed by the model, or both.

Dimensions: n = decisions, k = candidates of one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from sayso.errors import SamplingError
from sayso.models.filters import Distribution
from sayso.models.forest import Forest
from sayso.models.lm import LanguageModel
from sayso.models.scoring import score
from sayso.models.slates import Ids, Slate, digest, fitting
from sayso.sampling.base import Completion, Engine, Request
from sayso.sampling.decisions import Asked, Decided, DecisionQueue
from sayso.sampling.options import CandidateOptions
from sayso.seeds import derive, uniforms
from sayso.types import FinishReason

Chooser = Callable[[Sequence[Slate], Sequence[int]], Sequence[NDArray[np.float64]]]
"""From slates, and the seeds of the episodes they are of (``Request.episode_seed``), to the
log-probabilities (nats) with which each of their candidates is taken."""


def judged_by(options: CandidateOptions, asked: Asked) -> Ids:
    """What a decision is judged by."""
    return asked.context if options.state == "context" else asked.observation


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """What may be done.

    Attributes:
        ids: Token ids of each action, listed ones first; with repetitions, which are their counts.
        num_listed: How many were listed.
        finish: Why each different action ends where it does.
    """

    ids: tuple[Ids, ...]
    num_listed: int
    finish: dict[Ids, FinishReason] = field(default_factory=dict)


class CandidateMaker:
    """Gathers candidates and weighs them before any value is looked at.

    Args:
        lm: Its chat format writes listed actions; its probabilities are the prior, if asked for.
        engine: Draws proposals. Whoever else uses it must have no request waiting meanwhile.
        options: See ``CandidateOptions``.
        distribution: What proposals are drawn from.
        max_new_tokens: A listed action whose text is longer is refused: it would be cut off, and
            two could become one. Unset: the budget of each decision cuts it off.
    """

    def __init__(
        self,
        lm: LanguageModel,
        engine: Engine,
        options: CandidateOptions,
        distribution: Distribution,
        *,
        max_new_tokens: int | None = None,
    ) -> None:
        self.lm, self.engine, self.options = lm, engine, options
        self._max_new_tokens = max_new_tokens
        self._distribution = distribution
        self._priors: dict[bytes, NDArray[np.float64]] = {}

    def counts(self, choices: Sequence[str]) -> tuple[int, int]:
        """How many candidates a decision has: listed, proposed."""
        source, num = self.options.source, self.options.num_proposals
        listed = 0 if source == "proposed" else len(choices)
        return listed, 0 if source == "auto" and listed else num

    def gather(self, asked: Sequence[Asked]) -> list[Gathered]:
        """Candidates of each decision; all proposals are drawn together."""
        listed: list[list[Ids]] = []
        for one in asked:
            num_listed, _ = self.counts(one.choices)
            texts = one.choices[:num_listed]
            listed.append([self._listed(text, one.max_new_tokens) for text in texts])
        proposed = self._propose(asked)
        found = []
        for one, named, drawn in zip(asked, listed, proposed, strict=True):
            finish = {ids: self._finish(ids, one.max_new_tokens) for ids in named}
            finish |= {completion.ids: completion.finish for completion in drawn}
            ids = (*named, *(completion.ids for completion in drawn))
            found.append(Gathered(ids=ids, num_listed=len(named), finish=finish))
        return found

    def slate(
        self,
        asked: Asked,
        ids: Sequence[Ids],
        num_listed: int,
        *,
        taken: Ids | None = None,
    ) -> Slate:
        """The different candidates with their prior.

        The prior of proposals is the share of draws; of listed actions see ``CandidateOptions``;
        where there are both, either half has half of the mass.

        Args:
            asked: The decision.
            ids: As in ``Gathered``.
            num_listed: As there.
            taken: The action that was taken: it is on the slate, with prior 0 if it has to be.
        """
        listed, drawn = Counter(ids[:num_listed]), Counter(ids[num_listed:])
        weight = dict.fromkeys((*listed, *drawn), 0.0)
        share = 0.5 if listed and drawn else 1.0
        if listed:
            prior = self._listed_prior(asked.context, listed)
            for action, mass in zip(listed, prior, strict=True):
                weight[action] += share * float(mass)
        for action, count in drawn.items():
            weight[action] += share * count / drawn.total()
        if taken is not None:
            weight.setdefault(taken, 0.0)
        with np.errstate(divide="ignore"):
            logprior = np.log(np.array(list(weight.values())))
        longest = max(map(len, weight))
        return Slate(
            state=fitting(
                judged_by(self.options, asked), longest, self.lm.max_context, media=self.lm.media
            ),
            candidates=tuple(weight),
            logprior=tuple(logprior.tolist()),
        )

    def _listed(self, text: str, budget: int) -> Ids:
        """Tokens of a listed action.

        Raises:
            SamplingError: If ``max_new_tokens`` would cut its text off.
        """
        limit = self._max_new_tokens
        if limit is not None:
            whole = self.lm.chat.action(text)
            if len(whole) > limit + self.lm.chat.is_closed(whole):
                raise SamplingError(
                    where=f"listed action {text[:40]!r}",
                    problem=f"has {len(whole)} tokens, and sampling.max_new_tokens is {limit}.",
                    fix=f"Set sampling.max_new_tokens = {len(whole)} or more.",
                )
        return self.lm.chat.action(text, max_tokens=budget)

    def _propose(self, asked: Sequence[Asked]) -> list[list[Completion]]:
        names: dict[str, int] = {}
        for place, one in enumerate(asked):
            _, count = self.counts(one.choices)
            for number in range(count):
                name = f"proposal/{place}/{number}"
                names[name] = place
                seed = derive(one.seed, "proposal", number)
                room = fitting(
                    one.context, one.max_new_tokens, self.engine.max_context, media=self.lm.media
                )
                self.engine.submit(
                    Request(
                        session=name,
                        new_ids=room,
                        seed=seed,
                        max_new_tokens=one.max_new_tokens,
                    )
                )
        done: dict[str, Completion] = {}
        while names and (batch := self.engine.poll()):
            for completion in batch:
                done[completion.session] = completion
                self.engine.close(completion.session)
        found: list[list[Completion]] = [[] for _ in asked]
        for name, place in names.items():
            found[place].append(done[name])
        return found

    def _finish(self, ids: Ids, max_new_tokens: int) -> FinishReason:
        is_cut = len(ids) == max_new_tokens and not self.lm.chat.is_closed(ids)
        return FinishReason.LENGTH if is_cut else FinishReason.STOP

    def _listed_prior(self, context: Ids, listed: Counter[Ids]) -> NDArray[np.float64]:
        """Probability of each different listed action over the list."""
        if self.options.prior == "uniform":
            return np.array(list(listed.values())) / listed.total()
        key = digest(context, *listed)
        if key not in self._priors:
            logprob = self._logprobs(context, list(listed))
            mass = np.exp(logprob - logprob.max())
            self._priors[key] = mass / mass.sum()
        return self._priors[key]

    @torch.no_grad()
    def _logprobs(self, context: Ids, actions: Sequence[Ids]) -> NDArray[np.float64]:
        """Log-probability of each whole action, stop token included."""
        longest = max(map(len, actions))
        context = fitting(context, longest, self.lm.max_context, media=self.lm.media)
        ids, position, source, owner = list(context), list(range(len(context))), [], []
        for place, action in enumerate(actions):
            start = len(ids)
            source += [len(context) - 1, *range(start, start + len(action) - 1)]
            ids += action
            position += range(len(context), len(context) + len(action))
            owner += [place] * len(action)
        device = self.lm.device
        scores = score(
            self.lm,
            ids=torch.tensor(ids, device=device),
            position=torch.tensor(position, device=device),
            visible=Forest(((len(context), tuple(map(len, actions))),)),
            source=torch.tensor(source, device=device),
            target=torch.tensor(ids[len(context) :], device=device),
            distribution=self._distribution,
        )
        summed = np.zeros(len(actions))
        np.add.at(summed, owner, scores.logprob.double().cpu().numpy())
        return summed


class CandidateEngine:
    """Answers each request by one of its candidates. Satisfies ``Engine``.

    ``poll`` answers all that is queued: candidates are gathered together, scored together, and one
    is taken by the inverse distribution function at the request's own first uniform number.
    ``Completion.logprobs`` holds log P(choice), given the candidates, at the first token and 0 at
    the others: the whole action was chosen at once.

    Args:
        lm: Gives context length, vocabulary and stop tokens.
        maker: Gathers the candidates.
        choose: Weighs them.
    """

    def __init__(self, lm: LanguageModel, maker: CandidateMaker, choose: Chooser) -> None:
        self._maker, self._choose = maker, choose
        self._max_context = min(lm.max_context, maker.engine.max_context)
        self._queue = DecisionQueue(lm)

    @property
    def max_context(self) -> int:
        """Most tokens a session may hold."""
        return self._max_context

    @property
    def path(self) -> str:
        """How it computes."""
        return f"a choice among candidates; proposals: {self._maker.engine.path}"

    def submit(self, request: Request) -> None:
        """Queue a request; see ``Engine``."""
        self._queue.submit(request)

    def poll(self) -> list[Completion]:
        """Answer all that is queued, in order of submission."""
        asked = self._queue.asked()
        if not asked:
            return []
        gathered = self._maker.gather(asked)
        slates = [
            self._maker.slate(one, found.ids, found.num_listed)
            for one, found in zip(asked, gathered, strict=True)
        ]
        chosen = self._choose(slates, [one.episode_seed for one in asked])
        decided = [_drawn(*each) for each in zip(asked, slates, gathered, chosen, strict=True)]
        return self._queue.answer(decided)

    def close(self, session: str) -> None:
        """Forget a session."""
        self._queue.close(session)

    def sync(self) -> None:
        """Drop every session; the engine of the proposals is told as well."""
        self._queue.clear()
        self._maker.engine.sync()


def _drawn(asked: Asked, slate: Slate, found: Gathered, logprobs: NDArray[np.float64]) -> Decided:
    """One of the candidates, drawn by the first number of the decision's seed."""
    place = drawn_place(logprobs, float(uniforms(asked.seed, 1)[0]))
    ids = slate.candidates[place]
    return Decided(
        ids=ids,
        logprobs=(min(0.0, float(logprobs[place])), *[0.0] * (len(ids) - 1)),
        finish=found.finish[ids],
        candidates=found.ids,
    )


def drawn_place(logprobs: NDArray[np.float64], uniform: float) -> int:
    """Inverse distribution function: the first place whose cumulative probability exceeds it.

    Raises:
        SamplingError: If no probability is above 0, or one is not a number.
    """
    mass = np.exp(np.asarray(logprobs, np.float64))
    total = np.cumsum(mass)
    if not (np.isfinite(total).all() and total[-1] > 0):
        raise SamplingError(
            where="candidates",
            problem=f"no choice can be made with log-probabilities {logprobs.tolist()}.",
            fix="The values are not finite: check the weights, or lower the learning rate.",
        )
    place = int(np.searchsorted(total, uniform * total[-1], side="right"))
    return min(place, int(np.flatnonzero(mass)[-1]))
