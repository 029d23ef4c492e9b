"""Arms as they are typed, what is refused before anything trains, and the run that one is."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from sayso.app.arms import differences, refuse_arms, refuse_lonely, refuse_under, trial_config
from sayso.app.comparison import folder_of
from sayso.app.plan import CompareOptions, Plan, make_plan, read_plan, store_plan
from sayso.app.trial import _OneTimeline, run_trial
from sayso.cli.compare import command_of, compare, measured_with, parse_arm
from sayso.errors import ConfigError, OptionValueError, RunError, UnknownNameError
from sayso.runs.jsonl import read
from sayso.training.budget import Budget
from sayso.training.progress import Progress

TOKENS = Budget(axis="env_tokens", amount=1000)
EPISODES = Budget(axis="episodes", amount=640)


def test_an_arm_is_a_recipe_with_an_algorithm_options_and_a_name() -> None:
    arm = parse_arm('tinylang:ppo,optim.lr=1e-2,model.tiny.tokens=["a","b"],name=quick, really')
    config = arm.resolved()
    assert (arm.name, arm.recipe, arm.env) == ("quick, really", "tinylang", "sayso/TinyLang-v0")
    assert arm.key == "tinylang-quick-really"
    assert (config.algorithm.type, config.optim.lr) == ("ppo", 1e-2)
    assert config.model.tiny is not None
    assert config.model.tiny.tokens == ("a", "b")


def test_without_a_name_it_is_called_after_its_algorithm() -> None:
    assert parse_arm("tinylang").name == "grpo"
    assert parse_arm("tinylang:rloo").name == "rloo"


def test_options_of_all_arms_lie_under_those_of_one() -> None:
    shared = ["optim.lr=1e-4", "optim.schedule=constant"]
    assert parse_arm("tinylang", shared).resolved().optim.lr == 1e-4
    assert parse_arm("tinylang,optim.lr=1e-3", shared).resolved().optim.lr == 1e-3


@pytest.mark.parametrize("text", ["", ":ppo", "tinylang:", "optim.lr=1"])
def test_what_is_no_arm(text: str) -> None:
    with pytest.raises(OptionValueError, match="Write RECIPE:ALGORITHM"):
        parse_arm(text)


def test_mistakes_in_an_arm_are_told_like_those_of_a_recipe() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean `tinylang`"):
        parse_arm("tinylan:ppo")
    with pytest.raises(ConfigError, match=r"algorithm\.type: got 'ppoo'"):
        parse_arm("tinylang:ppoo")
    with pytest.raises(OptionValueError, match=r"compare\(seed=\.\.\.\): no such option"):
        compare("tinylang", seed=3)


def test_two_arms_of_an_environment_need_two_names() -> None:
    one, other = parse_arm("tinylang:ppo"), parse_arm("tinylang:ppo,optim.lr=1e-2")
    with pytest.raises(OptionValueError, match=r"called 'ppo'.*name=other"):
        refuse_arms([one, other])
    refuse_arms([one, parse_arm("tinylang:ppo,optim.lr=1e-2,name=fast"), parse_arm("maze:ppo")])
    with pytest.raises(OptionValueError, match="got no arm"):
        refuse_arms([])
    with pytest.raises(OptionValueError, match=r"nothing to compare it with\. Name two: tin"):
        refuse_lonely([one])
    refuse_lonely([one, other])


def test_what_arms_should_share_and_do_not_is_told() -> None:
    arms = [parse_arm("tinylang:ppo"), parse_arm("tinylang:grpo,sampling.temperature=0.5"),
            parse_arm("maze:ppo")]  # fmt: skip
    (told,) = differences(arms)
    assert "sampling.temperature is not the same in all arms" in told
    assert "grpo 0.5" in told
    assert differences([parse_arm("tinylang:ppo"), parse_arm("tinylang:grpo")]) == []


def test_a_trial_has_its_seed_and_its_budget_and_no_evaluations_of_the_recipe() -> None:
    arm = parse_arm("tinylang:grpo")
    assert arm.resolved().train.eval_every == 25
    config = trial_config(arm, EPISODES, 7)
    assert (config.seed, config.train.total_episodes, config.train.eval_every) == (7, 640, 0)
    assert trial_config(arm, TOKENS, 7).train.total_episodes > 10**8
    stops = parse_arm("tinylang:grpo,train.patience=3")
    assert trial_config(stops, EPISODES, 0).train.eval_every == 25, "it stops early by them"


def test_nobody_is_told_of_episodes_that_never_come(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A run that something else stops is as long as whole steps are: 17 tasks, 4 attempts."""
    arm = parse_arm("maze:ppo,optim.schedule=constant,optim.total_steps=none,env.max_turns=1")
    plan = make_plan([arm], CompareOptions(budget="reward_queries=60", points=1, episodes=1,
                                           point_episodes=1, decode=("greedy",)))  # fmt: skip
    (tmp_path / arm.key).mkdir()
    found = run_trial(tmp_path, plan, arm, 0)
    assert (found["steps"], found["spent"]["reward_queries"]) == (1, 68)
    assert "total_episodes" not in caplog.text


