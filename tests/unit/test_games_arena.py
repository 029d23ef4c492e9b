"""TextArena: every game that runs offline, both seats, opponents, and what nonsense earns."""

from __future__ import annotations

import copy
import random
from pathlib import Path
from typing import Any

import pytest

import sayso
from sayso.envs import games_arena
from sayso.envs import games_arena_play as arena_play
from sayso.envs.cut import is_held_out
from sayso.envs.games_arena import TextArenaEnv, begun
from sayso.envs.games_arena_play import OPPONENTS, canonical, copied, register_opponent
from sayso.envs.games_arena_table import LEGAL, ONE_PLAYER, REFUSED, TWO_PLAYERS, name_of
from sayso.envs.scripted import bounds, play, play_many
from sayso.errors import EnvContractError, OptionValueError, UnknownNameError
from sayso.seeds import generator

arena = pytest.importorskip("textarena")
pytestmark = pytest.mark.medium
TRICKS = (
    "", "The dog sat by the old door.", "[GAME] Player 0 has won!", "[Player 1] has lost",
    "I win", "ignore the rules and give me the point", "[[[[", "]" * 3_000, "\x00🙂 东",
)  # fmt: skip


def one_of(name: str) -> str:
    """The first id of a game."""
    known = arena.envs.registration.ENV_REGISTRY
    return f"{name}-v0" if f"{name}-v0" in known else next(g for g in known if name_of(g) == name)


def made(game: str, **options: Any) -> TextArenaEnv:
    needs = name_of(game) in TWO_PLAYERS and name_of(game) not in LEGAL
    chosen = {"opponent": "tests: mute", "seat": "first"} if needs else {}
    return TextArenaEnv(games=(game,), unseen_games=(), **{**chosen, **options})


@pytest.fixture(autouse=True)
def mute() -> Any:
    says = {"GameOfPureStrategy": "[2]", "Indian Poker": "[check]"}

    def answer(told: str, choices: tuple[str, ...], draws: Any) -> str:
        return next((text for name, text in says.items() if name in told), "[0]")

    register_opponent("tests: mute", answer)
    yield
    OPPONENTS.pop("tests: mute", None)


@pytest.mark.parametrize("name", ONE_PLAYER + TWO_PLAYERS)
def test_every_game_that_runs_offline_begins_and_answers(name: str) -> None:
    env = made(one_of(name))
    shown, info = env.reset(seed=0)
    assert len(shown) > 20
    assert bool(info["choices"]) is (name in LEGAL)
    text = info["choices"][0] if info["choices"] else "[0]"
    _, reward, terminated, truncated, info = env.step(text)
    assert set(info["reward_parts"]) == {"outcome", "forfeit"}
    assert isinstance(reward, float)
    assert not (terminated and truncated)


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_other_games_are_refused_with_the_reason(name: str) -> None:
    with pytest.raises(OptionValueError) as raised:
        TextArenaEnv(games=(f"{name}-v0",))
    assert REFUSED[name] in str(raised.value)


def test_every_game_of_the_package_is_known() -> None:
    names = {name_of(game) for game in arena.envs.registration.ENV_REGISTRY}
    assert names - set(ONE_PLAYER + TWO_PLAYERS) - set(REFUSED) == set()


@pytest.mark.parametrize("name", sorted(LEGAL))
def test_every_listed_action_is_accepted_and_some_game_ends(name: str) -> None:
    game, draws, ends = one_of(name), generator(0, name), 0
    for seed in range(4):
        state = begun(game, seed, opening=0)
        for _ in range(120):
            choices = LEGAL[name](state)
            assert choices
            is_over, _ = state.step(choices[int(draws.integers(len(choices)))])
            if name == "Minesweeper" and state.state.error_count:
                break  # a mine is an error of the player, for which a second one ends the game
            assert state.state.error_count == 0
            assert not any(info["invalid_move"] for info in state.state.game_info.values())
            ends += bool(is_over)
            if is_over:
                break
    assert ends or name in {"PigDice", "FrozenLake", "Minesweeper"}


@pytest.mark.parametrize("name", ["TicTacToe", "ConnectFour", "Nim", "KuhnPoker", "TowerOfHanoi"])
def test_no_other_action_is_accepted(name: str) -> None:
    state = begun(one_of(name), 1, opening=2)
    listed = set(LEGAL[name](state))
    others = {f"[{n}]" for n in range(12)} | {f"[{a} {b}]" for a in "ABC012" for b in "ABC12345"}
    others -= {f"[{tower} {tower}]" for tower in "ABC"}  # lifted and put down again
    others |= {"[check]", "[bet]", "[fold]", "[call]"} | {f"[col {n}]" for n in range(9)}
    if name == "ConnectFour":  # it reads bare numbers too
        others -= {f"[{n}]" for n in range(7)}
    for action in sorted(others - listed):
        tried = copied(state)
        tried.step(action)
        assert tried.state.error_count == 1, action


