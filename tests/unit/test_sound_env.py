"""Sound-v0: sounds from tasks, splits, players, what the text alone tells, own rows."""

from __future__ import annotations

import itertools
import json
import wave
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sayso.envs.media import SAMPLE_RATE, Media
from sayso.envs.media_rows import sound_of, write_wav
from sayso.envs.scripted import bounds
from sayso.envs.sound import SoundEnv
from sayso.envs.sound_make import HERTZ
from sayso.envs.sound_tasks import FAMILIES, NUM_TASKS, UNSEEN_TIMBRE, tasks
from sayso.envs.sound_voice import WORDS
from sayso.envs.tasks import bucket
from sayso.errors import DataError
from sayso.rollout.check import check_text_env

ALL = tuple(FAMILIES)


def heard(payload: dict[str, Any]) -> np.ndarray[Any, Any]:
    return SoundEnv().made(payload).data


def test_the_same_task_has_the_same_sound_and_another_has_another() -> None:
    one, two = SoundEnv(), SoundEnv()
    keys = []
    for index in range(8):
        task = tasks("train", ALL)[index]
        shown, _ = one.reset(seed=1, options={"task": task.id})
        again, _ = two.reset(seed=2, options={"task": task.id})
        assert shown == again
        assert one.observation_space.contains(shown)
        keys.append(shown[0].media[0].key)  # type: ignore[union-attr]
    assert len(set(keys)) == 8
    samples = heard(tasks("train", ALL)[0].payload) * 32_767
    assert np.abs(samples - np.rint(samples)).max() < 1e-2, "steps of 16 bits"


def test_a_note_sounds_at_its_pitch() -> None:
    """The strongest frequency of the spectrum, read by code that shares nothing with ours."""
    for task in tasks("held_out", ("note",))[:12]:
        data = heard(task.payload)
        strength = np.abs(np.fft.rfft(data, 8 * SAMPLE_RATE))
        hertz = float(strength.argmax()) / 8
        nearest = min(HERTZ, key=lambda name: abs(np.log(HERTZ[name] / hertz)))
        assert nearest == task.payload["asked"]["value"]