def test_a_budget_that_an_arm_never_reaches_is_refused() -> None:
    stored = parse_arm("tinylang:bc,data.path=x.jsonl")
    with pytest.raises(OptionValueError, match="a budget of env_tokens never ends"):
        refuse_under(stored, TOKENS)
    refuse_under(stored, EPISODES)


def test_a_schedule_needs_an_end_that_is_known() -> None:
    falling = parse_arm("tinylang:ppo,optim.schedule=linear")
    with pytest.raises(OptionValueError, match=r"'linear' ends with train\.total_episodes"):
        refuse_under(falling, TOKENS)
    refuse_under(falling, EPISODES)
    refuse_under(parse_arm("tinylang:ppo,optim.schedule=linear,optim.total_steps=90"), TOKENS)


def plan_of(*arms: str, **options: object) -> Plan:
    chosen = CompareOptions(**{"budget": "env_tokens=1000", **options})  # type: ignore[arg-type]
    return make_plan([parse_arm(arm) for arm in arms], chosen)


def test_a_plan_is_written_once_and_read_back(tmp_path: Path) -> None:
    plan = plan_of("tinylang:ppo", "maze:ppo", decode=("greedy",), episodes=7)
    assert Plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan
    assert plan.splits["sayso/TinyLang-v0"] == ("train",)
    assert plan.splits["sayso/Maze-v0"] == ("train", "held_out", "unseen")
    assert (plan.head("sayso/TinyLang-v0"), plan.head("sayso/Maze-v0")) == ("train", "held_out")
    store_plan(tmp_path / "c", plan)
    store_plan(tmp_path / "c", plan)
    assert read_plan(tmp_path / "c") == plan
    with pytest.raises(RunError, match="holds a comparison of other arms"):
        store_plan(tmp_path / "c", plan_of("tinylang:ppo"))
    (tmp_path / "full").mkdir()
    (tmp_path / "full/thesis.txt").write_text("mine")
    with pytest.raises(RunError, match="holds other things"):
        store_plan(tmp_path / "full", plan)
    with pytest.raises(RunError, match=r"holds no comparison\.json"):
        read_plan(tmp_path / "full")


def test_the_same_command_has_the_same_directory_and_another_budget_another() -> None:
    options = CompareOptions()
    one, again = (folder_of(plan_of("tinylang:ppo", "tinylang:grpo"), options) for _ in "ab")
    assert one == again
    assert one.name.startswith("compare-tinylang-ppo-vs-tinylang-grpo-")
    other = plan_of("tinylang:ppo", "tinylang:grpo", budget="env_tokens=1001")
    assert folder_of(other, options) != one
    assert folder_of(other, CompareOptions(out="here")) == Path("here")