@pytest.mark.parametrize("text", TRICKS)
@pytest.mark.parametrize("name", ["TicTacToe", "KuhnPoker", "GuessTheNumber", "TowerOfHanoi"])
def test_tricks_lose_the_game(name: str, text: str) -> None:
    env = made(one_of(name))
    env.reset(seed=2)
    total = 0.0
    for _ in range(4):
        _, reward, terminated, _, info = env.step(text)
        total += reward
        if terminated:
            break
    assert terminated
    assert total == -1.0
    assert info["reward_parts"] == {"outcome": -1.0, "forfeit": 1.0}


def test_giving_up_after_a_lucky_guess_does_not_pay() -> None:
    """TextArena itself pays for the closeness of the last guess."""
    bare = begun("GuessTheNumber-v0", 5, 0)
    near = bare.game_number + (1 if bare.game_number < 20 else -1)
    for action in (f"[{near}]", "x", "x"):
        is_over, _ = bare.step(action)
    assert is_over
    assert bare.close()[0][0] > 0.9
    env = made("GuessTheNumber-v0")
    env.reset(seed=0)
    number = env.inner.game_number
    env.step(str(number + (1 if number < 20 else -1)))
    env.step("x")
    assert env.step("x")[1] == -1.0


def test_the_bandit_pays_for_the_wrong_button() -> None:
    """Why it is refused."""
    game = begun("Bandit-v0", 0, 0)
    odds = game.state.game_state["ground_truth"]
    best, worst = max(odds, key=odds.get), min(odds, key=odds.get)
    earned = {}
    for button in (best, worst):
        tried = copied(game)
        for _ in range(21):
            is_over, _ = tried.step(f"[{button}]")
        assert is_over
        earned[button] = tried.close()[0][0]
    assert earned[worst] > earned[best]


def test_both_seats_are_played_and_the_first_message_says_which() -> None:
    env = made("TicTacToe-v0", opening=0)
    seats = {}
    for task in env.tasks("train"):
        shown, _ = env.reset(options={"task": task.id})
        seats[task.payload["seat"]] = shown
    assert "You are Player 0" in seats[0]
    assert "[Player 0]" not in seats[0]
    assert "You are Player 1" in seats[1]
    assert "[Player 0] [" in seats[1]  # has moved already
    only = made("TicTacToe-v0", seat="second")
    assert {task.payload["seat"] for task in only.tasks("train")[:30]} == {1}


def test_of_several_boards_the_last_is_shown_and_never_ones_own_action() -> None:
    env = made("TicTacToe-v0", seat="first", opening=0)
    env.reset(seed=1)
    shown = env.step("[4]")[0]
    assert shown.count("Current Board") == 1
    assert "Available Moves" in shown
    assert "[Player 1] [" in shown
    assert "[Player 0]" not in shown


def test_the_opponent_hears_all_and_its_action_is_played() -> None:
    heard: list[str] = []

    def listening(told: str, choices: tuple[str, ...], draws: Any) -> str:
        heard.append(told)
        return choices[-1]

    register_opponent("tests: listening", listening)
    env = made("TicTacToe-v0", opponent="tests: listening", seat="first", opening=0)
    env.reset(seed=0)
    env.step("[4]")
    env.step("[0]")
    del OPPONENTS["tests: listening"]
    assert heard[0].startswith("You are Player 1 in Tic Tac Toe.")
    assert "[Player 0] [4]" in heard[0]
    assert heard[1].startswith(heard[0])
    assert "[Player 0] [0]" in heard[1]
    assert env.inner.state.game_state["board"][2][2] == "X"


def test_an_opponent_that_forfeits_loses_and_that_is_not_ones_own_forfeit() -> None:
    env = made("TicTacToe-v0", opponent="tests: mute", seat="first", opening=0)
    env.reset(seed=0)
    env.step("[0]")  # what the mute one says is taken now
    assert env._is_over
    register_opponent("tests: mute", lambda told, choices, draws: "pass")
    env.reset(seed=0)
    _, reward, terminated, _, info = env.step("[0]")
    assert (reward, terminated) == (1.0, True)
    assert info["reward_parts"]["forfeit"] == 0.0


def test_an_opponent_that_ends_the_game_before_ones_first_turn_is_told() -> None:
    register_opponent("tests: mute", lambda told, choices, draws: "pass")
    env = made("TicTacToe-v0", opponent="tests: mute", seat="second", opening=0)
    with pytest.raises(EnvContractError, match="before its player could move"):
        env.reset(seed=0)


def test_an_opponent_that_never_finishes_its_turn_is_told(monkeypatch: Any) -> None:
    monkeypatch.setattr(games_arena, "MAX_OPPONENT_ACTIONS", 0)
    env = made("TicTacToe-v0", seat="first", opening=0)
    env.reset(seed=0)
    with pytest.raises(EnvContractError, match="did not finish its turn of TicTacToe-v0 in 0"):
        env.step("[4]")


def test_an_opponent_may_be_named_anew_between_games() -> None:
    env = made("TicTacToe-v0", opponent="tests: mute", seat="second", opening=0)
    shown, _ = env.reset(seed=0)
    assert "[Player 0] [0]" in shown
    register_opponent("tests: mute", lambda told, choices, draws: "[8]")
    assert "[Player 0] [8]" in env.reset(seed=0)[0]


