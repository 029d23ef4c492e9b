"""``sayso compare`` and ``sayso.compare``: strategies under equal budgets."""

from __future__ import annotations

import io
import json
import re
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from sayso.cli import recipes
from sayso.errors import GuardError, OptionValueError
from sayso.runs.terminal import printable

if TYPE_CHECKING:
    from sayso.app.arms import Arm

_SETTING = re.compile(r",(?=[A-Za-z_][A-Za-z0-9_.]*=)")
"""A comma before another setting; commas inside lists are not followed by a name and ``=``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What a comparison found.

    Attributes:
        report: Rows, verdicts, curves and settings, as ``--json`` writes them.
        path: Its directory: the plan, and a run for each arm and seed.
    """

    report: Mapping[str, Any]
    path: Path

    @property
    def rows(self) -> list[dict[str, Any]]:
        """``env, split, algorithm, metric, seeds, mean, low, high, command``."""
        return list(self.report["rows"])

    @property
    def verdicts(self) -> list[dict[str, Any]]:
        """Each pair of arms, on each split."""
        return list(self.report["verdicts"])

    def save(self, *, json_path: Path | str | None = None, html: Path | str | None = None) -> None:
        """Write the report as JSON, as a page that stands alone, or both."""
        from sayso.dashboard.compare_page import compare_page

        if json_path is not None:
            text = json.dumps(self.report, indent=1, allow_nan=False) + "\n"
            _write(Path(json_path), text)
        if html is not None:
            _write(Path(html), compare_page(self.report))

    def __str__(self) -> str:
        told = io.StringIO()
        show(self.report, Console(width=110, file=told))
        return told.getvalue()


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def compare(*arms: str, set: Sequence[str] = (), quiet: bool = True, **options: Any) -> Comparison:  # noqa: A002  # as on the command line
    """Train each arm with each seed under the same budget, and say what the seeds allow to be said.

    Args:
        *arms: ``"RECIPE[:ALGORITHM][,option=value...][,name=NAME]"``, as on the command line:
            ``sayso.compare("tinylang:grpo", "tinylang:ppo,optim.lr=1e-3")``.
        set: Options of all arms: ``["train.checkpoint_every=5"]``.
        quiet: Tell nothing while runs finish.
        **options: See ``CompareOptions``: ``seeds``, ``budget``, ``splits``, ``episodes``,
            ``points``, ``point_episodes``, ``decode``, ``adapt``, ``jobs``, ``margin``, ``out``.

    Returns:
        The report and where the runs lie. The same call again goes on with what is missing.

    Raises:
        ConfigError: If an arm or option is wrong, or an arm cannot be stopped by the budget.
        GuardError: If every run failed.
    """
    from sayso.app.arms import differences, refuse_lonely
    from sayso.app.plan import CompareOptions, make_plan, store_plan

    chosen = _options(CompareOptions, options)
    parsed = [parse_arm(text, set) for text in arms]
    refuse_lonely(parsed)
    plan = make_plan(parsed, chosen)
    from sayso.app.comparison import folder_of, results, run_all  # loads torch: once all is right

    folder = folder_of(plan, chosen)
    store_plan(folder, plan)

    def tell(line: str) -> None:
        if not quiet:
            print(printable(line), file=sys.stderr)

    tell(f"{len(plan.arms)} arms, {chosen.seeds} seeds, {plan.budget} each, in {folder}")
    noted = differences(plan.arms)
    if plan.budget.axis == "wall_clock" and chosen.jobs > 1:
        noted.append(
            f"{chosen.jobs} runs at a time slow each other, and their seconds were counted."
        )
    for problem in noted:
        tell(f"note: {problem}")
    seeds = range(chosen.seeds)
    failed = run_all(folder, plan, seeds=seeds, jobs=chosen.jobs, tell=tell)
    found = results(folder, plan, seeds)
    if not found:
        raise GuardError(
            where=str(folder), problem=f"every run failed; the first: {failed[0]}",
            fix="Mend that and give the same command again.",
        )  # fmt: skip
    from sayso.evaluation.comparison import summarise

    report = summarise(
        plan.to_json(), found, command=command_of(arms, set, options), margin=chosen.margin,
        notes=[*noted, *(f"Failed: {each}" for each in failed)],
    )  # fmt: skip
    return Comparison(report=report, path=folder)


