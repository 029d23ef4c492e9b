"""Where a model runs: what is asked for, or a clear no."""

from __future__ import annotations

import pytest
import torch

from sayso.errors import ModelError
from sayso.models.load import load
from sayso.models.options import ModelOptions, TinyOptions
from sayso.models.place import device_named


def test_auto_is_the_gpu_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for is_there, kind in ((False, "cpu"), (True, "cuda")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda is_there=is_there: is_there)
        assert device_named("auto") == torch.device(kind)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has one")
def test_a_device_that_is_not_there_is_said_before_a_model_is_loaded() -> None:
    for name in ("cuda", "cuda:7", "warp", "meta"):
        with pytest.raises(ModelError, match=r"model\.device"):
            load("no/such-model", ModelOptions(name="no/such-model", device=name))


def test_the_weights_go_where_the_option_says() -> None:
    asked: list[object] = []

    class Elsewhere(torch.nn.Module):
        def to(self, device: object) -> Elsewhere:
            asked.append(device)
            return self

    options = ModelOptions(name="tiny", device="cpu", tiny=TinyOptions(tokens="ab"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sayso.models.load.tiny_model", lambda *_, **__: (Elsewhere(), None))
        patch.setattr("sayso.models.load.LanguageModel", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            load("tiny", options)
    assert asked == [torch.device("cpu")]
