"""Scores of a packed row against each text alone through the model's own plain forward."""

from __future__ import annotations

from typing import Any

import pytest
import tiny_models
import torch
from torch import Tensor

from sayso.models import head, scoring
from sayso.models.distribution import token_logprobs
from sayso.models.filters import Distribution
from sayso.models.forest import Forest
from sayso.models.lm import LanguageModel
from sayso.models.load import load
from sayso.models.options import LoraOptions, ModelOptions, TinyOptions
from sayso.models.scoring import score, values

ALL = {
    **tiny_models.ARCHITECTURES,
    "gemma2": tiny_models.tiny_gemma2,
    "cohere": tiny_models.tiny_cohere,
    "granite": tiny_models.tiny_granite,
}
FULL = Distribution()


def language_model(kind: str, **changes: Any) -> LanguageModel:
    return load(ALL[kind](**changes))


def texts(count: int = 4, *, seed: int = 0) -> tuple[list[int], list[list[int]]]:
    """A prompt of nine tokens and answers of 1, 4, 7, … tokens; 256 (the padding id) among them."""
    generator = torch.Generator().manual_seed(seed)
    prompt = torch.randint(257, (9,), generator=generator).tolist()
    answers = [torch.randint(257, (1 + 3 * i,), generator=generator).tolist() for i in range(count)]
    answers[1][2] = 256
    return prompt, answers


def alone(lm: LanguageModel, prompt: list[int], answer: list[int]) -> Tensor:
    """Log-probabilities of an answer by the plain Hugging Face forward."""
    with torch.no_grad():
        logits = lm.causal_lm(input_ids=torch.tensor([prompt + answer]), use_cache=False).logits[0]
    rows = logits[len(prompt) - 1 : -1].log_softmax(-1)
    return rows.gather(-1, torch.tensor(answer)[:, None]).squeeze(-1)


def causal(length: int) -> Tensor:
    return torch.ones(length, length, dtype=torch.bool).tril()


def scored_alone(
    lm: LanguageModel, prompt: list[int], answer: list[int], how: Distribution = FULL, **wants: Any
) -> scoring.Scores:
    ids = torch.tensor(prompt + answer)
    target = torch.arange(len(prompt), len(ids))
    return score(
        lm, ids=ids, position=torch.arange(len(ids)), visible=causal(len(ids)),
        source=target - 1, target=ids[target], distribution=how, **wants,
    )  # fmt: skip


def tree(prompt: list[int], answers: list[list[int]]) -> dict[str, Tensor]:
    """One row: the prompt once, then every answer; an answer sees the prompt and itself."""
    ids, position, source = list(prompt), list(range(len(prompt))), []
    length = len(prompt) + sum(map(len, answers))
    visible = torch.zeros(length, length, dtype=torch.bool)
    visible[: len(prompt), : len(prompt)] = causal(len(prompt))
    for answer in answers:
        start = len(ids)
        stop = start + len(answer)
        visible[start:stop, : len(prompt)] = True
        visible[start:stop, start:stop] = causal(len(answer))
        source += [len(prompt) - 1, *range(start, stop - 1)]
        ids += answer
        position += range(len(prompt), len(prompt) + len(answer))
    row = torch.tensor(ids)
    return {
        "ids": row, "position": torch.tensor(position), "visible": visible,
        "source": torch.tensor(source), "target": row[len(prompt) :],
    }  # fmt: skip


