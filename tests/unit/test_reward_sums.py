"""Weights, caps, gates and scales; the library by name; PromptEnv with all of it."""

from __future__ import annotations

from typing import Any

import pytest

import sayso
from sayso import rewards
from sayso.cli import listing
from sayso.envs import registry
from sayso.errors import ConfigError, EnvContractError, OptionValueError, UnknownNameError
from sayso.rewards import library
from sayso.rewards.running import Running


def says(value: Any) -> Any:
    """A rule that always gives the same."""

    def rule(prompt: str, completion: str, **columns: Any) -> Any:
        return value

    return rule


def longer(prompt: str, completion: str, **columns: Any) -> float:
    return float(len(completion))


def total(shown: dict[str, float | None]) -> float:
    return sum(value for value in shown.values() if value is not None)


# --- sums -------------------------------------------------------------------------------------


def test_the_reward_is_the_sum_of_weighted_and_capped_parts() -> None:
    reward = rewards.Sum(
        {
            "right": rewards.Part(rule=says(1.0), weight=2.0),
            "long": rewards.Part(rule=longer, weight=0.1, cap=0.5),
            "rude": rewards.Part(rule=longer, weight=-1.0, cap=0.25),
            "plain": says(0.125),
        }
    )
    assert reward("", "ten letters") == {"right": 2.0, "long": 0.5, "rude": -0.25, "plain": 0.125}


def test_a_gate_multiplies_what_is_earned_and_shows_what_it_took() -> None:
    reward = rewards.Sum({"right": says(1.0)}, gates={"a": says(0.5), "b": says(0.5)})
    assert reward("", "x") == {"right": 1.0, "gate": -0.75}


def test_a_gate_that_is_shut_does_not_buy_off_a_penalty() -> None:
    penalised = {"right": says(1.0), "rude": rewards.Part(rule=says(1.0), weight=-2.0)}
    shut = rewards.Sum(penalised, gates={"form": says(0.0)})
    assert total(shut("", "x")) == -2.0
    assert total(shut("", "x")) < total(rewards.Sum(penalised)("", "x"))


def test_a_part_that_does_not_apply_adds_nothing_and_all_of_them_grade_nothing() -> None:
    some = rewards.Sum({"a": says(None), "b": says(0.5)}, gates={"g": says(None)})
    assert some("", "x") == {"a": None, "b": 0.5, "gate": 0.0}
    env = sayso.PromptEnv(prompts=["p", "q"], reward=rewards.Sum({"a": says(None)}))
    env.reset(seed=0)
    assert env.step("x")[1] is None


@pytest.mark.parametrize("broken", [float("nan"), float("inf"), "1.0", [1.0]])
def test_a_part_that_is_no_number_is_an_error_that_names_it(broken: Any) -> None:
    with pytest.raises(EnvContractError, match="reward 'odd'"):
        rewards.Sum({"odd": says(broken)})("", "x")


@pytest.mark.parametrize("broken", [-0.5, 1.5])
def test_a_gate_outside_0_to_1_is_an_error(broken: float) -> None:
    with pytest.raises(EnvContractError, match="gate 'odd'"):
        rewards.Sum({"a": says(1.0)}, gates={"odd": says(broken)})("", "x")


def test_the_range_of_a_sum_follows_from_its_parts() -> None:
    form = rewards.Form()
    reward = rewards.Sum(
        {
            "form": rewards.Part(rule=form, weight=2.0, cap=1.5),
            "off": rewards.Part(rule=form, weight=-1.0),
        }
    )
    assert (reward.low, reward.high) == (-1.0, 1.5)
    assert rewards.Sum({"form": form, "mine": longer}).high is None
    capped = rewards.Sum({"mine": rewards.Part(rule=longer, cap=0.5)})
    assert (capped.low, capped.high) == (-0.5, 0.5)


def test_a_gated_sum_may_lose_all_it_could_earn() -> None:
    scaled = rewards.Part(rule=rewards.Form(), scale=rewards.Scale(mean=0.0, std=1.0, limit=3.0))
    reward = rewards.Sum({"form": scaled}, gates={"g": says(0.0)})
    assert (reward.low, reward.high) == (-3.0, 3.0)