def test_tones_and_beeps_are_as_many_and_as_long_as_asked() -> None:
    """Found again by where the sound is loud."""
    for task in tasks("train", ("count", "rhythm"))[:24]:
        data = heard(task.payload)
        loud = np.abs(data).reshape(-1)[: len(data) // 80 * 80].reshape(-1, 80).max(axis=1) > 0.15
        edges = np.flatnonzero(np.diff(np.concatenate([[0], loud.astype(int), [0]])))
        spans = (edges[1::2] - edges[::2]) * 80 / SAMPLE_RATE
        if task.payload["family"] == "count":
            assert len(spans) == int(task.payload["asked"]["value"])
        else:
            said = ["long" if span > 0.18 else "short" for span in spans]
            assert said == task.payload["asked"]["value"]


def test_splits_are_cut_by_rule() -> None:
    for split in NUM_TASKS:
        for task in tasks(split, ALL)[:80]:
            payload = dict(task.payload)
            if "voice" in payload:
                assert (payload["voice"]["hertz"] >= 240) is (split == "unseen")
            else:
                assert (payload["timbre"] == UNSEEN_TIMBRE) is (split == "unseen")
            names = ("words", "voice") if "voice" in payload else ("tones", "timbre")
            content = [{n: payload[n] for n in (*names, "level")}, payload["prompt"].split("\n")[1]]
            if split != "unseen":
                assert (bucket(content) == 0) is (split == "held_out")


def test_equal_questions_have_different_answers() -> None:
    answers: dict[str, Counter[str]] = defaultdict(Counter)
    for task in tasks("train", ALL)[:800]:
        answers[task.payload["prompt"]][str(task.payload["asked"]["value"])] += 1
    assert len(answers) == len(ALL), "the text tells the family and nothing else"
    for text, found in answers.items():
        assert max(found.values()) / found.total() < 0.45, text


@pytest.mark.medium
def test_who_does_not_listen_stays_low_and_the_oracle_is_right() -> None:
    for split in ("held_out", "unseen"):  # in train the blind player knows its own tasks
        found = bounds(SoundEnv(), split=split, num_games=200)
        assert found["oracle"].mean == 1.0
        assert found["random"].mean < 0.25, split
        assert found["blind"].mean < 0.25, split


@pytest.mark.slow
def test_both_checkers_accept_it_on_200_seeds_and_find_no_exploit() -> None:
    assert not check_text_env("sayso/Sound-v0", num_seeds=200, exploits=False).problems
    report = check_text_env("sayso/Sound-v0", num_seeds=20)
    assert max(report.exploits.values()) <= 0.05


def features(data: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Log energies in 25 mel bands at ten places of the word, and its length."""
    frames = np.stack([data[i : i + 400] for i in range(0, len(data) - 400, 160)]) * np.hanning(400)
    power = np.abs(np.fft.rfft(frames, 512)) ** 2
    loud = np.flatnonzero(power.sum(axis=1) > 1e-3 * power.sum(axis=1).max())
    power = power[loud[0] : loud[-1] + 1]
    mel = np.linspace(2595 * np.log10(1 + 80 / 700), 2595 * np.log10(1 + 7800 / 700), 26)
    edges = np.rint(700 * (10 ** (mel / 2595) - 1) / SAMPLE_RATE * 512).astype(int)
    bands = [power[:, a : max(b, a + 1)].mean(axis=1) for a, b in itertools.pairwise(edges)]
    logs = np.log(np.stack(bands, axis=1) + 1e-6)
    logs -= logs.mean()
    places = np.linspace(0, len(logs) - 1, 10)
    at = [np.interp(places, np.arange(len(logs)), band) for band in logs.T]
    return np.concatenate([np.ravel(at), [len(logs) / 20]])


def test_spoken_digits_can_be_told_apart() -> None:
    """By the nearest of ten examples each, in voices that are not among them."""
    known: dict[str, list[np.ndarray[Any, Any]]] = defaultdict(list)
    for task in tasks("train", ("digit",))[:160]:
        (word,) = task.payload["words"]
        if len(known[word]) < 10:
            known[word].append(features(heard(task.payload)))
    assert len(known) == len(WORDS)
    for split in ("held_out", "unseen"):
        right = 0
        for task in tasks(split, ("digit",))[:40]:
            found = features(heard(task.payload))
            away = {w: min(float(((found - x) ** 2).sum()) for x in xs) for w, xs in known.items()}
            right += min(away, key=away.__getitem__) == task.payload["words"][0]
        assert right >= 38, split


def write(path: Path, samples: np.ndarray[Any, Any], rate: int, channels: int = 1) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.rint(samples * 32_767).astype("<i2").tobytes())


def test_a_wav_file_is_read_as_it_was_written_and_at_our_rate(tmp_path: Path) -> None:
    media = SoundEnv().made(tasks("train", ALL)[0].payload)
    write_wav(tmp_path / "a.wav", media)
    again = sound_of(tmp_path / "a.wav").data
    assert np.abs(again - media.data).max() < 1e-4
    ramp = np.linspace(0, 0.5, 8_000)
    write(tmp_path / "b.wav", np.stack([ramp, -ramp / 2], axis=1), 8_000, channels=2)
    found = sound_of(tmp_path / "b.wav").data
    assert len(found) == SAMPLE_RATE, "one second"
    assert found[8_000] == pytest.approx(0.0625, abs=1e-3), "mean of the channels, half way"


def test_own_sounds_are_asked_about(tmp_path: Path) -> None:
    write(tmp_path / "a.wav", np.full(400, 0.5), SAMPLE_RATE)
    row = {"audio": "a.wav", "question": "A bell?", "answer": "no", "split": "train"}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row))
    env = SoundEnv(data=tmp_path / "rows.jsonl")
    shown, _ = env.reset(seed=0)
    assert env.observation_space.contains(shown)
    assert isinstance(shown[0], object)
    assert env.step("No!")[1] == 1.0
    (tmp_path / "a.wav").write_bytes(b"RIFF")
    with pytest.raises(DataError, match="cannot be read"):
        SoundEnv(data=tmp_path / "rows.jsonl")
    assert Media("audio", np.zeros(3, np.float32)).kind == env.kind
