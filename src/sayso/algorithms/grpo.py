"""GRPO and its relatives: groups compared with themselves, ratios clipped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from sayso.algorithms.base import LearnerState, RolloutPlan, Skipped, Update
from sayso.algorithms.core import Core
from sayso.algorithms.epochs import (
    Counted,
    Minibatch,
    Passes,
    experience,
    extra_terms,
    nothing_to_learn,
    run_passes,
)
from sayso.algorithms.grading import by_group, graded, spread
from sayso.algorithms.grpo_losses import LOSSES, VariantLoss
from sayso.algorithms.options.grpo import GRPOOptions
from sayso.algorithms.options.kl import KLOptions
from sayso.algorithms.options.optim import OptimOptions
from sayso.algorithms.step import RowLoss
from sayso.credit.group import centred, standardised
from sayso.data.batch import PackedRow
from sayso.losses.loss import Loss
from sayso.models.lm import LanguageModel
from sayso.models.scoring import Scores
from sayso.sampling.base import Engine, Policy
from sayso.sampling.options import SamplingOptions
from sayso.types import Episode


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """What one member of the family does differently.

    Attributes:
        advantage: From the returns of a group to advantages.
        loss: See ``grpo_losses``.
        per: What that loss is a mean over.
        clip_low: Default lower clip distance.
        clip_high: Default upper clip distance.
        resample_rounds: Default rounds of dynamic sampling.
    """

    advantage: Callable[[Sequence[float]], list[float]]
    loss: VariantLoss
    per: Counted
    clip_low: float = 0.2
    clip_high: float = 0.2
    resample_rounds: int = 0


VARIANTS = {
    "grpo": Variant(advantage=standardised, loss=LOSSES["sequence_mean"], per="episode mean"),
    "dr_grpo": Variant(advantage=centred, loss=LOSSES["sequence_sum"], per="episode"),
    "dapo": Variant(
        advantage=standardised,
        loss=LOSSES["token_mean"],
        per="token",
        clip_high=0.28,
        resample_rounds=3,
    ),
    "gspo": Variant(
        advantage=standardised,
        loss=LOSSES["sequence_ratio"],
        per="episode mean",
        clip_low=3e-4,
        clip_high=4e-4,
    ),
    "cispo": Variant(
        advantage=standardised,
        loss=LOSSES["clipped_weight"],
        per="token",
        clip_low=1.0,
        clip_high=3.0,
    ),
}


class GRPO:
    r"""GRPO and its relatives: groups compared with themselves, ratios clipped.

    .. math:: -\frac{1}{N} \sum_{i,t} w_{i,t} \min(\rho_{i,t} A_i,
        \mathrm{clip}(\rho_{i,t}, 1-c_{low}, 1+c_{high}) A_i)

    ======== ======================== ======================== =====================================
    variant  advantage A              weight w / count N       when to use it
    ======== ======================== ======================== =====================================
    grpo     (R − mean) / std         1/length / episodes      to compare with published runs
    dr_grpo  R − mean                 1 / episodes             no length bias, no std bias
    dapo     (R − mean) / std         1 / action tokens        long texts; clip-higher 0.28 and
                                                               dynamic sampling keep it exploring
    gspo     (R − mean) / std         one ratio per sequence   several passes over long texts
    cispo    (R − mean) / std         clipped, detached ratio  rare tokens must keep their gradient
    ======== ======================== ======================== =====================================

    With one epoch and one minibatch every ratio is 1: nothing is clipped, gspo is grpo, and cispo
    is dapo but for dynamic sampling.

    Bias: dr_grpo's expected first-step gradient is (G − 1)/G times the policy gradient; dividing by
    the group's std gives tasks whose rewards hardly differ as much weight as any other; 1/length
    favours short good texts and excuses long bad ones.

    Source:
        GRPO: Shao et al. 2024, arXiv:2402.03300, eq. 3. Dr. GRPO: Liu et al. 2025,
        arXiv:2503.20783, sec. 3.2 (its constant normaliser is the number of episodes here). DAPO:
        Yu et al. 2025, arXiv:2503.14476, eq. 8 to 12 (without its soft over-length penalty: put
        length in the reward). GSPO: Zheng et al. 2025, arXiv:2507.18071, eq. 5. CISPO: MiniMax
        2025, arXiv:2506.13585, eq. 4 and 5.

    Tests:
        tests/math/test_enumeration_learners.py, tests/learning/
    """

    def __init__(
        self,
        lm: LanguageModel,
        engine: Engine,
        options: GRPOOptions,
        *,
        sampling: SamplingOptions,
        optim: OptimOptions,
        kl: KLOptions,
        seed: int,
    ) -> None:
        del seed  # minibatches are ordered by the seed of each update
        self.lm, self.options = lm, options
        self.variant = VARIANTS[options.variant]
        self.core = Core(lm, engine, sampling=sampling, optim=optim, kl=kl)
        rounds = options.resample_rounds
        self.plan = RolloutPlan(
            tasks_per_step=options.tasks_per_step,
            group_size=options.group_size,
            max_resample_rounds=self.variant.resample_rounds if rounds is None else rounds,
        )

    def sampler(self) -> Policy:
        """The policy itself: sampling is the exploration."""
        return self.core.sampler()

    def policy(self) -> Policy:
        """The same: a policy gradient trains the policy it deploys."""
        return self.core.policy()

    def update(self, episodes: Sequence[Episode], *, seed: int) -> Update:
        """Credit, batch, loss, step."""
        options, variant = self.options, self.variant
        kept = graded(episodes, min_group=2, train_on=options.train_on)
        if not kept.episodes:
            return nothing_to_learn(kept)
        passes = Passes(epochs=options.epochs, minibatches=options.minibatches)
        exp = experience(self.core, kept.episodes, passes)
        if isinstance(exp, Skipped):
            return nothing_to_learn(kept, exp)
        credit = spread(exp.episodes, by_group(exp.episodes, exp.returns(), variant.advantage))
        clip_low = variant.clip_low if options.clip_low is None else options.clip_low
        clip_high = variant.clip_high if options.clip_high is None else options.clip_high

        def row_loss_of(minibatch: Minibatch) -> RowLoss:
            advantage, anchor = minibatch.align(credit), minibatch.anchors(self.core, exp)
            extra = extra_terms(
                self.core, minibatch, exp, entropy_coef=options.entropy_coef, per=variant.per
            )

            def row_loss(number: int, row: PackedRow, scores: Scores) -> list[Loss]:
                loss = variant.loss(
                    scores.logprob,
                    row,
                    advantage[number],
                    minibatch.batch,
                    anchor(number, row, scores),
                    clip_low=clip_low,
                    clip_high=clip_high,
                )
                return [loss, *extra(number, row, scores)]

            return row_loss

        return run_passes(
            self.core, kept, replace(exp, credit=credit), passes, row_loss_of, seed=seed,
            want_entropy=options.entropy_coef > 0,
        )  # fmt: skip

    def state(self) -> LearnerState:
        """Weights, optimiser, KL weight."""
        return self.core.state()

    def load_state(self, state: LearnerState) -> None:
        """Undo ``state``."""
        self.core.load_state(state)
