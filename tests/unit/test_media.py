"""Pictures and sounds in messages: what they are, where they stand, what is refused."""

from __future__ import annotations

import copy
import json
import pickle

import numpy as np
import pytest

from sayso.envs.media import Media, without_placeholders
from sayso.envs.spaces import Chat, Message, observation_of
from sayso.errors import OptionValueError
from sayso.rollout.boundary import Outcome, _cut_messages

RED = Media("image", np.full((2, 3, 3), [255, 0, 0], dtype=np.uint8))
HUM = Media("audio", np.array([0.0, 0.5, -1.0], dtype=np.float32))


def test_media_are_equal_by_content_and_cannot_be_changed() -> None:
    own = np.full((2, 3, 3), [255, 0, 0], dtype=np.uint8)
    same, turned = Media("image", own), Media("image", own.reshape(3, 2, 3))
    own[:] = 0
    assert same == RED
    assert hash(same) == hash(RED)
    assert turned != RED, "the shape belongs to the content"
    pickled = pickle.loads(pickle.dumps(RED))  # noqa: S301  # our own bytes
    for twin in (RED, pickled, copy.deepcopy(RED)):
        assert twin == RED
        with pytest.raises(ValueError, match="read-only"):
            twin.data[0] = 0


@pytest.mark.parametrize(
    ("kind", "data", "told"),
    [
        ("video", np.zeros((2, 2, 3), np.uint8), "video"),
        ("image", np.zeros((2, 2), np.uint8), r"shape \[2, 2\]"),
        ("image", np.zeros((2, 2, 3), np.float32), "float32"),
        ("image", np.zeros((0, 2, 3), np.uint8), "empty"),
        ("image", [[1]], "list"),
        ("audio", np.zeros((2, 2), np.float32), r"shape \[2, 2\]"),
        ("audio", np.zeros(2, np.float64), "float64"),
        ("audio", np.array([0, 1.5], np.float32), r"outside \[-1, 1\]"),
        ("audio", np.array([0, np.nan], np.float32), r"outside \[-1, 1\]"),
    ],
)
def test_a_wrong_array_is_refused_with_what_is_wrong(kind: str, data: object, told: str) -> None:
    with pytest.raises(OptionValueError, match=told):
        Media(kind, data)  # type: ignore[arg-type]


def test_parts_put_each_item_where_its_placeholder_stands() -> None:
    both = Message("user", "Look: <image> and hear <audio>", (RED, HUM))
    assert both.parts() == ("Look: ", RED, " and hear ", HUM)
    assert Message("user", "<image><image>", (RED, RED)).parts() == (RED, RED)


def test_placeholders_in_text_without_media_are_text() -> None:
    said = Message("assistant", "<image> I am a picture <audio>")
    assert said.parts() == (said.content,)
    assert Chat().contains((said,))
    assert Chat(media=True).contains((said,))


@pytest.mark.parametrize(
    ("text", "media"),
    [
        ("no place", (RED,)),
        ("<image>", (RED, RED)),
        ("<image> and his <image>", (RED,)),
        ("<audio> <image>", (RED, HUM)),
        ("<audio>", (RED,)),
        ("<image>", ("no media",)),
    ],
)
def test_placeholders_that_do_not_fit_the_media_are_refused(text: str, media: object) -> None:
    wrong = Message("user", text, media)  # type: ignore[arg-type]
    assert not Chat(media=True).contains((wrong,))
    with pytest.raises(OptionValueError, match="message 1"):
        observation_of(wrong, where="test")
    with pytest.raises(OptionValueError, match=r"placeholder|media"):
        wrong.parts()


def test_foreign_text_is_freed_of_placeholders() -> None:
    assert without_placeholders("a <image> <<audio>> <ima<image>ge>") == (
        "a [image] <[audio]> <ima[image]ge>"
    )


def test_a_chat_holds_media_only_by_option_and_writes_all_of_them() -> None:
    chat = (Message("user", "<image> <audio> Which?", (RED, HUM)), Message("user", "Well?"))
    space = Chat(media=True)
    assert space.contains(chat)
    assert not Chat().contains(chat)
    assert Chat() != space
    rows = json.loads(json.dumps(space.to_jsonable([chat])))
    assert space.from_jsonable(rows) == [chat]
    assert observation_of(rows[0], where="test") == chat
    rows[0][0]["media"][0]["key"] = HUM.key
    with pytest.raises(OptionValueError, match="have the key"):
        space.from_jsonable(rows)
    space.seed(3)
    assert all(space.contains(space.sample()) for _ in range(20))


def test_media_cross_the_boundary_of_a_worker_and_are_cut_with_their_placeholder() -> None:
    both = (Message("user", "<image> see <audio> hear", (RED, HUM)),)
    sent = json.loads(json.dumps(Outcome(observation=both).to_json()))
    assert Outcome.from_json(sent).observation == both
    cut = _cut_messages(both, 15)
    assert cut[0].content.startswith("<image> see <au\n[cut")
    assert cut[0].media == (RED,)
