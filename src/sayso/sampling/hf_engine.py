"""The reference engine: transformers' ``generate``, with our draws.

Dimensions: n = rows, t = positions, v = vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, StoppingCriteria

from sayso.models.distribution import inverse_cdf, token_logprobs
from sayso.models.filters import Distribution
from sayso.models.lm import LanguageModel
from sayso.sampling.base import Completion, Request
from sayso.sampling.network import device_of, evaluating, unwrapped
from sayso.sampling.sessions import Session, SessionTable


class HFEngine:
    """Runs ``generate`` on a left-padded batch. Satisfies ``Engine``.

    Simple, slow and general: it keeps token ids only and computes every context anew for each
    action, so it works with any architecture that ``generate`` works with. Other engines are
    tested against it.
    """

    def __init__(
        self,
        lm: LanguageModel,
        distribution: Distribution,
        *,
        max_rows: int,
        stop: Sequence[str] = (),
    ) -> None:
        """Prepare.

        Args:
            lm: The model. Its network is put into eval mode only while sampling.
            distribution: What to sample from.
            max_rows: Rows generated together.
            stop: Strings that end an action.
        """
        self._network = lm.network
        self._distribution = distribution
        self._max_rows = max_rows
        self._max_context: int = lm.max_context
        self._sessions = SessionTable(lm, stop)
        self._queue: dict[str, Session] = {}

    @property
    def path(self) -> str:
        """How it computes."""
        return "hf: transformers' generate"

    @property
    def max_context(self) -> int:
        """Most tokens a session may hold."""
        return self._max_context

    def submit(self, request: Request) -> None:
        """Queue a request; see ``Engine``.

        Raises:
            SamplingError: If it cannot be served; see ``SessionTable.submit``.
        """
        session = self._sessions.submit(request)
        self._queue[session.name] = session

    def poll(self) -> list[Completion]:
        """Generate for the first ``max_rows`` requests of the queue; return them all."""
        batch = [self._queue.pop(name) for name in list(self._queue)[: self._max_rows]]
        if not batch:
            return []
        draws = _Draws(self._sessions, batch, self._distribution)
        device = device_of(self._network)
        ids, is_token = _left_padded([session.ids for session in batch], device)
        network = unwrapped(self._network)
        with evaluating(self._network), _neutral_generation_config(network):
            network.generate(
                input_ids=ids,
                attention_mask=is_token.long(),
                generation_config=_generation_config(
                    max_new_tokens=max(session.active.max_new_tokens for session in batch),
                    do_sample=False,
                    pad_token_id=0,
                ),
                logits_processor=[draws],
                stopping_criteria=[_AllDrawn(draws)],
            )
        return draws.completions()

    def close(self, session: str) -> None:
        """Forget a session."""
        self._sessions.close(session)
        self._queue.pop(session, None)

    def sync(self) -> None:
        """Drop every session. There is no other state."""
        self._sessions.clear()
        self._queue.clear()


class _Draws(LogitsProcessor):
    """Draws each row's next token from our distribution with the row's own number.

    ``generate`` then searches greedily among scores that leave it this token only, so the
    tokens and their log-probabilities are ours and the passes are transformers'.
    """

    def __init__(
        self, sessions: SessionTable, batch: Sequence[Session], distribution: Distribution
    ) -> None:
        self._sessions = sessions
        self._batch = batch
        self._distribution = distribution
        self._done: list[Completion | None] = [None] * len(batch)

    def __call__(
        self, input_ids: Int[Tensor, "n t"], scores: Float[Tensor, "n v"]
    ) -> Float[Tensor, "n v"]:
        """Scores 0 at the drawn token and ``-inf`` elsewhere; finished rows get token 0."""
        open_rows = [i for i, done in enumerate(self._done) if done is None]
        logprobs = token_logprobs(scores[open_rows], self._distribution)
        uniform = [self._batch[i].active.uniform for i in open_rows]
        tokens = inverse_cdf(
            logprobs, torch.tensor(uniform, dtype=torch.float64, device=scores.device)
        )
        chosen = logprobs.gather(-1, tokens[:, None]).squeeze(-1)
        for i, token, logprob in zip(open_rows, tokens.tolist(), chosen.tolist(), strict=True):
            self._done[i] = self._sessions.note(self._batch[i], token, logprob)
        forced = torch.zeros(len(scores), dtype=torch.long, device=scores.device)
        forced[open_rows] = tokens
        return torch.full_like(scores, -torch.inf).scatter_(-1, forced[:, None], 0.0)

    def is_done(self, device: torch.device) -> Bool[Tensor, " n"]:
        """Rows whose action is complete."""
        return torch.tensor([done is not None for done in self._done], device=device)

    def completions(self) -> list[Completion]:
        """All completions, in order of submission."""
        return [done for done in self._done if done is not None]


class _AllDrawn(StoppingCriteria):
    """Ends ``generate`` when every row's action is complete."""

    def __init__(self, draws: _Draws) -> None:
        self._draws = draws

    def __call__(self, input_ids: Int[Tensor, "n t"], scores: Any, **_: Any) -> Bool[Tensor, " n"]:
        """Rows that need no more tokens."""
        return self._draws.is_done(input_ids.device)


def _left_padded(
    contexts: Sequence[Sequence[int]], device: torch.device
) -> tuple[Int[Tensor, "n t"], Bool[Tensor, "n t"]]:
    """Ids padded on the left with 0, and which entries are tokens: known here, never guessed."""
    length = max(len(context) for context in contexts)
    ids = torch.zeros(len(contexts), length, dtype=torch.long)
    is_token = torch.zeros(len(contexts), length, dtype=torch.bool)
    for i, context in enumerate(contexts):
        ids[i, length - len(context) :] = torch.tensor(context)
        is_token[i, length - len(context) :] = True
    return ids.to(device), is_token.to(device)


def _generation_config(**options: Any) -> GenerationConfig:
    config: GenerationConfig = GenerationConfig(**options)  # type: ignore[no-untyped-call]
    return config


@contextmanager
def _neutral_generation_config(network: Any) -> Iterator[None]:
    """Hide the model's own generation defaults.

    ``generate`` fills whatever is unset from them: stop tokens, repetition penalties, top-k. The
    distribution and the stop tokens are ours alone.
    """
    kept = network.generation_config
    network.generation_config = _generation_config()
    try:
        yield
    finally:
        network.generation_config = kept
