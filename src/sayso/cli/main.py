"""Entry point: parses, calls one file per command, turns errors into exit codes.

Exit codes: 0 done, 2 bad input, 3 stopped by a guard, 130/143 on signals.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from sayso import __version__
from sayso.cli import pairs
from sayso.errors import GuardError, SaysoError
from sayso.runs.interrupt import Interrupted

app = typer.Typer(
    help="sayso: train language models with reinforcement learning. The reward has the say-so.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

BAD_INPUT, GUARD, CTRL_C = 2, 3, 130

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Set = Annotated[
    list[str] | None, typer.Option("--set", help="Override an option: --set optim.lr=1e-5.")
]


def _version(is_asked: bool) -> None:
    if is_asked:
        print(f"sayso {__version__}")
        raise typer.Exit


@app.callback()
def sayso(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", callback=_version, is_eager=True),
    ] = False,
) -> None:
    """sayso: train language models with reinforcement learning. The reward has the say-so."""


@app.command()
def train(
    recipe: Annotated[
        str | None,
        typer.Argument(help="A recipe's name or a TOML file (see `sayso list recipes`)."),
    ] = None,
    set_: Set = None,
    resume: Annotated[
        Path | None, typer.Option(help="Go on with this run; --set train.total_episodes=N: longer.")
    ] = None,
    run: Annotated[
        Path | None, typer.Option(help="Run directory; unset: runs/<recipe>-<n>.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Overrides the recipe's seed.", min=0)] = None,
    tensorboard: Annotated[bool, typer.Option(help="Also write TensorBoard files.")] = False,
    json_: Json = False,
) -> None:
    """Train a recipe: live view in a terminal, plain lines elsewhere, a run directory always."""
    from sayso.cli import train as command

    command.run(
        recipe, overrides=set_ or [], resume=resume, path=run, seed=seed,
        tensorboard=tensorboard, as_json=json_,
    )  # fmt: skip


@app.command(name="eval")
def eval_(
    run: Annotated[Path, typer.Argument(help="A run directory.")],
    split: Annotated[
        str | None, typer.Option(help="train, held_out or unseen; unset: held_out if there is one.")
    ] = None,
    episodes: Annotated[int, typer.Option(help="How many.", min=1)] = 100,
    checkpoint: Annotated[str, typer.Option(help="last, best, base, or a step.")] = "last",
    seed: Annotated[int, typer.Option(help="Seed of the evaluation.", min=0)] = 0,
    beta: Annotated[
        str | None,
        typer.Option(
            help="How strongly values steer, one row for each, e.g. 0,1,4,16: more is greedier. "
            "q_sharp: the price of leaving the model, e.g. 1,0.3,0.1: less is greedier."
        ),
    ] = None,
    decode: Annotated[
        str | None,
        typer.Option(help="sampled, greedy or greedy,sampled; unset: as the run says."),
    ] = None,
    audit: Annotated[
        int, typer.Option(help="Also check the critic, at so many prefixes; 0: no.", min=0)
    ] = 0,
    json_: Json = False,
) -> None:
    """Measure a run's policy: mean return with its interval, per reward part."""
    from sayso.cli import evaluate as command

    command.run(
        run, split=split, episodes=episodes, checkpoint=checkpoint, seed=seed, beta=beta,
        decode=decode, audit=audit, as_json=json_,
    )  # fmt: skip


@app.command()
def chat(
    run: Annotated[Path, typer.Argument(help="A run directory.")],
    checkpoint: Annotated[str, typer.Option(help="last, best, base, or a step.")] = "last",
    seed: Annotated[int, typer.Option(help="Decides what is drawn.", min=0)] = 0,
    max_new_tokens: Annotated[int | None, typer.Option(help="Length of an answer.", min=1)] = None,
) -> None:
    """Talk to a run's policy in the terminal; an empty line or Ctrl-D ends it."""
    from sayso.cli import chat as command

    command.run(run, checkpoint=checkpoint, seed=seed, max_new_tokens=max_new_tokens)


@app.command(name="list")
def list_(
    what: Annotated[
        str, typer.Argument(help="envs, algorithms, models, recipes, rewards or options.")
    ],
    json_: Json = False,
    bounds: Annotated[
        int,
        typer.Option(help="envs: measure the scripted players on so many tasks a split.", min=0),
    ] = 0,
) -> None:
    """List what there is."""
    from sayso.cli import listing as command

    command.run(what, as_json=json_, num_games=bounds)


