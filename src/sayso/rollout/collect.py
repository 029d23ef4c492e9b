"""The only loop in which a policy meets an environment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from sayso.envs.base import Observation
from sayso.envs.registry import EnvSource
from sayso.envs.spaces import media_keys
from sayso.errors import EnvContractError, SamplingError
from sayso.rollout.boundary import Outcome
from sayso.rollout.limits import RolloutLimits
from sayso.rollout.pool import EnvPool, Result, pool_for
from sayso.rollout.script import Script
from sayso.runs.failpoints import Failpoint, fp
from sayso.runs.ledger import payload_problem
from sayso.sampling.base import Completion, Policy, Request
from sayso.seeds import derive
from sayso.types import EndReason, Episode, Failure, Task, Turn

MAX_TOLD_CHARS = 300
"""Of a payload that cannot be written down, so much is kept as text."""


@dataclass(slots=True, kw_only=True)
class _Attempt:
    """One episode in the making."""

    key: str
    task: Task
    sample_index: int
    seed_path: tuple[str | int, ...]
    turns: list[Turn] = field(default_factory=list)
    num_tokens: int = 0
    pending: Outcome | None = None
    """What the next decision answers."""
    pending_ids: tuple[int, ...] = ()
    script: Script = field(default_factory=Script)
    """What it says before it may choose."""
    unsent_ids: tuple[int, ...] = ()
    """Of its context, what the engine has not seen yet."""
    episode: Episode | None = None


class _Collector:
    """State of one call of ``collect``."""

    def __init__(self, policy: Policy, pool: EnvPool, limits: RolloutLimits, *, seed: int) -> None:
        self.policy, self.pool, self.seed, self.strict = policy, pool, seed, limits.strict
        self.max_turns = pool.max_turns if limits.max_turns is None else limits.max_turns
        self.scripted: list[Completion] = []
        self.context = limits.context
        self.max_context = policy.engine.max_context
        if limits.max_context_tokens is not None:
            self.max_context = min(self.max_context, limits.max_context_tokens)

    def start(self, attempts: Sequence[_Attempt]) -> None:
        """Pose the tasks."""
        attempts = [attempt for attempt in attempts if self.can_be_written(attempt)]
        results = self.pool.reset([(a.key, a.task, self.env_seed(a)) for a in attempts])
        for attempt, result in zip(attempts, results, strict=True):
            if isinstance(result, Failure):
                self.fail(attempt, result)
                continue
            ids = self.policy.chat.prompt(result.observation)
            if len(ids) + 1 > self.max_context:
                problem = (
                    f"{attempt.task.env}, task {attempt.task.id}: the first prompt has {len(ids)} "
                    f"tokens and leaves no room in a context of {self.max_context}; shorten it"
                )
                self.fail(attempt, Failure(kind="context_too_long", message=problem))
                continue
            self.ask(attempt, result, ids)

    def can_be_written(self, attempt: _Attempt) -> bool:
        """Whether the ledger and another process can take the task; else its attempt fails."""
        task, problem = attempt.task, payload_problem(attempt.task)
        if problem:
            told = {"not JSON": ascii(task.payload)[:MAX_TOLD_CHARS]}
            attempt.task = replace(task, payload=told)
            message = f"{task.env}, task {task.id}, {problem}"
            self.fail(attempt, Failure(kind="contract", message=message))
        return not problem

    def env_seed(self, attempt: _Attempt) -> int:
        """All attempts at a task get the same seed: the same problem.

        Below 2**31, because generators that environments use take no more.
        """
        return derive(self.seed, *attempt.seed_path[:-1], "env") & 0x7FFF_FFFF

    def ask(self, attempt: _Attempt, outcome: Outcome, ids: tuple[int, ...]) -> None:
        """Queue the next decision."""
        attempt.pending, attempt.pending_ids = outcome, ids
        attempt.num_tokens += len(ids)
        place, script = len(attempt.turns), attempt.script
        if script.expected_ids(place) not in (None, ids):
            self.fail(attempt, _other_answer(attempt, "another observation"))
            return
        if place < len(script.turns):
            turn = script.turns[place]
            attempt.unsent_ids += ids + turn.action_ids
            self.scripted.append(
                Completion(
                    session=attempt.key, ids=turn.action_ids, logprobs=turn.action_logprobs,
                    finish=turn.finish, candidates=turn.candidates,
                )
            )  # fmt: skip
            return
        beginning = script.beginning if place == len(script.turns) else ()
        budget = min(self.policy.max_new_tokens, self.max_context - attempt.num_tokens)
        self.policy.engine.submit(
            Request(
                session=attempt.key,
                new_ids=attempt.unsent_ids + ids + beginning,
                seed=derive(self.seed, *attempt.seed_path, "turn", place),
                max_new_tokens=budget - len(beginning),
                choices=outcome.choices,
                episode_seed=derive(self.seed, *attempt.seed_path, "episode"),
            )
        )
        attempt.unsent_ids = ()

    def forget(self, attempt: _Attempt) -> None:
        """Begin a new text: nothing that was said so far is seen any more."""
        self.policy.engine.close(attempt.key)
        attempt.unsent_ids, attempt.num_tokens = (), 0

    def next_completions(self) -> list[Completion]:
        """What scripts say, before anything is sampled."""
        scripted, self.scripted = self.scripted, []
        return scripted or self.policy.engine.poll()

    def answer(self, attempts: dict[str, _Attempt], completions: Sequence[Completion]) -> None:
        """Play the actions that were sampled, then queue what follows, in the order of sampling."""
        played = []
        for completion in completions:
            attempt = attempts[completion.session]
            if completion.ids:
                completion = _with_beginning(attempt, completion)  # noqa: PLW2901
                text = self.policy.chat.answer(completion.ids, self.policy.stop)
                played.append((attempt, completion, text))
            else:
                problem = f"{attempt.task.env}, task {attempt.task.id}: the engine drew no token"
                self.fail(attempt, Failure(kind="nothing_sampled", message=problem))
        results = self.pool.step([(attempt.key, text) for attempt, _, text in played])
        fp(Failpoint.REWARD_DONE)
        for (attempt, completion, text), result in zip(played, results, strict=True):
            self.record(attempt, completion, text, result)

    def record(self, attempt: _Attempt, completion: Completion, text: str, result: Result) -> None:
        """Append the turn; go on, or end the episode."""
        asked = attempt.pending or Outcome(observation="")
        answered = result if isinstance(result, Outcome) else Outcome(observation="")
        attempt.turns.append(
            Turn(
                observation_ids=attempt.pending_ids,
                action_ids=completion.ids,
                action_logprobs=completion.logprobs,
                finish=completion.finish,
                reward=answered.reward,
                reward_parts=dict(answered.parts),
                observation=_as_text(asked.observation),
                action=text,
                choices=asked.choices,
                candidates=completion.candidates,
                media=media_keys(asked.observation),
            )
        )
        attempt.num_tokens += len(completion.ids)
        played, script = len(attempt.turns), attempt.script.turns
        if isinstance(result, Failure):
            self.fail(attempt, result)
        elif played <= len(script) and result.reward != script[played - 1].reward:
            self.fail(attempt, _other_answer(attempt, f"a reward of {result.reward}"))
        elif result.terminated and played < attempt.script.num_turns:
            self.fail(attempt, _other_answer(attempt, "an early end"))
        elif result.terminated:
            self.finish(attempt, EndReason.TERMINATED)
        else:
            self.go_on(attempt, completion, result)

    def go_on(self, attempt: _Attempt, completion: Completion, result: Outcome) -> None:
        """The next decision, unless a limit cuts the episode off."""
        if self.context == "turn":
            self.forget(attempt)
            ids = self.policy.chat.prompt(result.observation)
        else:
            closed = self.policy.chat.is_closed(completion.ids)
            ids = self.policy.chat.reply(result.observation, closed=closed)
        room = self.max_context - attempt.num_tokens - len(ids)
        out_of_turns = self.max_turns is not None and len(attempt.turns) >= self.max_turns
        if result.truncated or out_of_turns or room < 1:
            seen = ids if room >= 0 else ()
            self.finish(attempt, EndReason.TRUNCATED, final_ids=seen, final_choices=result.choices)
        else:
            self.ask(attempt, result, ids)

    def fail(self, attempt: _Attempt, failure: Failure) -> None:
        """End an invalid episode; say where it was, so that it can be played again.

        Raises:
            EnvContractError: If the limits are strict.
        """
        place = (
            f"sample {attempt.sample_index}, turn {len(attempt.turns)}, "
            f"environment seed {self.env_seed(attempt)}"
        )
        failure = replace(failure, message=f"{failure.message} ({place})")
        self.finish(attempt, EndReason.FAILED, failure=failure)
        if self.strict:
            raise EnvContractError(
                where=f"episode {attempt.key}",
                problem=f"{failure.kind}: {failure.message}.\n{failure.detail}",
                fix="Mend the environment or reward; without `strict` the episode is left out.",
            )

    def finish(
        self,
        attempt: _Attempt,
        end: EndReason,
        *,
        failure: Failure | None = None,
        final_ids: tuple[int, ...] = (),
        final_choices: tuple[str, ...] = (),
    ) -> None:
        """Make the record and free what it held."""
        attempt.episode = Episode(
            task=attempt.task,
            sample_index=attempt.sample_index,
            policy_version=self.policy.version,
            turns=tuple(attempt.turns),
            end=end,
            context=self.context,
            failure=failure,
            final_ids=final_ids,
            final_choices=final_choices,
            seed_path=attempt.seed_path,
        )
        self.policy.engine.close(attempt.key)
        self.pool.close(attempt.key)


def collect(
    policy: Policy,
    tasks: Sequence[Task],
    source: EnvSource,
    *,
    group_size: int,
    seed: int,
    path: tuple[str | int, ...],
    limits: RolloutLimits,
    first_sample: int = 0,
) -> list[Episode]:
    """Attempt every task ``group_size`` times.

    Every random number is derived from ``(seed, *path, task id, sample, turn)``, and rows go on in
    a fixed order: those that finish together are played together, then queued in that order. So a
    resumed run or another number of environment processes gets the same episodes. The seed of the
    environment has no sample in it: attempts at a task meet the same problem.

    Args:
        policy: Source of actions; its version is stamped on every episode.
        tasks: Problems to attempt; ids must differ.
        source: Opens the environment.
        group_size: Attempts per task.
        seed: The run's seed.
        path: Names what these episodes are for, for example ``("rollout", step)``.
        limits: Where episodes are cut off.
        first_sample: Index of the first attempt at each task.

    Returns:
        Episodes in the order of ``tasks``, attempts at one task adjacent, failed ones included.

    Raises:
        ValueError: If there is less than one attempt per task.
        EnvContractError: If two tasks have the same id or the environment cannot be opened; with
            strict limits, if one failed.
        GuardError: If environment processes keep dying.
    """
    if group_size < 1:
        raise ValueError(f"group_size must be at least 1, got {group_size}")
    if len({task.id for task in tasks}) != len(tasks):
        raise EnvContractError(
            where=source.id,
            problem=f"two tasks of one id among {sorted(str(task.id) for task in tasks)}.",
            fix="Make the ids of a split unique: attempts that share one form a group.",
        )
    attempts = [
        _Attempt(
            key="/".join(map(str, (*path, task.id, sample))),
            task=task,
            sample_index=sample,
            seed_path=(*path, task.id, sample),
        )
        for task in tasks
        for sample in range(first_sample, first_sample + group_size)
    ]
    return _play(policy, source, attempts, seed=seed, limits=limits)


def go_on(
    policy: Policy,
    begun: Sequence[tuple[Episode, Script]],
    source: EnvSource,
    *,
    num_each: int,
    seed: int,
    limits: RolloutLimits,
) -> list[list[Episode]]:
    """Play on from where episodes were, several times each, with other draws.

    The environment is set up with the same task and seed, hears the scripted turns again and must
    answer as it did; then the policy chooses. A difference, or what else goes wrong, makes an
    attempt fail: ``not_deterministic``.

    Args:
        policy: Who goes on.
        begun: Episodes as ``collect`` played them, each with what of it stays.
        source: Opens the environment.
        num_each: How often each is played on.
        seed: That of the ``collect``, from which the environment's seeds are derived.
        limits: As there.

    Returns:
        For each, its continuations: whole episodes, scripted turns included.
    """
    attempts = [
        _Attempt(
            key="/".join(map(str, (*episode.seed_path, "on", place, number))),
            task=episode.task,
            sample_index=number,
            seed_path=(*episode.seed_path[:-1], f"{episode.seed_path[-1]}/{place}/{number}"),
            script=script,
        )
        for place, (episode, script) in enumerate(begun)
        for number in range(num_each)
    ]
    played = _play(policy, source, attempts, seed=seed, limits=limits)
    return [played[start : start + num_each] for start in range(0, len(played), num_each)]


def _play(
    policy: Policy,
    source: EnvSource,
    attempts: Sequence[_Attempt],
    *,
    seed: int,
    limits: RolloutLimits,
) -> list[Episode]:
    """All attempts to their end, in order."""
    pool = pool_for(source, limits)
    collector = _Collector(policy, pool, limits, seed=seed)
    by_key = {attempt.key: attempt for attempt in attempts}
    try:
        collector.start(attempts)
        while completions := collector.next_completions():
            collector.answer(by_key, completions)
        return [_finished(attempt) for attempt in attempts]
    finally:
        for attempt in attempts:
            if attempt.episode is None:
                policy.engine.close(attempt.key)
                pool.close(attempt.key)


def _with_beginning(attempt: _Attempt, completion: Completion) -> Completion:
    """The whole action, where its beginning was scripted."""
    script = attempt.script
    if len(attempt.turns) != len(script.turns) or not script.beginning:
        return completion
    return replace(
        completion,
        ids=script.beginning + completion.ids,
        logprobs=script.beginning_logprobs + completion.logprobs,
    )


def _other_answer(attempt: _Attempt, what: str) -> Failure:
    told = f"{attempt.task.env}, task {attempt.task.id}: the environment gave {what} where it was "
    told += "played before with the same task, seed and actions"
    return Failure(kind="not_deterministic", message=told)


def _finished(attempt: _Attempt) -> Episode:
    if attempt.episode is None:
        raise SamplingError(
            where=f"session {attempt.key!r}",
            problem="was queued, but the engine has nothing left to do.",
            fix="This is a defect of the engine: poll() must return every request it took.",
        )
    return attempt.episode


def _as_text(observation: Observation) -> str:
    if isinstance(observation, str):
        return observation
    return "\n".join(f"{message.role}: {message.content}" for message in observation)