@pytest.mark.parametrize("parts", [{}, {"gate": longer}])
def test_sums_without_parts_or_with_a_part_called_gate_are_refused(parts: Any) -> None:
    with pytest.raises(OptionValueError):
        rewards.Sum(parts)


# --- scales -----------------------------------------------------------------------------------


def test_running_statistics_are_those_of_the_whole_list() -> None:
    stats = Running()
    for value in (1e9 + 4, 1e9 + 7, 1e9 + 13, 1e9 + 16):
        stats.add(value)
    assert stats.mean == 1e9 + 10
    assert stats.std == pytest.approx(22.5**0.5)
    assert Running.from_json(stats.to_json()) == stats
    with pytest.raises(ValueError, match="nan"):
        stats.add(float("nan"))


def samples(*texts: str) -> list[rewards.Sample]:
    return [rewards.Sample(prompt="p", completion=text) for text in texts]


def test_calibration_puts_parts_into_units_of_their_own_spread() -> None:
    reward = rewards.Sum({"long": rewards.Part(rule=longer, weight=0.5), "one": says(1.0)})
    scaled = rewards.calibrated(reward, samples("a", "abc"), names=["long"])  # 2 +- 1
    assert scaled("", "abcd") == {"long": 1.0, "one": 1.0}
    assert scaled("", "a" * 1_000)["long"] == 2.5  # 0.5 * limit
    assert reward("", "abcd") == {"long": 2.0, "one": 1.0}  # as it was


def test_a_part_without_spread_cannot_be_scaled() -> None:
    with pytest.raises(OptionValueError, match=r"part 'one': has 2 scores with a spread of 0\."):
        rewards.calibrated(rewards.Sum({"one": says(1.0)}), samples("a", "b"))


# --- by name ----------------------------------------------------------------------------------

SPEC = {
    "type": "sum",
    "parts": {
        "right": {"type": "numeric", "column": "answer", "weight": 1.0},
        "brief": {"type": "length", "min_words": 1, "max_words": 3, "weight": 0.2, "cap": 0.1},
        "mine": {"type": f"{__name__}:longer", "weight": 0.0},
    },
    "gates": {"varied": {"type": "repetition", "min_words": 1}},
}
ROWS = [{"prompt": f"How much is {n} + 1?", "answer": n + 1} for n in range(6)]


def test_a_reward_from_plain_values_is_the_one_made_by_hand(monkeypatch: Any) -> None:
    import sys

    monkeypatch.setitem(sys.modules, __name__, sys.modules[longer.__module__])
    reward = library.make(SPEC)
    assert isinstance(reward, rewards.Sum)
    assert reward("", "4", answer=4) == {"right": 1.0, "brief": 0.1, "mine": 0.0, "gate": 0.0}
    assert library.make(library.spec_of(reward)).parts == reward.parts  # type: ignore[arg-type, attr-defined]


def test_prompt_env_takes_plain_values_knows_the_range_and_opens_elsewhere() -> None:
    spec = {"type": "sum", "parts": {"right": {"type": "numeric"}}}
    for reward in (spec, library.make(spec)):
        env = sayso.PromptEnv(prompts=ROWS, reward=reward)
        assert (env.reward_low, env.reward_high) == (0.0, 1.0)
        assert env.process_spec is not None
        again = registry.from_spec(env.process_spec)
        assert again.tasks("train") == env.tasks("train")
        sayso.check_text_env(env, num_seeds=3)


def test_a_scorer_alone_is_a_reward() -> None:
    env = sayso.PromptEnv(prompts=ROWS, reward=rewards.Numeric())
    env.reset(seed=0, options={"task": env.tasks("train")[0].id})
    answer = env.tasks("train")[0].payload["answer"]
    assert env.step(f"It is {answer}.")[1] == 1.0


def test_prompts_without_the_column_of_a_scorer_are_refused_at_once() -> None:
    reward = rewards.Sum({"right": rewards.Exact(column="capital")})
    with pytest.raises(EnvContractError, match=r"reads the columns capital; a prompt has answer\."):
        sayso.PromptEnv(prompts=ROWS, reward=reward)


