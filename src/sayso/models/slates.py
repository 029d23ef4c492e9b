"""Decisions among candidates, and what a trunk makes of them: one forward per shared context.

Dimensions: s = slates, c = candidates of all of them, k = candidates of the longest, d = width.
"""

from __future__ import annotations

import copy
import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from sayso.models.forest import Forest
from sayso.models.lm import LanguageModel
from sayso.models.media import MediaTable

Ids = tuple[int, ...]
CACHE_BYTES = 1 << 28
"""Memory for features of a frozen trunk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slate:
    """One decision: a state, and the different actions that may be taken in it.

    Attributes:
        state: Token ids of what the decision is based on. At least one.
        candidates: Token ids of each action, stop token included; all different.
        logprior: Log-probability (nats) of each before any value is looked at; ``-inf`` for an
            action that was taken but neither listed nor proposed.
    """

    state: Ids
    candidates: tuple[Ids, ...]
    logprior: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """Hidden states of some slates.

    Attributes:
        slates: Which of those asked for, by index.
        phi: Hidden state at the last token of each state.
        psi: Of each candidate, read behind its state: the hidden state at its last token, and the
            mean over its tokens. The first knows the whole text, but no language model was trained
            on what follows a stop token; the second is of states that were.
        owner: For each candidate the place of its slate in ``slates``; ascending.
        frozen: The same slates read by the language model as it is, where that was asked for
            beside a trunk that trains.
    """

    slates: tuple[int, ...]
    phi: Float[Tensor, "s d"]
    psi: Float[Tensor, "c 2*d"]
    owner: Int[Tensor, " c"]
    frozen: Read | None = None

    @property
    def is_candidate(self) -> Bool[Tensor, "s k"]:
        """True where a padded table holds a candidate."""
        counts = torch.bincount(self.owner, minlength=len(self.slates))
        places = torch.arange(int(counts.max()), device=counts.device)
        return places < counts[:, None]

    def padded(self, values: Float[Tensor, " c"]) -> Float[Tensor, "s k"]:
        """One row per slate; ``-inf`` where there is no candidate, whatever surrounds it."""
        live = self.is_candidate
        table = values.new_full(live.shape, -torch.inf)
        return table.masked_scatter(live, values)


def padded_prior(slates: Sequence[Slate]) -> np.ndarray:
    """``Slate.logprior`` of each, float64 [s, k], ``-inf`` where there is no candidate."""
    table = np.full((len(slates), max(len(s.candidates) for s in slates)), -np.inf)
    for row, slate in zip(table, slates, strict=True):
        row[: len(slate.logprior)] = slate.logprior
    return table


class SlateReader:
    """Reads slates with a trunk: the language model's own, frozen, or a copy that trains.

    A frozen trunk is asked once for each slate, in a row of its own, and what it said is kept: its
    bits depend on the slate alone, so a resumed run, whose memory is empty, goes on alike. A trunk
    that trains reads as many slates in one forward as the budget allows, and gradients flow.

    Args:
        lm: Gives the trunk unless ``trunk`` is set.
        trunk: A copy of the language model's network that trains.
        max_tokens: Budget of a forward of a trunk that trains.
        cache_bytes: Memory for features of the frozen one; the oldest go first.
        beside: Reader of the frozen trunk, if a trunk that trains is to come with what it says.
    """

    def __init__(
        self,
        lm: LanguageModel,
        trunk: nn.Module | None,
        *,
        max_tokens: Callable[[], int],
        cache_bytes: int = CACHE_BYTES,
        beside: SlateReader | None = None,
    ) -> None:
        self._is_frozen, self._max_tokens, self._cache_bytes = (
            trunk is None,
            max_tokens,
            cache_bytes,
        )
        self._lm, self._beside = lm, beside
        if trunk is not None:
            self._lm = copy.copy(lm)
            self._lm.network = trunk
        self._cache: OrderedDict[bytes, tuple[Tensor, Tensor, int]] = OrderedDict()
        self._num_bytes = 0

    @property
    def num_bytes(self) -> int:
        """Memory of the features kept."""
        return self._num_bytes

    def read(self, slates: Sequence[Slate]) -> Iterator[Read]:
        """Every slate once, in order; several per part."""
        if self._is_frozen:
            yield self._remembered(slates)
            return
        for part in _parts(slates, self._max_tokens()):
            chosen = [slates[index] for index in part]
            read = self._read(chosen, part)
            if self._beside is not None:
                (frozen,) = self._beside.read(chosen)
                read = replace(read, frozen=frozen)
            yield read

    @torch.no_grad()
    def _remembered(self, slates: Sequence[Slate]) -> Read:
        found = []
        for slate in slates:
            key = digest(slate.state, *slate.candidates)
            known = self._cache.get(key)
            if known is None:
                before = self._lm.num_read_tokens
                read = self._read([slate], (0,))
                known = (read.phi, read.psi, self._lm.num_read_tokens - before)
                self._keep(key, known)
            else:  # what is spared is counted: a resumed run remembers nothing, and counts alike
                self._cache.move_to_end(key)
                self._lm.num_read_tokens += known[2]
            found.append(known[:2])
        return Read(
            slates=tuple(range(len(slates))),
            phi=torch.cat([phi for phi, _ in found]),
            psi=torch.cat([psi for _, psi in found]),
            owner=_owners([len(psi) for _, psi in found], self._lm.device),
        )

    def _keep(self, key: bytes, found: tuple[Tensor, Tensor, int]) -> None:
        self._cache[key] = found
        self._num_bytes += sum(tensor.nbytes for tensor in found[:2])
        while self._num_bytes > self._cache_bytes:
            oldest = self._cache.popitem(last=False)[1]
            self._num_bytes -= sum(tensor.nbytes for tensor in oldest[:2])

    def _read(self, slates: Sequence[Slate], places: tuple[int, ...]) -> Read:
        """One forward: every state once, its candidates as branches of it."""
        ids: list[int] = []
        position: list[int] = []
        states: list[int] = []
        ends: list[int] = []
        lengths: list[int] = []
        said: list[int] = []
        for slate in slates:
            ids += slate.state
            position += range(len(slate.state))
            states.append(len(ids) - 1)
            for action in slate.candidates:
                said += range(len(ids), len(ids) + len(action))
                ids += action
                position += range(len(slate.state), len(slate.state) + len(action))
                ends.append(len(ids) - 1)
                lengths.append(len(action))

        def tensor(numbers: list[Any]) -> Tensor:
            return torch.tensor(numbers, device=self._lm.device)

        trees = tuple((len(s.state), tuple(map(len, s.candidates))) for s in slates)
        hidden = self._lm.hidden(tensor([ids]), tensor([position]), Forest(trees))[0]
        counts = tensor(lengths)
        of_token = torch.repeat_interleave(torch.arange(len(ends), device=counts.device), counts)
        summed = hidden.new_zeros(len(ends), hidden.shape[-1])
        mean = summed.index_add(0, of_token, hidden[tensor(said)]) / counts[:, None]
        return Read(
            slates=places,
            phi=hidden[tensor(states)],
            psi=torch.cat([hidden[tensor(ends)], mean], -1),
            owner=_owners([len(s.candidates) for s in slates], counts.device),
        )


def trained_copy(lm: LanguageModel) -> nn.Module:
    """A copy of the network that trains, but for a head that nobody reads."""
    network: nn.Module = copy.deepcopy(lm.causal_lm).requires_grad_(requires_grad=True)
    inputs, outputs = (
        network.get_input_embeddings(),  # type: ignore[operator]
        network.get_output_embeddings(),  # type: ignore[operator]
    )
    if outputs.weight is not inputs.weight:
        outputs.requires_grad_(requires_grad=False)
    return network


def fitting(
    state: Sequence[int], longest: int, max_context: int, *, media: MediaTable | None = None
) -> Ids:
    """A state behind which ``longest`` tokens have room: of one that is too long, the end.

    A picture or sound that does not fit whole is left out, where the model's ``media`` are given.
    """
    room = max(1, max_context - longest)
    kept = tuple(state[-room:])
    return kept if media is None else media.whole(kept) or kept[-1:]


def digest(*texts: Sequence[int]) -> bytes:
    """A short name of token sequences, the same in every process."""
    made = hashlib.blake2b(digest_size=16)
    for ids in texts:
        made.update(np.asarray([len(ids), *ids], np.int64).tobytes())
    return made.digest()


def _parts(slates: Sequence[Slate], max_tokens: int) -> list[tuple[int, ...]]:
    """Neighbouring slates that fit the budget; a larger one stands alone."""
    parts: list[list[int]] = []
    used = 0
    for index, slate in enumerate(slates):
        size = len(slate.state) + sum(map(len, slate.candidates))
        if not parts or used + size > max_tokens:
            parts.append([])
            used = 0
        parts[-1].append(index)
        used += size
    return [tuple(part) for part in parts]


def _owners(counts: Sequence[int], device: torch.device) -> Tensor:
    return torch.repeat_interleave(
        torch.arange(len(counts), device=device), torch.tensor(counts, device=device)
    )
