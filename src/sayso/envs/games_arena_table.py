"""TextArena's games: who runs without a network, who is refused and why, and what may be played."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

ONE_PLAYER = (
    "2048", "Blackjack", "Countdown", "Crosswords", "Cryptarithm", "FifteenPuzzle", "FrozenLake",
    "GuessTheNumber", "LogicPuzzle", "Mastermind", "Minesweeper", "PegJump",
    "Secretary", "Slitherlink", "Sudoku", "ThreeCardMonte", "TowerOfHanoi",
)  # fmt: skip
TWO_PLAYERS = (
    "Alquerque", "Battleship", "Breakthrough", "Briscola", "Chopsticks", "ColonelBlotto",
    "ConnectFour", "Crusade", "GameOfPureStrategy", "GermanWhist", "Golf", "HighSociety",
    "IndianPoker", "IteratedMatchingPennies", "IteratedPrisonersDilemma",
    "IteratedRockPaperScissors", "IteratedTwoThirdsAverage", "IteratedUltimatumGame", "KuhnPoker",
    "LiarsDice", "LinesOfAction", "MemoryGame", "NewRecruit", "Nim", "Othello", "PigDice", "Poker",
    "QuantumTicTacToe", "SantoriniBaseFixed", "SimpleBlindAuction", "SimpleNegotiation",
    "SimpleTak", "Snake", "SpiteAndMalice", "Stratego", "Surround", "Tak", "TicTacToe",
    "TruthAndDeception", "TwoDollar", "UltimateTicTacToe", "WildTicTacToe",
)  # fmt: skip

_NLTK = "it downloads word lists of NLTK when it is imported"
_KEY = "a paid service judges or plays in it"
_SYNTAX = "its source needs Python 3.12"
_MANY = "it is for three players or more"
_FILES = "files that it reads are missing from the package"
REFUSED: Mapping[str, str] = MappingProxyType(
    {
        "BabyAiText": "it needs the old package `gym`; sayso/BabyAI-v0 plays these rooms",
        "Bandit": "its last choice is compared with the whole table, so that the best button earns "
        "0 and worse ones more",
        "CharacterConclave": "it fails by a fault of its own when it begins",
        "LightsOut": "its reward falls without a bound as lights are added",
        "RushHour": "a board may take half a minute to make",
        "Set": "its reward is a count without a bound",
        "Sokoban": "a board may take eight seconds to make",
        **dict.fromkeys(
            (
                "Codenames", "DontSayIt", "Hangman", "LetterAuction", "SpellingBee", "WordChains",
                "WordLadder", "WordSearch", "Wordle",
            ),
            _NLTK,
        ),
        **dict.fromkeys(("Debate", "GuessWho", "ScenarioPlanning", "TwentyQuestions"), _KEY),
        **dict.fromkeys(
            (
                "Checkers", "Chess", "IteratedStagHunt", "Klondike", "ReverseTicTacToe",
                "UltimateTexasHoldem",
            ),
            _SYNTAX,
        ),
        **dict.fromkeys(("ScorableGames", "UsedCar", "UsedCarNegotiation"), _FILES),
        **dict.fromkeys(
            (
                "MarketEntryGame", "PublicGoodsGame", "SecretMafia", "SettlersOfCatan", "Taboo",
                "ThreePlayerGOPS", "ThreePlayerIPD", "ThreePlayerTicTacToe",
            ),
            _MANY,
        ),
    }
)  # fmt: skip
"""By name without the version."""

Legal = Callable[[Any], tuple[str, ...]]
"""The bare game to the actions that it accepts now."""


def name_of(game: str) -> str:
    """``TicTacToe`` of ``TicTacToe-v0`` and of ``TicTacToe-v0-hard``."""
    return game.partition("-v")[0]


def _state(env: Any) -> Any:
    return env.state.game_state


def _tic_tac_toe(env: Any) -> tuple[str, ...]:
    cells = [cell for row in _state(env)["board"] for cell in row]
    return tuple(f"[{place}]" for place, cell in enumerate(cells) if cell == "")


def _connect_four(env: Any) -> tuple[str, ...]:
    return tuple(f"[col {c}]" for c, top in enumerate(_state(env)["board"][0]) if top == ".")


def _nim(env: Any) -> tuple[str, ...]:
    piles = _state(env)["piles"]
    return tuple(f"[{p} {n}]" for p, size in enumerate(piles) for n in range(1, size + 1))


def _kuhn_poker(env: Any) -> tuple[str, ...]:
    return tuple(f"[{action}]" for action in _state(env)["current_legal_action_tree"])


def _othello(env: Any) -> tuple[str, ...]:
    """A player without a move says anything and is skipped."""
    mine = "B" if env.state.current_player_id == 0 else "W"
    moves = env._valid_moves(mine)  # noqa: SLF001  # the state's list is one turn late after a skip
    return tuple(f"[{row}, {column}]" for row, column in moves) or ("[skip]",)


def _guess(env: Any) -> tuple[str, ...]:
    every = range(env.min_number, env.max_number + 1)
    return tuple(f"[{number}]" for number in every if number not in env.guessed_numbers)


def _hanoi(env: Any) -> tuple[str, ...]:
    towers = _state(env)["towers"]
    return tuple(
        f"[{one} {two}]"
        for one, disks in towers.items()
        for two, below in towers.items()
        if one != two and disks and (not below or below[-1] > disks[-1])
    )


def _frozen_lake(env: Any) -> tuple[str, ...]:
    row, column = _state(env)["player_pos"]
    return tuple(
        f"[{name}]"
        for name, (down, right) in env.actions.items()
        if 0 <= row + down < env.size and 0 <= column + right < env.size
    )


def _minesweeper(env: Any) -> tuple[str, ...]:
    places = ((r, c) for r in range(env.rows) for c in range(env.cols))
    return tuple(f"[{r} {c}]" for r, c in places if not env.revealed[r][c])


def _fixed(*actions: str) -> Legal:
    return lambda env: tuple(f"[{action}]" for action in actions)


LEGAL: Mapping[str, Legal] = MappingProxyType(
    {
        "Blackjack": _fixed("Hit", "Stand"),
        "ConnectFour": _connect_four,
        "FrozenLake": _frozen_lake,
        "GuessTheNumber": _guess,
        "IteratedMatchingPennies": _fixed("heads", "tails"),
        "IteratedRockPaperScissors": _fixed("rock", "paper", "scissors"),
        "KuhnPoker": _kuhn_poker,
        "Minesweeper": _minesweeper,
        "Nim": _nim,
        "Othello": _othello,
        "PigDice": _fixed("roll", "hold"),
        "Secretary": _fixed("accept", "continue"),
        "TicTacToe": _tic_tac_toe,
        "TowerOfHanoi": _hanoi,
    }
)
"""By name without the version."""


def why_refused(name: str) -> str:
    """Why a game is not played here, in half a sentence; empty: it is.

    Args:
        name: Without the version.
    """
    return "" if name in ONE_PLAYER + TWO_PLAYERS else REFUSED.get(name, "it was never tried")
