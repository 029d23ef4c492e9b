"""A warm start: the model imitates a scripted player, then training begins.

It is a run of its own, in a directory beside or in the run that it is for: finished steps are not
done again, and what it ends with is where every resume of the other run begins.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path

from sayso.algorithms.base import Learner
from sayso.algorithms.options.bc import BCOptions
from sayso.algorithms.options.kl import KLOptions
from sayso.app.assemble import assemble, build_learner
from sayso.app.config import RunConfig
from sayso.app.opening import create_run, env_source
from sayso.data.datasets import write_games
from sayso.data.options import DataOptions, WarmStartOptions
from sayso.envs.scripted import games, scripted
from sayso.errors import CheckpointError
from sayso.models.lm import LanguageModel
from sayso.runs.run import Run
from sayso.seeds import derive
from sayso.training.callbacks import Callback
from sayso.training.checkpoint import load_checkpoint
from sayso.training.loop import train
from sayso.training.options import TrainOptions

FOLDER = "warm_start"
"""Of a run, where its warm start lies."""
GAMES, RUN = "games.jsonl", "run"
_log = logging.getLogger("sayso")


def warm_up(
    config: RunConfig, lm: LanguageModel, place: Path, *, callbacks: Sequence[Callback] = ()
) -> None:
    """Train a fresh model to imitate the player; what is done of it already is taken up.

    Args:
        config: Of the run that it is for; without a player nothing happens.
        lm: The model as it was loaded; changed.
        place: Directory of the games and of the run that imitates them.
        callbacks: Called in order, in every step of imitation.

    Raises:
        UnknownNameError: If the environment has no such player.
    """
    if config.warm_start.player is None:
        return
    own = imitation(config, place)
    path = place / RUN
    Run.clear_half_made(path)
    run = create_run(own, path) if Run.is_free(path) else Run.open(path)
    with run.lock():
        if not (place / GAMES).is_file():
            _play(config, place / GAMES)
        learner = build_learner(own, lm)
        if _restored(run, learner) < own.train.total_episodes:
            train(assemble(own, run, learner=learner, callbacks=callbacks))


def take_up(config: RunConfig, lm: LanguageModel, place: Path) -> None:
    """Give a fresh model what its finished warm start has taught it.

    Raises:
        CheckpointError: If the warm start did not come to its end.
    """
    if config.warm_start.player is None:
        return
    own = imitation(config, place)
    is_there = (place / RUN / "meta.json").is_file()
    done = _restored(Run.open(place / RUN), build_learner(own, lm)) if is_there else 0
    if done < own.train.total_episodes:
        raise CheckpointError(
            where=str(place),
            problem=f"{done} of {own.train.total_episodes} episodes of the warm start are done.",
            fix=f"Go on: sayso train --resume {place.parent}",
        )


def imitation(config: RunConfig, place: Path) -> RunConfig:
    """The options of the run that imitates: the same model and environment, by ``bc``."""
    warm = config.warm_start
    return dataclasses.replace(
        config,
        name=FOLDER,
        algorithm=BCOptions(),
        optim=dataclasses.replace(
            config.optim, lr=warm.lr, schedule="linear", warmup_steps=0, total_steps=None
        ),
        kl=KLOptions(),
        train=TrainOptions(
            total_episodes=-(-warm.games * warm.epochs // warm.batch_episodes)
            * warm.batch_episodes,
            checkpoint_every=config.train.checkpoint_every,
        ),
        data=DataOptions(path=str(place / GAMES), batch_episodes=warm.batch_episodes),
        warm_start=WarmStartOptions(),
    )


def _restored(run: Run, learner: Learner) -> int:
    """Put the model of a learner where the imitation stands; how many episodes that is."""
    restored = load_checkpoint(run, learner)
    return restored.progress.num_episodes if restored else 0


def _play(config: RunConfig, path: Path) -> None:
    warm, env = config.warm_start, env_source(config.env).open()
    player = scripted(env, str(warm.player))
    seed = derive(config.seed, FOLDER)
    played = games(env, player.act, split=config.train.split, num_games=warm.games, seed=seed)
    write_games(path, played)
    _log.warning(
        "Warm start: %d games of %s (%s) are imitated first.", warm.games, warm.player, player.about
    )
