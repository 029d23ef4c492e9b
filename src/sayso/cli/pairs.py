"""The commands that write pairs of texts: what ``main`` adds to the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def comparisons(
    env: Annotated[str, typer.Argument(help="An environment's id; of one turn.")],
    out: Annotated[Path, typer.Option(help="File of preferences to write.")],
    writer: Annotated[list[str], typer.Option(help="One of its scripted players; several meet.")],
    num: Annotated[int, typer.Option("-n", "--num", help="Pairs.", min=1)] = 1000,
    temperature: Annotated[
        float, typer.Option(help="Noise of the judge, in units of the reward; 0: none.", min=0)
    ] = 0.1,
    split: Annotated[str, typer.Option(help="Tasks to write for.")] = "train",
    seed: Annotated[int, typer.Option(help="Decides texts and noise.", min=0)] = 0,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Argument of the environment: --set name=VALUE, in JSON."),
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Write pairs of texts that the environment's own reward has judged: preferences."""
    from sayso.cli import comparisons as command

    command.run(
        env, out=out, writers=writer, num=num, temperature=temperature, split=split, seed=seed,
        settings=set_ or [], as_json=json_,
    )  # fmt: skip


def label(
    env: Annotated[str, typer.Argument(help="An environment's id; of one turn.")],
    out: Annotated[Path, typer.Option(help="File of preferences; asked again, it goes on.")],
    policy: Annotated[
        list[str] | None,
        typer.Option(help="Who writes: a run, or scripted:NAME; give it twice to compare two."),
    ] = None,
    num: Annotated[int, typer.Option("-n", "--num", help="Judgements in all.", min=1)] = 50,
    split: Annotated[str, typer.Option(help="Tasks to ask about.")] = "train",
    seed: Annotated[int, typer.Option(help="Decides pairs and their order.", min=0)] = 0,
    repeat: Annotated[
        float, typer.Option(help="Share of pairs that are asked again, the other way round.")
    ] = 0.1,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Argument of the environment: --set name=VALUE, in JSON."),
    ] = None,
) -> None:
    """Judge pairs of texts in the terminal: 1, 2, t(ie), s(kip), q(uit); writes preferences."""
    from sayso.cli import label as command

    command.run(
        env, out=out, policies=policy or [], num=num, split=split, seed=seed, repeat=repeat,
        settings=set_ or [],
    )  # fmt: skip
