"""TinyLang by enumeration: a tabular policy of 7 contexts × 3 tokens over 15 sequences."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Sequence
from importlib import resources

import pytest
import torch
from torch import Tensor

from sayso.losses.loss import Loss
from sayso.losses.policy_gradient import reinforce

Credit = Callable[[Sequence[float]], Sequence[float]]


class TinyLang:
    """Every sequence, so that an expectation is a sum and not an average over samples."""

    def __init__(self) -> None:
        source = resources.files("sayso.envs").joinpath("data/tinylang.json")
        self.table = json.loads(source.read_text(encoding="utf-8"))
        self.tokens: list[str] = self.table["tokens"]
        self.reward: dict[str, float] = self.table["terminal_reward"]
        self.sequences = list(self.reward)
        self.contexts = list(self.table["reference_policy"])

    def reference_logits(self) -> Tensor:
        rows = [self.table["reference_policy"][context] for context in self.contexts]
        return torch.tensor(rows, dtype=torch.float64).log()

    def random_logits(self, seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        return torch.randn(7, 3, dtype=torch.float64, generator=generator).requires_grad_()

    def places(self, sequence: str) -> tuple[list[int], list[int]]:
        """Context and token number of each decision."""
        contexts = [self.contexts.index(sequence[:index]) for index in range(len(sequence))]
        return contexts, [self.tokens.index(token) for token in sequence]

    def logprobs(self, logits: Tensor, sequence: str) -> Tensor:
        """Log-probability of each token of a sequence."""
        return logits.log_softmax(-1)[self.places(sequence)]

    def probabilities(self, logits: Tensor) -> Tensor:
        return torch.stack([self.logprobs(logits, y).sum() for y in self.sequences]).exp()

    def rewards(self) -> Tensor:
        return torch.tensor([self.reward[y] for y in self.sequences], dtype=torch.float64)

    def expected_return(self, logits: Tensor) -> Tensor:
        return (self.probabilities(logits) * self.rewards()).sum()

    def sequence_kl(self, logits: Tensor, reference: Tensor) -> Tensor:
        """KL(policy ‖ reference) over whole sequences."""
        probability, other = self.probabilities(logits), self.probabilities(reference)
        return (probability * (probability / other).log()).sum()

    def values(self, logits: Tensor) -> Tensor:
        """Exact value of each context."""
        policy = logits.softmax(-1)
        known: dict[str, Tensor] = {}
        for context in sorted(self.contexts, key=len, reverse=True):
            after = [
                known[context + token]
                if context + token in known
                else torch.tensor(self.reward[context + token], dtype=torch.float64)
                for token in self.tokens
            ]
            known[context] = (policy[self.contexts.index(context)] * torch.stack(after)).sum()
        return torch.stack([known[context] for context in self.contexts])

    def gradient(self, objective: Tensor, logits: Tensor) -> Tensor:
        return torch.autograd.grad(objective, logits)[0]

    def expected_step(
        self,
        logits: Tensor,
        advantages: Callable[[tuple[str, ...]], Sequence[Sequence[float]]],
        *,
        group_size: int,
        loss: Callable[..., Loss] = reinforce,
        token_weight: Callable[[str], float] = lambda _: 1.0,
    ) -> Tensor:
        """Expected ascent direction of an estimator over all groups, exactly.

        All 15**n groups lie in one packed row, each token weighted by its group's probability, and
        the loss is called once. Divided by the group size, as one step of one group is.

        Args:
            logits: Policy.
            advantages: One number per token of each sequence of a group.
            group_size: n.
            loss: Called with logprob, advantage, is_action, num_in_step and weight.
            token_weight: Extra weight of the tokens of a sequence.
        """
        probability = dict(zip(self.sequences, self.probabilities(logits).tolist(), strict=True))
        contexts: list[int] = []
        tokens: list[int] = []
        credit: list[float] = []
        weight: list[float] = []
        for group in itertools.product(self.sequences, repeat=group_size):
            chance = 1.0
            for sequence in group:
                chance *= probability[sequence]
            for sequence, numbers in zip(group, advantages(group), strict=True):
                assert len(numbers) == len(sequence)
                where, what = self.places(sequence)
                contexts += where
                tokens += what
                credit += numbers
                weight += [chance * token_weight(sequence)] * len(sequence)
        logprob = logits.log_softmax(-1)[contexts, tokens]
        value = loss(
            logprob,
            torch.tensor(credit, dtype=torch.float64),
            torch.ones(len(credit), dtype=torch.bool),
            num_in_step=float(group_size),
            weight=torch.tensor(weight, dtype=torch.float64),
        ).value
        return -self.gradient(value, logits)

    def per_sequence(self, credit: Credit) -> Callable[[tuple[str, ...]], list[list[float]]]:
        """Spread one advantage per sequence over its tokens."""

        def advantages(group: tuple[str, ...]) -> list[list[float]]:
            numbers = credit([self.reward[sequence] for sequence in group])
            return [[n] * len(y) for n, y in zip(numbers, group, strict=True)]

        return advantages


@pytest.fixture(scope="session")
def tinylang() -> TinyLang:
    return TinyLang()