@pytest.mark.parametrize("kind", list(ALL))
def test_row_14_a_tree_with_a_shared_prompt_scores_as_each_text_alone(kind: str) -> None:
    lm = language_model(kind)
    prompt, answers = texts()
    with torch.no_grad():
        packed = score(lm, **tree(prompt, answers), distribution=FULL).logprob
    expected = torch.cat([alone(lm, prompt, answer) for answer in answers])
    assert (packed - expected).abs().max() <= 1e-5
    assert expected.std() > 0.3  # far from uniform, else nothing would show


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("kind", list(ALL))
def test_row_14_a_padded_batch_scores_as_each_text_alone(kind: str, side: str) -> None:
    lm = language_model(kind)
    prompt, answers = texts()
    longest = len(prompt) + max(map(len, answers))
    pad = lm.tokenizer.pad_token_id
    ids = torch.full((len(answers), longest), pad)
    position = torch.zeros(len(answers), longest, dtype=torch.long)
    visible = torch.eye(longest, dtype=torch.bool).repeat(len(answers), 1, 1)
    first = []
    for i, answer in enumerate(answers):
        text = prompt + answer
        start = longest - len(text) if side == "left" else 0
        stop = start + len(text)
        ids[i, start:stop] = torch.tensor(text)
        position[i, start:stop] = torch.arange(len(text))
        visible[i, start:stop, start:stop] = causal(len(text))
        first.append(start)
    with torch.no_grad():
        hidden = lm.hidden(ids, position, visible)
    for i, answer in enumerate(answers):
        at = torch.arange(first[i] + len(prompt) - 1, first[i] + len(prompt) + len(answer) - 1)
        rows = lm.logits(hidden[i, at]).log_softmax(-1)
        ours = rows.gather(-1, torch.tensor(answer)[:, None]).squeeze(-1)
        assert (ours - alone(lm, prompt, answer)).abs().max() <= 1e-5


@pytest.mark.parametrize("kind", list(tiny_models.ARCHITECTURES))
def test_row_14_with_adapters_a_tree_scores_as_each_text_alone(kind: str) -> None:
    lm = load(ALL[kind](), ModelOptions(lora=LoraOptions(rank=4)))
    for name, weight in lm.trainable().items():
        torch.nn.init.normal_(weight, std=0.2, generator=torch.Generator().manual_seed(len(name)))
    prompt, answers = texts()
    with torch.no_grad():
        packed = score(lm, **tree(prompt, answers), distribution=FULL).logprob
    expected = torch.cat([alone(lm, prompt, answer) for answer in answers])
    with lm.reference():
        base = torch.cat([alone(lm, prompt, answer) for answer in answers])
    assert (packed - expected).abs().max() <= 1e-5
    assert (packed - base).abs().max() > 0.01


def test_row_14_later_tokens_of_another_text_change_nothing() -> None:
    lm = language_model("llama")
    prompt, answers = texts()
    with torch.no_grad():
        before = score(lm, **tree(prompt, answers), distribution=FULL).logprob
        changed = [*answers[:-1], [(x + 1) % 257 for x in answers[-1]]]
        after = score(lm, **tree(prompt, changed), distribution=FULL).logprob
    kept = sum(map(len, answers[:-1]))
    torch.testing.assert_close(before[:kept], after[:kept], rtol=0, atol=1e-6)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("want_entropy", [False, True])
def test_row_09_scores_are_those_of_the_tempered_distribution(
    temperature: float, want_entropy: bool
) -> None:
    lm = language_model("llama")
    prompt, answers = texts()
    how = Distribution(temperature=temperature)
    with torch.no_grad():
        ours = scored_alone(lm, prompt, answers[3], how, want_entropy=want_entropy)
        logits = lm.causal_lm(torch.tensor([prompt + answers[3]])).logits[0, len(prompt) - 1 : -1]
    expected = (logits / temperature).log_softmax(-1)
    picked = expected.gather(-1, torch.tensor(answers[3])[:, None]).squeeze(-1)
    assert (ours.logprob - picked).abs().max() <= 1e-5
    if want_entropy:
        entropy = torch.distributions.Categorical(logits=logits / temperature).entropy()
        torch.testing.assert_close(ours.entropy, entropy)


def test_row_10_values_do_not_change_with_the_sampling_settings() -> None:
    lm = language_model("llama")
    head = lm.add_value_head()
    torch.nn.init.normal_(head.project.weight, generator=torch.Generator().manual_seed(0))
    prompt, answers = texts()
    with torch.no_grad():
        found = [
            scored_alone(lm, prompt, answers[3], how, want_value=True)
            for how in (FULL, Distribution(temperature=0.5), Distribution(temperature=2, top_k=3))
        ]
    assert found[0].value is not None
    assert found[0].value.std() > 0.1
    for other in found[1:]:
        assert torch.equal(found[0].value, other.value)
        assert not torch.equal(found[0].logprob, other.logprob)


