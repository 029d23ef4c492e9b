"""The budget of a run: as asked for, or worked out from the recipe."""

from __future__ import annotations

from collections.abc import Sequence

from sayso.app.arms import LONG, Arm
from sayso.app.opening import env_source, rollout_limits
from sayso.errors import OptionValueError
from sayso.training.budget import Budget

NUM_PROBED = 8
"""Episodes of the first arm's first policy, from which a budget is worked out."""


def allowed(text: str, arms: Sequence[Arm]) -> Budget:
    """What each run of a comparison or of a search may use up.

    Args:
        text: ``"env_tokens=N"`` or another axis; empty: worked out from the first arm.
        arms: Whose runs.

    Raises:
        OptionValueError: If it does not read so, or cannot be worked out.
    """
    return Budget.parse(text) if text else worked_out(arms)


def worked_out(arms: Sequence[Arm]) -> Budget:
    """Environment tokens of the first recipe's episodes, or steps under control, in two digits.

    Raises:
        OptionValueError: If it plays nothing, or its length is another budget's doing.
    """
    if arms[0].is_control:
        from sayso.app.control_trial import tokens_of_steps

        return _in_two_digits(tokens_of_steps(arms[0].controlled(), num_probed=NUM_PROBED))
    config = arms[0].resolved()
    if config.data.path is not None or config.train.total_episodes >= LONG:
        raise OptionValueError(
            where="budget",
            problem=f"is unset, and arm {arms[0].name} plays no environment to work it out from.",
            fix="Set it: --budget learner_tokens=N.",
        )
    # A model is needed from here on, and what is asked for needs none.
    from sayso.app.assemble import build_learner, build_lm
    from sayso.rollout.collect import collect
    from sayso.training.progress import num_env_tokens

    learner, env = build_learner(config, build_lm(config)), env_source(config.env)
    tasks = env.open().require_tasks(config.train.split, where=env.id)
    num = min(NUM_PROBED, len(tasks))
    played = collect(
        learner.sampler(), [tasks[i] for i in range(num)], env, group_size=-(-NUM_PROBED // num),
        seed=config.seed, path=("budget",), limits=rollout_limits(config.env),
    )  # fmt: skip
    each = sum(num_env_tokens(e) for e in played) / len(played)
    return _in_two_digits(each * config.train.total_episodes)


def _in_two_digits(amount: float) -> Budget:
    return Budget(axis="env_tokens", amount=float(f"{max(1.0, amount):.1e}"))