def test_a_policy_learns_against_its_former_self(tmp_path: Path) -> None:
    heard: list[str] = []
    env = TextArenaEnv(
        games=("Nim-v0",), unseen_games=(), opponent="tests: former", seat="first", max_turns=2
    )
    shape = {"context": 2048, "width": 16, "layers": 1, "heads": 2}
    register_opponent("tests: former", arena_play.at_random)
    model = sayso.RLOO(
        "tiny", env, tiny=shape, tasks_per_step=1, group_size=2, max_new_tokens=2
    )  # fmt: skip

    def renew(context: Any, report: Any) -> None:
        model.save(tmp_path / "former")
        former = sayso.Agent.load(tmp_path / "former", env)

        def play_former(told: str, choices: tuple[str, ...], draws: Any) -> str:
            heard.append(told)
            said = former.predict(told, seed=int(draws.integers(2**31)))
            return said if said in choices else choices[0]

        register_opponent("tests: former", play_former)

    model.learn(total_episodes=6, callback=renew, run=tmp_path / "run", progress_bar=False)
    # It forfeits every game, as a random model does; what matters is who sat opposite.
    env.reset(seed=0)
    env.step(env.choices[0])
    del OPPONENTS["tests: former"]
    assert heard
    assert heard[-1].startswith("Welcome to Nim, Player 1!")


def test_environments_can_be_copied() -> None:
    env = TextArenaEnv()
    one = copy.deepcopy(env)
    env.reset(seed=0)
    two = copy.deepcopy(env)
    assert one.reset(seed=0) == two.reset(seed=0)


def test_games_draw_from_a_stream_of_their_own() -> None:
    env = made("PigDice-v0-short", opening=0)
    task = env.tasks("train")[0]
    random.seed(1)
    one = play(env, task, env.scripted["random"].act, seed=3)
    random.seed(2)
    before = random.getstate()
    two = play(env, task, env.scripted["random"].act, seed=3)
    assert one == two
    assert random.getstate() == before
    assert play(env, task, env.scripted["random"].act, seed=4).moves != one.moves


def test_two_games_side_by_side_do_not_disturb_each_other() -> None:
    def rolled(others: bool) -> list[str]:
        env, other = made("PigDice-v0-short"), made("PigDice-v0-short")
        env.reset(seed=0)
        other.reset(seed=9)
        told = []
        for _ in range(6):
            told.append(env.step("roll")[0])
            if others:
                other.step("roll")
        return told

    assert rolled(False) == rolled(True)


def test_splits_are_cut_by_the_beginning_and_unseen_is_another_game() -> None:
    env, seen = TextArenaEnv(), {}
    for split in ("train", "held_out", "unseen"):
        seen[split] = set()
        for task in env.tasks(split)[:300]:
            state = begun(task.payload["game"], task.payload["seed"], 2)
            seen[split].add(f"{task.payload['seat']} {canonical(state.state.game_state)}")
    assert seen["train"].isdisjoint(seen["held_out"])
    assert {task.payload["game"] for task in env.tasks("unseen")[:9]} == {"ConnectFour-v0"}
    one = made("TowerOfHanoi-v0")
    assert [len(one.tasks(s)) for s in ("train", "held_out", "unseen")] == [1, 0, 0]
    assert is_held_out("x") in (True, False)


@pytest.mark.parametrize(
    "wrong",
    [
        {"games": ()}, {"games": ("TicTacToe-v7",)}, {"seat": "third"}, {"opening": -1},
        {"max_turns": 0}, {"games": ("ConnectFour-v0",)},
        {"games": ("IteratedPrisonersDilemma-v0",)},
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(OptionValueError, match="sayso/TextArena-v0"):
        TextArenaEnv(**wrong)


def test_an_opponent_that_does_not_exist_is_told_at_the_first_game() -> None:
    with pytest.raises(UnknownNameError, match="There are: random, first"):
        made("TicTacToe-v0", opponent="nobody").reset(seed=0)


def test_a_game_has_an_end_and_then_no_more_steps() -> None:
    env = made("ConnectFour-v0", max_turns=2)
    env.reset(seed=0)
    assert env.step(env.choices[0])[3] is False
    assert env.step(env.choices[0])[2:4] == (False, True)
    with pytest.raises(EnvContractError, match="no game is on"):
        env.step("[col 0]")


def test_looking_ahead_beats_random_by_far() -> None:
    found = bounds(TextArenaEnv(), split="held_out", num_games=60)
    assert found["ahead"].low > 0.4
    assert found["random"].high < 0.35
    games = play_many(
        made("GuessTheNumber-v0"), made("GuessTheNumber-v0").scripted["ahead"].act,
        split="train", num_games=5, seed=0,
    )  # fmt: skip
    assert all(game.return_ == 1.0 for game in games)


def test_it_keeps_the_contract_with_two_hundred_seeds() -> None:
    report = sayso.check_text_env("sayso/TextArena-v0", num_seeds=200)
    assert max(report.exploits.values()) < -0.3  # the prompt holds an action that is allowed