@app.command()
def doctor(
    recipe: Annotated[str | None, typer.Argument(help="A recipe to check as well.")] = None,
    set_: Set = None,
    json_: Json = False,
) -> None:
    """Check the machine, and a recipe, the way training would, without training."""
    from sayso.cli import doctor as command

    command.run(recipe, overrides=set_ or [], as_json=json_)


@app.command()
def demos(
    env: Annotated[str, typer.Argument(help="An environment's id (see `sayso list envs`).")],
    out: Annotated[Path, typer.Option(help="File to write: JSONL, one game a line.")],
    player: Annotated[
        str | None, typer.Option(help="Which of its scripted players; unset: tells them.")
    ] = None,
    num: Annotated[int, typer.Option("-n", "--num", help="Games.", min=1)] = 1000,
    split: Annotated[str, typer.Option(help="Tasks to play.")] = "train",
    seed: Annotated[int, typer.Option(help="Decides the player's draws.", min=0)] = 0,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Argument of the environment: --set name=VALUE, in JSON."),
    ] = None,
    json_: Json = False,
) -> None:
    """Write a data set of games that a scripted player plays, for `--set data.path=FILE`."""
    from sayso.cli import demos as command

    command.run(
        env, player=player, num=num, split=split, seed=seed, out=out, settings=set_ or [],
        as_json=json_,
    )  # fmt: skip


@app.command()
def play(
    env: Annotated[str, typer.Argument(help="An environment's id (see `sayso list envs`).")],
    task: Annotated[str | None, typer.Option(help="Which task; unset: the seed draws one.")] = None,
    split: Annotated[str, typer.Option(help="train, held_out or unseen.")] = "train",
    player: Annotated[
        str | None, typer.Option(help="Watch one of its scripted players instead.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Decides task and draws.", min=0)] = 0,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Argument of the environment: --set name=VALUE, in JSON."),
    ] = None,
) -> None:
    """Play an environment in the terminal and see each part of the reward."""
    from sayso.cli import play as command

    command.run(env, task=task, split=split, player=player, seed=seed, settings=set_ or [])


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="A run directory.")],
    directory: Annotated[Path, typer.Argument(help="Where to write the model.")],
    checkpoint: Annotated[str, typer.Option(help="last, best, base, or a step.")] = "last",
) -> None:
    """Write a run's policy as a plain Hugging Face directory with a model card."""
    from sayso.cli import export as command

    command.run(run, directory, checkpoint=checkpoint)


@app.command()
def digest(
    run: Annotated[Path, typer.Argument(help="A run directory.")], json_: Json = False
) -> None:
    """Print sha256 sums of what a run is: weights, optimiser, cursors, metrics, episodes."""
    from sayso.cli import digest as command

    command.run(run, as_json=json_)


@app.command()
def bench(
    what: Annotated[str, typer.Argument(help="rollout, update, step, reward or guards.")],
    against: Annotated[str, typer.Option(help="hf, trl or vllm.")] = "hf",
    work: Annotated[str, typer.Option(help="W1, W2 or W3; see benchmarks/README.md.")] = "W1",
    pairs: Annotated[int, typer.Option(help="Ours, theirs, so many times.", min=1)] = 5,
    seeds: Annotated[int, typer.Option(help="reward: runs of each side.", min=1)] = 5,
    out: Annotated[
        Path | None, typer.Option(help="Keep finished runs here, and go on from them.")
    ] = None,
    peer_python: Annotated[
        Path | None, typer.Option(help="The peer's own environment; hf may share ours.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="model=DIR, precision=exact|int8 (ours), lora=RANK, threads=N, repeats=N, "
            "micro_batch=ROWS or shipped=1 (the peer's); reward: threshold=0.35, max_steps=N, ...",
        ),
    ] = None,
    json_: Json = False,
) -> None:
    """Time a phase against a peer, in pairs of fresh processes, once both compute the same.

    `reward` races to a held-out reward; `guards` measures ours alone, against fixed goals.
    """
    from sayso.cli import bench as command

    command.run(
        command.Asked(
            what=what, against=against, work=work, pairs=pairs, seeds=seeds,
            peer_python=peer_python, out=out, settings=set_ or [], as_json=json_,
        )
    )  # fmt: skip