def run(
    arms: Sequence[str],
    *,
    overrides: Sequence[str],
    options: Mapping[str, Any],
    json_path: Path | None,
    html: Path | None,
) -> None:
    """Compare, print the tables, write the files."""
    given = {name: value for name, value in options.items() if value is not None}
    found = compare(*arms, set=overrides, quiet=False, **given)
    found.save(json_path=json_path, html=html)
    show(found.report, Console())
    for what, path in (("JSON", json_path), ("page", html)):
        if path is not None:
            print(f"{what}: {path}")
    print(f"Runs: {found.path}   (the same command goes on; more --seeds adds to them)")


def parse_arm(text: str, shared: Sequence[str] = ()) -> Arm:
    """``RECIPE[:ALGORITHM][,option=value...][,name=NAME]`` with options of all arms under it.

    Raises:
        ConfigError: Listing what is wrong with its options.
        UnknownNameError: If there is no such recipe.
        OptionValueError: If it is no arm.
    """
    from sayso.app.arms import arm_of

    head, *settings = _SETTING.split(text)
    recipe, colon, algorithm = head.rpartition(":") if ":" in head else (head, "", "")
    if not recipe or (colon and not algorithm) or "=" in head:
        raise OptionValueError(
            where="compare", problem=f"got the arm {text!r}.",
            fix="Write RECIPE:ALGORITHM,option=value,name=NAME; all but the recipe may be missing.",
        )  # fmt: skip
    names = [s.removeprefix("name=") for s in settings if s.startswith("name=")]
    own = [s for s in settings if not s.startswith("name=")]
    is_control = recipes.other_kind(recipes.read(recipe)[0]) == "control"
    section = "learner" if is_control else "algorithm"
    chosen = [f"{section}.type={algorithm}"] if algorithm else []
    common = [_as_control(setting) for setting in shared] if is_control else list(shared)
    config = recipes.any_config(recipe, [*common, *chosen, *own])
    return arm_of(config, recipe=recipe, name=names[-1] if names else "")


def _as_control(setting: str) -> str:
    """An option of all arms by the name that a control recipe has for it."""
    from sayso.app.arms import OF_CONTROL

    name, equals, value = setting.partition("=")
    return f"{OF_CONTROL.get(name.strip(), name)}{equals}{value}"


def command_of(arms: Sequence[str], overrides: Sequence[str], options: Mapping[str, Any]) -> str:
    """What to type to get the same numbers; where it lies and how many ran at a time are left out.

    One that begins with what is installed: ``sayso compare ...``.
    """
    words = ["sayso", "compare", *arms]
    for setting in overrides:
        words += ["--set", setting]
    for name, value in options.items():
        if name not in ("out", "jobs") and value not in ((), "", None):
            told = ",".join(map(str, value)) if isinstance(value, tuple | list) else str(value)
            words += ["--with", f"{name}={told}"] if name in _MEASURED else [f"--{name}", told]
    return shlex.join(words)


_MEASURED: dict[str, Callable[[str], Any]] = {
    "episodes": int,
    "points": int,
    "point_episodes": int,
    "margin": float,
    "splits": lambda text: tuple(part.strip() for part in text.split(",")),
    "decode": lambda text: tuple(part.strip() for part in text.split(",")),
}
"""What ``--with`` takes, and how it is read."""