def test_an_unset_budget_is_the_first_recipes_episodes_in_tokens() -> None:
    """Sentences of TinyLang take 1 to 4 tokens after one that begins them."""
    (budget,) = {plan_of("tinylang:grpo", budget="").budget for _ in range(2)}
    assert budget.axis == "env_tokens"
    assert 4800 * 2 <= budget.amount <= 4800 * 5
    with pytest.raises(OptionValueError, match=r"budget: is unset, and arm bc plays no env"):
        plan_of("tinylang:bc,data.path=x.jsonl", budget="")


@pytest.mark.parametrize(
    ("name", "value"),
    [("seeds", 0), ("jobs", 0), ("decode", ("beam",)), ("decode", ()), ("adapt", (0,)),
     ("adapt", (-1, 5)), ("margin", 0.0)],
)  # fmt: skip
def test_options_out_of_range(name: str, value: object) -> None:
    with pytest.raises(OptionValueError, match=f"compare, {name}: got"):
        CompareOptions(**{name: value})  # type: ignore[arg-type]


def test_adapting_needs_unseen_tasks() -> None:
    with pytest.raises(UnknownNameError, match="unseen"):
        plan_of("tinylang:ppo", adapt=(0, 64))


def test_an_arm_must_not_choose_by_what_all_are_judged_on() -> None:
    early = "maze:ppo,train.patience=3,train.eval_every=5"
    with pytest.raises(
        OptionValueError, match=r"'held_out', which all arms are judged on.*patience=0"
    ):
        plan_of(early, "maze:grpo", budget="episodes=64")
    plan_of(early, "maze:grpo", budget="episodes=64", splits=("train", "unseen"))


def test_what_was_measured_in_a_lost_timeline_is_forgotten(tmp_path: Path) -> None:
    """Seconds counted, a crash: step 9 was measured, training goes on from 5, 7 is the next."""
    curve = tmp_path / "curve.jsonl"
    curve.write_text("".join(f'{{"step":{k}}}\n' for k in (0, 5, 9)))
    context = SimpleNamespace(run=SimpleNamespace(path=tmp_path), progress=Progress(step=5))
    _OneTimeline().on_training_start(context)  # type: ignore[arg-type]
    assert [line["step"] for line in read(curve)] == [0, 5]


def test_adapting_needs_arms_that_play() -> None:
    """Stored episodes are of the tasks trained on: going on with them is no adaptation."""
    with pytest.raises(OptionValueError, match=r"arm bc: learns from stored .*--adapt"):
        plan_of("maze:bc,data.path=x.jsonl", "maze:ppo", budget="episodes=64", adapt=(0, 64))
    plan_of("maze:bc,data.path=x.jsonl", "maze:ppo", budget="episodes=64")


def test_the_command_that_is_told_makes_the_same_numbers() -> None:
    told = command_of(
        ["writing:grpo", "writing:ppo,optim.lr=1e-5,name=slow one"], ["train.split=train"],
        {"seeds": 5, "adapt": (0, 64), "jobs": 2, "out": "x", "margin": None, "episodes": 7,
         "decode": ("greedy",)},
    )  # fmt: skip
    assert told == (
        "sayso compare writing:grpo 'writing:ppo,optim.lr=1e-5,name=slow one' "
        "--set train.split=train --seeds 5 --adapt 0,64 --with episodes=7 --with decode=greedy"
    )


def test_how_it_is_measured_is_read_and_checked() -> None:
    told = measured_with(["episodes=7", "decode=greedy,sampled", "margin=0.5"])
    assert told == {"episodes": 7, "decode": ("greedy", "sampled"), "margin": 0.5}
    for wrong in ("episodes", "episodes=many", "seed=3", ""):
        with pytest.raises(OptionValueError, match="Write NAME=VALUE"):
            measured_with([wrong])