@app.command()
def demo(
    seed: Annotated[int | None, typer.Option(help="Overrides the recipe's seed.", min=0)] = None,
    run: Annotated[Path | None, typer.Option(help="Run directory.")] = None,
    set_: Set = None,
) -> None:
    """Train the recipe `writing` and show what changed; the last line is one JSON object."""
    from sayso.cli import demo as command

    command.run(seed=seed, path=run, overrides=set_ or [])


@app.command()
def compare(
    arms: Annotated[
        list[str],
        typer.Argument(help="RECIPE[:ALGORITHM][,option=value...][,name=NAME], two or more."),
    ],
    set_: Set = None,
    seeds: Annotated[int | None, typer.Option(help="Runs of each arm; 10.", min=1)] = None,
    budget: Annotated[
        str | None,
        typer.Option(
            help="env_tokens=N, learner_tokens=N, wall_clock=SECONDS, reward_queries=N or "
            "episodes=N; unset: the environment tokens of the first recipe."
        ),
    ] = None,
    adapt: Annotated[
        str | None, typer.Option(help="Then train on unseen tasks: 0,64,256,1000 episodes.")
    ] = None,
    jobs: Annotated[int | None, typer.Option(help="Runs at a time; 1.", min=1)] = None,
    with_: Annotated[
        list[str] | None,
        typer.Option(
            "--with",
            help="How it is measured: episodes=100 of each evaluation at the end, points=10 of a "
            "curve, point_episodes=32 of each, splits=held_out,unseen, decode=sampled, margin=0.05 "
            "(the least difference that matters).",
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Directory of the runs.")] = None,
    json_: Annotated[Path | None, typer.Option("--json", help="Write the report here.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write a page that stands alone.")] = None,
) -> None:
    """Compare strategies under equal budgets, paired by seed; the same command goes on."""
    from sayso.cli import compare as command

    options = command.measured_with(with_ or []) | {
        "seeds": seeds, "budget": budget, "adapt": command.numbers(adapt), "jobs": jobs,
        "out": out,
    }  # fmt: skip
    command.run(arms, overrides=set_ or [], options=options, json_path=json_, html=html)


@app.command()
def tune(
    recipe: Annotated[str, typer.Argument(help="A recipe; its [tune] table says what to search.")],
    set_: Set = None,
    trials: Annotated[int | None, typer.Option(help="Sets of options to try; 20.", min=1)] = None,
    seeds: Annotated[int | None, typer.Option(help="Runs of each; 2.", min=1)] = None,
    budget: Annotated[
        str | None, typer.Option(help="Of each run, as for `sayso compare`: env_tokens=N.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="Measured on; train.")] = None,
    episodes: Annotated[int | None, typer.Option(help="Of each evaluation; 100.", min=1)] = None,
    out: Annotated[Path | None, typer.Option(help="Directory of the study.")] = None,
    json_: Json = False,
) -> None:
    """Search for options under equal budgets (Optuna); the best set is written as a recipe."""
    from sayso.cli import tune as command

    options = {
        "trials": trials, "seeds": seeds, "budget": budget, "split": split, "episodes": episodes,
        "out": out,
    }  # fmt: skip
    command.run(recipe, overrides=set_ or [], options=options, as_json=json_)


app.command()(pairs.comparisons)
app.command()(pairs.label)


def main() -> None:
    """Run the command line."""
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # A recipe may name a module that lies beside it: as for `python -m`, the folder counts.
    sys.path.insert(0, str(Path.cwd()))
    sys.exit(call(app))


def call(command: Callable[..., object]) -> int:
    """Run a command; the exit code it deserves."""
    try:
        code = command(standalone_mode=False)
    except (SaysoError, Interrupted) as error:
        if isinstance(error, Interrupted):
            notes = " ".join(getattr(error, "__notes__", ()))
            print(f"{error}; the last whole step is saved. {notes}".rstrip(), file=sys.stderr)
            return error.exit_code
        print(error, file=sys.stderr)
        return GUARD if isinstance(error, GuardError) else BAD_INPUT
    except (KeyboardInterrupt, typer.Abort):
        return CTRL_C
    except OSError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return BAD_INPUT
    except Exception as error:
        if not type(error).__module__.startswith(("click", "typer")):
            raise
        show = getattr(error, "show", None)  # bad flags and arguments explain themselves
        _ = show() if show is not None else print(error, file=sys.stderr)
        return BAD_INPUT
    return code if isinstance(code, int) else 0


if __name__ == "__main__":
    main()