def measured_with(settings: Sequence[str]) -> dict[str, Any]:
    """``--with name=value`` as options.

    Raises:
        OptionValueError: If one does not read so.
    """
    found = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        try:
            found[name] = _MEASURED[name if equals else ""](text)
        except (KeyError, ValueError) as error:
            raise OptionValueError(
                where="--with", problem=f"got {setting!r}.",
                fix=f"Write NAME=VALUE, the name one of {', '.join(_MEASURED)}.",
            ) from error  # fmt: skip
    return found


def numbers(text: str | None) -> tuple[int, ...] | None:
    """Whole numbers between commas.

    Raises:
        OptionValueError: If one is none.
    """
    try:
        return None if text is None else tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise OptionValueError(
            where="--adapt", problem=f"got {text!r}.", fix="Write whole numbers: 0,64,256,1000."
        ) from error


def _options(record: Any, options: Mapping[str, Any]) -> Any:
    known = list(record.__dataclass_fields__)
    unknown = [name for name in options if name not in known]
    if unknown:
        raise OptionValueError(
            where=f"compare({unknown[0]}=...)", problem="no such option.",
            fix=f"Options: {', '.join(known)}.",
        )  # fmt: skip
    tuples = {n: tuple(v) if isinstance(v, list) else v for n, v in options.items()}
    return record(**tuples)


def show(report: Mapping[str, Any], console: Console) -> None:
    """For each environment the means of each arm, and what may be said of each pair."""
    for env in dict.fromkeys(row["env"] for row in report["rows"]):
        console.print(_means(report, env))
        for judged in report["verdicts"]:
            if judged["env"] == env:
                console.print(Text(printable(_verdict(judged))), soft_wrap=True)
    for note in report["notes"]:
        console.print(Text(f"note: {printable(note)}"), soft_wrap=True)


def _means(report: Mapping[str, Any], env: str) -> Table:
    budget = report["budget"]
    table = Table(
        title=printable(
            f"{env}: mean over seeds, 95 % interval; {budget['axis']} = {budget['amount']:g} a run"
        ),
        title_justify="left",
    )
    for name in ("split", "metric", "arm"):
        table.add_column(name)
    for name in ("seeds", "mean"):
        table.add_column(name, justify="right", no_wrap=True)
    before = ("", "")
    rows = [row for row in report["rows"] if row["env"] == env]
    order = list(dict.fromkeys((row["split"], row["metric"]) for row in rows))
    for row in sorted(rows, key=lambda r: order.index((r["split"], r["metric"]))):
        place = (row["split"], row["metric"])
        if before[0] and place != before:
            table.add_section()
        head = place if place != before else ("", "")
        before = place
        words = (*head, row["algorithm"])
        cells = (Text(printable(word)) for word in words)
        table.add_row(*cells, str(row["seeds"]), Text(_interval(row)))
    return table


def _verdict(j: Mapping[str, Any]) -> str:
    """One pair in a sentence."""
    where = f"on {j['split']}, {j['decode']}"
    numbers = (
        f"difference {_interval(j['difference'])}, p = {j['p_adjusted']:.3g}, wins "
        f"{j['improvement']['mean']:.0%} of pairs of runs"
    )
    if j["verdict"] in ("better", "worse"):
        return f"{j['first']} is {j['verdict']} than {j['second']} {where}: {numbers}"
    seeds, least = j["difference"]["n"], j["least_seeds"]
    told = f"{j['first']} and {j['second']} {where}: {j['verdict']}; {numbers}"
    if seeds < least:
        return f"{told}; {least} seeds are the least that can tell"
    if j["detectable"] is None:
        return f"{told}; all {seeds} differences are the same: how much seeds differ is not known"
    return f"{told}; {seeds} seeds would have shown {j['detectable']:.3g} in 4 of 5 studies"


def _interval(told: Mapping[str, Any]) -> str:
    mean = "-" if told["mean"] is None else f"{told['mean']:.3f}"
    ends = told["low"] is not None and told["high"] is not None
    return f"{mean} [{told['low']:.3f}, {told['high']:.3f}]" if ends else f"{mean} [-]"
