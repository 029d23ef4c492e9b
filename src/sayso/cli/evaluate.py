"""``sayso eval``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sayso.cli.restore import restore
from sayso.envs.listed import num_tasks
from sayso.errors import OptionValueError
from sayso.runs.run import Run

if TYPE_CHECKING:
    from sayso.app.sweep import Acted
    from sayso.envs.registry import EnvSource
    from sayso.evaluation.audit import AuditReport
    from sayso.rollout.limits import RolloutLimits
    from sayso.sampling.options import Decode


def run(
    path: Path,
    *,
    split: str | None,
    episodes: int,
    checkpoint: str,
    seed: int,
    beta: str | None,
    decode: str | None,
    audit: int,
    as_json: bool,
) -> None:
    """Print what a policy earns, a row for each way of acting; with ``audit``, check its critic."""
    opened = Run.open(path)
    if _is_other(
        path, split=split, episodes=episodes, checkpoint=checkpoint, seed=seed, as_json=as_json,
        flags={"--beta": beta, "--decode": decode, "--audit": audit},
    ):  # fmt: skip
        return
    from sayso.app.opening import config_of, env_source, rollout_limits
    from sayso.app.origin import require_named
    from sayso.app.refusals import refuse_beta, require_critic

    require_named(opened, "env")
    betas, decodes = _betas(beta), _decodes(decode)
    config = config_of(opened)
    env = env_source(config.env)
    split = split or first_with_tasks(env)
    env.open().require_tasks(split, where=env.id)
    if beta is not None:
        refuse_beta(config)
    if audit:
        require_critic(config.algorithm.type, where="--audit")
    config, learner, step = restore(path, checkpoint)
    from sayso.app.sweep import sweep

    rows = sweep(
        learner, config, env, betas=betas, decodes=decodes, split=split, num_episodes=episodes,
        seed=seed, limits=rollout_limits(config.env),
    )  # fmt: skip
    checked = audited(learner, env, split, audit, seed, rollout_limits(config.env))
    is_single = beta is None and len(rows) == 1
    if as_json:
        head = {"run": str(path), "step": step}
        told = rows[0].report.to_json() if is_single else {"rows": [r.to_json() for r in rows]}
        more = {} if checked is None else {"audit": checked.to_json()}
        print(json.dumps({**head, **told, **more}))
        return
    if is_single:
        print(f"{path} at step {step}, {rows[0].report}")
    else:
        print(f"{path} at step {step}, split {split}, 95 % intervals")
        print("\n".join(_table(rows)))
    if checked is not None:
        print(f"  {checked}")


def _is_other(
    path: Path, *, split: str | None, episodes: int, checkpoint: str, seed: int, as_json: bool,
    flags: dict[str, object],
) -> bool:  # fmt: skip
    """Measure an agent that controls a frozen model, or a reward model, if the run is of one."""
    from sayso.cli import control, reward_model

    if reward_model.is_run(path):
        control.refuse(flags, kind=reward_model.KIND)
        reward_model.evaluate(path, split=split, checkpoint=checkpoint, seed=seed, as_json=as_json)
        return True
    if control.is_run(path):
        control.refuse(flags)
        control.evaluate(
            path, split=split, episodes=episodes, checkpoint=checkpoint, seed=seed,
            as_json=as_json,
        )  # fmt: skip
        return True
    return False


def _table(rows: list[Acted]) -> list[str]:
    """One line for each way of acting."""
    lines = [f"{'beta':>8} {'decode':>8} {'return':>10} {'low':>10} {'high':>10} {'episodes':>9}"]
    for row in rows:
        mean = row.report.mean
        beta = "run's" if row.beta is None else f"{row.beta:g}"
        decode = row.decode or "run's"
        lines.append(
            f"{beta:>8} {decode:>8} {mean.mean:>10.4f} {mean.low:>10.4f} "
            f"{mean.high:>10.4f} {len(row.report.returns):>9}"
        )
    return lines


def _betas(text: str | None) -> list[float | None]:
    """Numbers between commas.

    Raises:
        OptionValueError: If one is none.
    """
    if text is None:
        return [None]
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as error:
        raise OptionValueError(
            where="--beta", problem=f"got {text!r}.", fix="Write numbers: --beta 0,1,4,16."
        ) from error


def _decodes(text: str | None) -> list[Decode | None]:
    """Ways of decoding between commas.

    Raises:
        OptionValueError: If one is unknown.
    """
    if text is None:
        return [None]
    found: list[Decode | None] = []
    for part in text.split(","):
        if part == "sampled":
            found.append("sampled")
        elif part == "greedy":
            found.append("greedy")
        else:
            raise OptionValueError(
                where="--decode", problem=f"got {part!r}.", fix="Use sampled, greedy or both."
            )
    return found


def audited(
    learner: Any, env: EnvSource, split: str, num_prefixes: int, seed: int, limits: RolloutLimits
) -> AuditReport | None:
    """The critic's report, if one was asked for."""
    from sayso.evaluation.audit import audit

    if not num_prefixes:
        return None
    return audit(learner, env, split=split, num_prefixes=num_prefixes, seed=seed, limits=limits)


def first_with_tasks(env: EnvSource) -> str:
    """Held-out tasks say most; games such as TinyLang have none."""
    opened = env.open()
    return next((s for s in ("held_out", "unseen") if num_tasks(opened, s)), "train")