def test_values_equal_those_returned_with_scores() -> None:
    lm = language_model("gpt2")
    head = lm.add_value_head(seed=3, inner=8)
    torch.nn.init.normal_(head.project.weight, generator=torch.Generator().manual_seed(0))
    prompt, answers = texts()
    row = tree(prompt, answers)
    with torch.no_grad():
        together = score(lm, **row, distribution=FULL, want_value=True).value
        del row["target"]
        torch.testing.assert_close(values(lm, **row), together)


@pytest.mark.parametrize(
    "how",
    [
        Distribution(top_k=5),
        Distribution(top_p=0.7),
        Distribution(min_p=0.1),
        Distribution(temperature=0.7, top_k=9, top_p=0.8, min_p=0.05),
    ],
)
def test_row_11_scores_renormalise_over_the_support_of_sampling(how: Distribution) -> None:
    lm = language_model("llama")
    prompt, _ = texts()
    with torch.no_grad():
        logits = lm.causal_lm(torch.tensor([prompt])).logits[0, -1:]
    kept = token_logprobs(logits, how)[0]
    assert 1 < (kept != -torch.inf).sum() < 257
    for token in (kept != -torch.inf).nonzero().flatten().tolist():
        found = scored_alone(lm, prompt, [token], how)
        assert found.num_outside_support == 0
        assert abs(found.logprob.item() - kept[token].item()) <= 1e-5


def test_row_11_a_token_outside_the_support_is_counted_and_scored_with_it() -> None:
    lm = language_model("llama")
    prompt, _ = texts()
    how = Distribution(top_k=4, temperature=0.8)
    with torch.no_grad():
        logits = lm.causal_lm(torch.tensor([prompt])).logits[0, -1] / 0.8
    best = logits.topk(4).indices.tolist()
    worst = int(logits.argmin())
    found = scored_alone(lm, prompt, [worst, best[0]], how)
    assert found.num_outside_support >= 1
    united = logits[[*best, worst]].log_softmax(-1)[-1]
    assert abs(found.logprob[0].item() - united.item()) <= 1e-5
    found.logprob.sum().backward()
    grads = [p.grad for p in lm.trainable().values() if p.grad is not None]
    assert all(g.isfinite().all() for g in grads)
    assert any(g.abs().sum() > 0 for g in grads)


def test_row_11_a_token_outside_the_support_leaves_its_neighbours_alone() -> None:
    lm = language_model("llama")
    prompt, _ = texts()
    how = Distribution(top_k=4)
    with torch.no_grad():
        best = int(lm.causal_lm(torch.tensor([prompt])).logits[0, -1].argmax())
        worst = int(lm.causal_lm(torch.tensor([[*prompt, best]])).logits[0, -1].argmin())
        clean = scored_alone(lm, prompt, [best], how)
        mixed = scored_alone(lm, prompt, [best, worst], how)
    assert (clean.num_outside_support, mixed.num_outside_support) == (0, 1)
    torch.testing.assert_close(mixed.logprob[:1], clean.logprob)
    assert mixed.logprob.isfinite().all()


@pytest.mark.parametrize("lora", [None, LoraOptions(rank=4)])
def test_row_13_dropout_of_one_half_changes_no_score(lora: LoraOptions | None) -> None:
    lm = load(tiny_models.tiny_gpt2(dropout=0.5), ModelOptions(lora=lora))
    prompt, answers = texts()
    expected = torch.cat([alone(lm, prompt, answer) for answer in answers])
    for train in (False, True):
        lm.network.train(train)  # as a callback or another library might
        first = score(lm, **tree(prompt, answers), distribution=FULL)
        assert first.logprob.requires_grad
        assert (first.logprob - expected).abs().max() <= 1e-5
        again = score(lm, **tree(prompt, answers), distribution=FULL)
        assert torch.equal(first.logprob, again.logprob)