@pytest.mark.parametrize(
    ("spec", "says_"),
    [
        ("numerik", r"Did you mean 'numeric'\?"),
        ({"type": "qqq"}, "There are: exact, numeric"),
        ({}, "reward None: is not in the library"),
        ({"type": "nowhere:rule"}, "cannot be imported"),
    ],
)
def test_names_that_are_not_there(spec: Any, says_: str) -> None:
    with pytest.raises(UnknownNameError, match=says_):
        library.make(spec)


@pytest.mark.parametrize(
    ("make", "says_"),
    [
        (lambda: rewards.Length(min_word=1), "Length, min_word: no .*`min_words`.*max_words"),
        (lambda: rewards.Part(rule=longer, wieght=2), "Part, wieght: .*`weight`"),
        (lambda: rewards.Sum({"a": longer}, gate={}), "Sum, gate: .*`gates`"),
        (lambda: library.make({"type": "numeric", "colum": "a"}), "'numeric', colum.*`column`"),
        (lambda: sayso.PromptEnv(promts=["a"], reward=longer), "PromptEnv, promts.*`prompts`"),
        (lambda: sayso.PromptEnv(prompts=["a"], reward=rewards.Numeric), r"Make one: Numeric\("),
        (lambda: rewards.Part(rule=rewards.Form), r"rule: got the class Form"),
        (lambda: rewards.Sum({"a": longer}, gates={"b": rewards.Form}), "gate 'b': got the class"),
    ],
)
def test_a_misspelt_argument_and_a_class_for_what_it_makes_are_told(make: Any, says_: str) -> None:
    with pytest.raises(ConfigError, match=says_):
        make()


@pytest.mark.parametrize(
    "spec",
    [
        {"type": "sum", "parts": {"a": "form"}, "weights": {"a": 1}},
        {"type": "sum", "parts": {"a": {"type": "form", "scale": {"mean": 0.0, "std": 0.0}}}},
        {"type": "length"},
    ],
)
def test_options_that_are_not_there(spec: Any) -> None:
    with pytest.raises(OptionValueError):
        library.make(spec)


@pytest.mark.medium  # imports torch
def test_every_reward_of_the_library_is_listed_with_its_range(capsys: Any) -> None:
    listing.run("rewards", as_json=False)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(library.LIBRARY)
    for line, (name, entry) in zip(lines, library.LIBRARY.items(), strict=True):
        assert line.startswith(name)
        assert f"[{entry.scorer.low:g} to {entry.scorer.high:g}; {entry.cost}]" in line
        assert getattr(rewards, entry.scorer.__name__) is entry.scorer


def test_a_name_that_the_package_has_not_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'Rogue'"):
        rewards.Rogue  # noqa: B018


def test_options_for_a_function_of_ones_own_are_refused_and_not_dropped() -> None:
    name = f"{__name__}:longer"
    assert library.make({"type": name})("", "abc") == 3.0
    with pytest.raises(OptionValueError, match=r"is a function and takes no options: threshold"):
        library.make({"type": name, "threshold": 3})
    with pytest.raises(OptionValueError, match="takes no options: wieght"):
        library.make({"type": "sum", "parts": {"a": {"type": name, "wieght": 3}}})


@pytest.mark.parametrize(
    ("parts", "gates", "told"),
    [
        ({"a": says(1.0)}, {"a": says(1.0)}, "name both a part and a gate: a"),
        ({"a": rewards.Sum({"b": says(1.0)})}, {}, "'a' is a Sum"),
        ({"a": rewards.Part(rule=rewards.Sum({"b": says(1.0)}))}, {}, "'a' is a Sum"),
        ({"a": says(1.0)}, {"g": rewards.Sum({"b": says(1.0)})}, "'g' is a Sum"),
    ],
)
def test_sums_that_could_score_nothing_are_refused_when_made(
    parts: Any, gates: Any, told: str
) -> None:
    with pytest.raises(OptionValueError, match=told):
        rewards.Sum(parts, gates)


def test_calibrated_names_the_parts_that_there_are() -> None:
    samples = [rewards.Sample(prompt="", completion="a b")]
    with pytest.raises(OptionValueError, match=r"names zz; the sum has the parts: a\."):
        rewards.calibrated(rewards.Sum({"a": says(1.0)}), samples, names=["zz"])
