"""States of candidates: what a packed forward reads, and what is kept of a frozen trunk."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "contract"))

from engine_cases import language_model, network
from learner_cases import END, tiny_lm

from sayso.models.candidate_heads import CandidateCritic
from sayso.models.slates import Read, Slate, SlateReader, digest, fitting, padded_prior


def slate(state: tuple[int, ...], *actions: tuple[int, ...]) -> Slate:
    return Slate(state=state, candidates=actions, logprior=(-1.0,) * len(actions))


SLATES = [
    slate((END, 0), (0, 1, END), (1,), (0, END)),
    slate((END,), (1, 1, 1)),
    slate((END, 1, 0, 1), (END,), (0, 0)),
]


def parts(lm: Any, trunk: Any, max_tokens: int) -> list[Read]:
    return list(SlateReader(lm, trunk, max_tokens=lambda: max_tokens).read(SLATES))


def plain(lm: Any, ids: tuple[int, ...]) -> torch.Tensor:
    """Last hidden states by the network's own forward, text by text."""
    with torch.no_grad():
        out = lm.network(input_ids=torch.tensor([ids]), output_hidden_states=True)
    states: torch.Tensor = out.hidden_states[-1][0]
    return states


@pytest.mark.parametrize("owns", [False, True])
@pytest.mark.parametrize("max_tokens", [1, 17, 1000])
@pytest.mark.parametrize("kind", ["tiny", "gpt2", "qwen3"])
def test_each_candidate_is_read_behind_its_state_as_if_alone(
    kind: str, owns: bool, max_tokens: int
) -> None:
    lm = tiny_lm() if kind == "tiny" else language_model(network(kind))
    trunk = CandidateCritic(lm, twins="one", owns_trunk=owns, seed=0).trunk
    reads = parts(lm, trunk, max_tokens)
    assert len(reads) == (1 if not owns or max_tokens == 1000 else 3 if max_tokens == 1 else 2)
    assert [i for read in reads for i in read.slates] == [0, 1, 2]
    phi = torch.cat([read.phi for read in reads])
    psi = torch.cat([read.psi for read in reads])
    texts = [(s.state, action) for s in SLATES for action in s.candidates]
    tolerance = 1e-10 if kind == "tiny" else 1e-4
    for found, one in zip(phi, SLATES, strict=True):
        torch.testing.assert_close(found, plain(lm, one.state)[-1], atol=tolerance, rtol=0)
    for found, (state, action) in zip(psi, texts, strict=True):
        said = plain(lm, state + action)[len(state) :]
        expected = torch.cat([said[-1], said.mean(0)])
        torch.testing.assert_close(found, expected, atol=tolerance, rtol=0)


def test_padded_tables_have_one_row_per_slate() -> None:
    (read,) = parts(tiny_lm(), None, 1000)
    table = read.padded(torch.arange(6.0))
    inf = float("inf")
    assert table.tolist() == [[0, 1, 2], [3, -inf, -inf], [4, 5, -inf]]
    assert padded_prior(SLATES).tolist() == [[-1, -1, -1], [-1, -inf, -inf], [-1, -1, -inf]]


def test_a_frozen_trunk_is_asked_once_and_its_bits_do_not_depend_on_what_it_was_asked_before() -> (
    None
):
    lm = tiny_lm(dtype="float32")
    calls: list[int] = []
    original = lm.hidden
    lm.hidden = lambda *args: (calls.append(1), original(*args))[1]
    reader = SlateReader(lm, None, max_tokens=lambda: 1000)
    (whole,) = reader.read(SLATES)
    assert len(calls) == 3
    (again,) = reader.read(SLATES)
    assert len(calls) == 3
    assert torch.equal(again.psi, whole.psi)
    (alone,) = SlateReader(lm, None, max_tokens=lambda: 1000).read(SLATES[2:])
    assert torch.equal(alone.psi, whole.psi[-2:])
    assert not alone.psi.requires_grad


def test_features_are_kept_up_to_a_limit_and_the_oldest_go_first() -> None:
    lm = tiny_lm()
    reader = SlateReader(lm, None, max_tokens=lambda: 1000)
    list(reader.read(SLATES[:1]))
    one = reader.num_bytes
    assert one == (1 + 3 * 2) * lm.width * 8
    small = SlateReader(lm, None, max_tokens=lambda: 1000, cache_bytes=one)
    list(small.read(SLATES))
    assert 0 < small.num_bytes <= one
    calls: list[int] = []
    original = lm.hidden
    lm.hidden = lambda *args: (calls.append(1), original(*args))[1]
    list(small.read(SLATES[2:]))
    assert not calls
    list(small.read(SLATES[:1]))
    assert calls


def test_a_trunk_of_ones_own_trains_and_the_language_model_does_not() -> None:
    lm = tiny_lm()
    lm.freeze_network()
    critic = CandidateCritic(lm, twins="one", owns_trunk=True, seed=0)
    assert critic.trunk is not None
    reads = parts(lm, critic.trunk, 17)
    with torch.no_grad():
        critic.heads[0].project.weight.fill_(0.1)
    total = torch.stack([torch.where(r.is_candidate, critic(r), 0.0).sum() for r in reads]).sum()
    total.backward()
    gradients = {n: p.grad for n, p in critic.trunk.named_parameters() if p.requires_grad}
    assert all(g is not None and bool(g.any()) for g in gradients.values())
    unread = [n for n, p in critic.trunk.named_parameters() if not p.requires_grad]
    assert unread == ["lm_head.weight"]
    assert all(p.grad is None for p in lm.network.parameters())


def test_of_a_state_that_is_too_long_the_end_is_read() -> None:
    assert fitting((1, 2, 3, 4), 2, 5) == (2, 3, 4)
    assert fitting((1, 2), 2, 5) == (1, 2)
    assert fitting((1, 2), 9, 5) == (2,)


def test_digests_tell_where_one_text_ends_and_the_next_begins() -> None:
    assert digest((1, 2), (3,)) == digest([1, 2], [3])
    assert digest((1, 2), (3,)) != digest((1,), (2, 3))
    assert digest((1,)) != digest((1,), ())