@pytest.mark.parametrize(
    "how", [FULL, Distribution(temperature=0.6, top_k=20)], ids=["full", "filtered"]
)
def test_the_size_of_head_chunks_changes_neither_scores_nor_gradients(
    monkeypatch: pytest.MonkeyPatch, how: Distribution
) -> None:
    prompt, answers = texts()
    found = []
    for chunk in (1000, 5):
        monkeypatch.setattr(scoring, "HEAD_CHUNK", chunk)
        lm = language_model("qwen2")
        scores = score(lm, **tree(prompt, answers), distribution=how, want_entropy=True)
        assert scores.entropy is not None
        (scores.logprob.sum() + 0.3 * scores.entropy.sum()).backward()
        found.append((scores, {n: p.grad for n, p in lm.trainable().items()}))
    (whole, whole_grads), (parts, parts_grads) = found
    torch.testing.assert_close(whole.logprob, parts.logprob)
    torch.testing.assert_close(whole.entropy, parts.entropy)
    assert whole.num_outside_support == parts.num_outside_support
    for name, grad in whole_grads.items():
        torch.testing.assert_close(grad, parts_grads[name], rtol=1e-4, atol=1e-5)


def test_logits_exist_for_one_chunk_at_a_time_even_when_training(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(scoring, "HEAD_CHUNK", 5)
    monkeypatch.setattr(head, "KEPT_BYTES", 0)
    lm = language_model("llama")
    largest = 0

    def pack(saved: Tensor) -> Tensor:
        nonlocal largest
        if saved.shape[-1:] == (257,):
            largest = max(largest, saved.numel() // 257)
        return saved

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        score(lm, **tree(*texts()), distribution=FULL)
        score(lm, **tree(*texts()), distribution=FULL, want_entropy=True)
    assert largest == 0  # none is kept for the way back: it is computed again


def test_scoring_no_positions_gives_empty_scores() -> None:
    lm = language_model("llama")
    lm.add_value_head()
    none = torch.zeros(0, dtype=torch.long)
    found = score(
        lm, ids=torch.tensor([1, 2]), position=torch.arange(2), visible=causal(2),
        source=none, target=none, distribution=FULL, want_entropy=True, want_value=True,
    )  # fmt: skip
    assert found.entropy is not None
    assert found.value is not None
    assert [len(x) for x in (found.logprob, found.entropy, found.value)] == [0, 0, 0]


def test_in_double_precision_gradients_add_up_to_double_precision() -> None:
    lm = load("tiny", ModelOptions(name="tiny", dtype="float64"), seed=1)
    prompt, answers = texts()
    parameters = list(lm.trainable().values())

    def gradient(loss: Tensor) -> Tensor:
        return torch.cat([g.flatten() for g in torch.autograd.grad(loss, parameters)])

    packed = gradient(score(lm, **tree(prompt, answers), distribution=FULL).logprob.sum())
    summed = sum(gradient(scored_alone(lm, prompt, answer).logprob.sum()) for answer in answers)
    assert isinstance(summed, Tensor)
    assert packed.dtype == torch.float64
    assert ((packed - summed).norm() / summed.norm()).item() <= 1e-12


@pytest.mark.medium
def test_the_gradient_has_the_same_bits_each_time_however_threads_meet() -> None:
    """Attempts at a task share the token before their first: its gradient is a sum of many."""
    tiny = TinyOptions(tokens="ab", width=64, layers=1, heads=2, context=64)
    lm = load("tiny", ModelOptions(name="tiny", tiny=tiny))
    num, length = 96, 12
    forest = Forest(((4, (length,) * num),))
    ids = torch.randint(0, 3, (forest.num_tokens,), generator=torch.Generator().manual_seed(0))
    position = torch.cat([torch.arange(4), torch.arange(4, 4 + length).repeat(num)])
    starts = 4 + length * torch.arange(num)[:, None]
    source = torch.cat([torch.full((num, 1), 3), starts + torch.arange(length - 1)], 1).flatten()
    target = ids[4:]
    factor = torch.randn(len(target), generator=torch.Generator().manual_seed(1))
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    seen = set()
    try:
        for _ in range(40):
            lm.network.zero_grad()
            found = score(
                lm, ids=ids, position=position, visible=forest, source=source, target=target,
                distribution=Distribution(),
            )  # fmt: skip
            (found.logprob * factor).sum().backward()
            gradients = [p.grad for p in lm.network.parameters() if p.grad is not None]
            seen.add(b"".join(g.numpy().tobytes() for g in gradients))
    finally:
        torch.set_num_threads(before)
    assert len(seen) == 1
