"""``sayso.GRPO("smollm2", "sayso/Writing-v0").learn(...)``: Stable-Baselines3's verbs.

Each class is a name for one algorithm; everything else is shared by calling ``app``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

from sayso.app.assemble import assemble, build_learner, build_lm
from sayso.app.cards import card, reward_in_words
from sayso.app.choices import require_choices_fit
from sayso.app.config import RunConfig, keeps_critic, load_config
from sayso.app.extend import remember
from sayso.app.given import callbacks_given, data_given, source_given
from sayso.app.naming import place, refuse_unknown
from sayso.app.opening import (
    config_of,
    create_run,
    open_or_create_run,
    require_playable,
    rollout_limits,
    under_reward,
)
from sayso.app.origin import (
    Origin,
    env_name,
    origin_of,
    read_saved,
    saved_env,
    with_env,
    write_saved,
)
from sayso.app.refusals import refuse_unused
from sayso.app.schedule import refuse_standstill
from sayso.app.stored import build_data
from sayso.app.sweep import policy_as
from sayso.app.weights import saved_lm, with_dtype_of
from sayso.config.load import to_table
from sayso.control.agent import SB3Agent
from sayso.data.datasets import DataSet
from sayso.data.options import WarmStartOptions
from sayso.envs.base import Observation
from sayso.envs.nothing import NO_ENV
from sayso.envs.registry import EnvSource, source
from sayso.envs.spaces import observation_of
from sayso.errors import OptionValueError
from sayso.evaluation.evaluate import evaluate as measure
from sayso.evaluation.report import EvalReport
from sayso.models.load import pair_of
from sayso.models.saving import save
from sayso.runs.interrupt import Interrupted
from sayso.runs.run import Run
from sayso.sampling.base import Request
from sayso.sampling.options import Decode
from sayso.seeds import derive
from sayso.training.callbacks import Callback
from sayso.training.loop import TrainResult, train
from sayso.training.options import TrainOptions

_RECORDS = {f.name: f for f in dataclasses.fields(RunConfig)}


class Agent:
    """A language model, an environment and an algorithm: learn, predict, save, load.

    Args:
        model: ``"smollm2"``, ``"tiny"``, a hub id, a directory, or ``(model, tokenizer)``.
        env: A registered id, an environment, or a function that makes one. ``None``: none, for
            learning from ``data`` alone.
        seed: Everything random is derived from it.
        data: Stored episodes to learn from instead of playing: a path, or records, ``Episode`` or
            ``Game`` in a sequence; see docs/data.md.
        **options: Any option of the run by its name (``group_size=8``, ``lr=1e-5``,
            ``max_new_tokens=40``, ``max_turns=5``), or a whole section as a dictionary
            (``kl={"coef": 0.05}``). An unknown name is refused with the nearest valid one.
    """

    algorithm: ClassVar[str]

    def __init__(
        self, model: Any, env: Any = None, *, seed: int = 0, data: Any = None, **options: Any
    ) -> None:
        self.source: EnvSource = source_given(env, has_data=data is not None)
        self.source.open()  # what is no environment of text shows before a model is loaded
        pair = None if isinstance(model, str | Path) else pair_of(model)
        name = str(model) if isinstance(model, str | Path) else None
        named_env = NO_ENV if env is None else env_name(env, self.source)
        table: dict[str, Any] = {
            "seed": seed,
            "model": {"name": name or "custom"},
            "env": {"id": named_env or self.source.id},
            "algorithm": {"type": self.algorithm},
        }
        given, in_python = data_given(data)
        for key, value in (given | options).items():
            place(table, key, value, algorithm=self.algorithm)
        self.config = load_config(table, source=f"{type(self).__name__}(...)")
        if self.config.warm_start.player is not None:
            raise OptionValueError(
                where="warm_start",
                problem="is for run files: a run of the command line warms its model up.",
                fix="In Python imitate first: BC(model, env, data=...).learn(...).save(directory); "
                "then begin with the directory as the model.",
            )
        self.source = under_reward(self.source, self.config.env)
        # Options of training may count by what ``learn`` is given.
        refuse_unused(dataclasses.replace(self.config, train=TrainOptions()))
        self.lm = build_lm(self.config, pair)
        if pair is not None:
            self.config = with_dtype_of(self.config, self.lm)
        self.data: DataSet | None = build_data(self.config, self.lm, in_python)
        self.learner = build_learner(self.config, self.lm)
        self.last_report: EvalReport | None = None
        self.lacks_critic = False
        parts = {"model": name, "env": named_env, "data": None if in_python is not None else ""}
        self.origin = Origin(
            base_model=name or self.lm.name,
            unnamed=tuple(part for part, named in parts.items() if named is None),
            model_seed=seed,
        )

    def learn(
        self,
        total_episodes: int,
        callback: Callback | Sequence[Callback] | Callable[..., bool | None] | None = None,
        *,
        run: str | Path | None = None,
        progress_bar: bool = True,
        **train_options: Any,
    ) -> Self:
        """Train; goes on where ``run`` stopped if that directory holds a run of these options.

        Args:
            total_episodes: Valid episodes to train on.
            callback: One ``Callback``, several, or a function of (context, report) called after
                each step; returning False stops training.
            run: Run directory; unset makes ``runs/<env>-<algorithm>-<n>``.
            progress_bar: Show the terminal view.
            **train_options: Options of ``TrainOptions``, such as ``eval_every=5``.

        Returns:
            Itself.
        """
        config = self._train_config({"total_episodes": total_episodes, **train_options})
        callbacks = callbacks_given(callback)
        require_playable(config, self.source)
        require_choices_fit(config, self.lm, self.source)
        self.data = self.data or build_data(config, self.lm)
        config, opened = self._open_run(config, None if run is None else Path(run))
        if progress_bar:
            from sayso.training.view import TerminalView

            callbacks = [TerminalView(), *callbacks]
        training = assemble(
            config, opened, learner=self.learner, env=self.source, callbacks=callbacks,
            data=self.data,
        )  # fmt: skip
        try:
            with opened.lock():  # from here on the weights are others, however it ends
                remember(opened, config)
                self.run_path, self.last_report = opened.path, None
                self.lacks_critic = False
                self.origin = self.origin.after_learning()
                self.last_result: TrainResult = train(training)
        except Interrupted as stopped:
            raise KeyboardInterrupt(f"{stopped}; the run in {opened.path} can go on") from None
        return self

    def _train_config(self, options: dict[str, Any]) -> RunConfig:
        """This configuration with other options of training, checked like any other."""
        refuse_unknown(options, algorithm=self.algorithm)
        table = to_table(self.config)
        table["train"] = table.get("train", {}) | options
        return load_config(table, source=f"{type(self).__name__}.learn(...)")

    def _open_run(self, config: RunConfig, path: Path | None) -> tuple[RunConfig, Run]:
        """The run at ``path``, with the seed it was started with, or a fresh one with its own."""
        num_learns = self.origin.num_learns
        seeds = [derive(self.config.seed, "learn", n) for n in range(1, num_learns + 1)]
        if path is not None and not Run.is_free(path):
            run = Run.open(path)
            known = config_of(run)
            if known.train.total_episodes < config.train.total_episodes:
                refuse_standstill(config, self.source)
            if known.seed in seeds:  # a run of this object, but not its first
                config = dataclasses.replace(config, seed=known.seed)
            if self.origin.can_stand_for(origin_of(run), config):
                config = dataclasses.replace(config, model=known.model)
            return config, open_or_create_run(config, path)
        refuse_standstill(config, self.source)
        if num_learns:
            config = dataclasses.replace(config, seed=seeds[-1])
        name = f"{self.source.id.split('/')[-1].split('-')[0].lower()}-{self.algorithm}"
        run = create_run(config, path, name=name)
        run.annotate(origin=dataclasses.asdict(self.origin))
        return config, run

    def predict(
        self,
        observation: Observation | Sequence[Mapping[str, str]],
        *,
        deterministic: bool = False,
        seed: int = 0,
        choices: Sequence[str] = (),
    ) -> str:
        """The policy's action for one observation.

        Args:
            observation: Text, or chat messages: ``[{"role": "user", "content": "Hello"}]``.
            deterministic: Take the likeliest token each time, or the best candidate.
            seed: Decides the draw otherwise.
            choices: Actions to choose from, for algorithms that value candidates.

        Raises:
            OptionValueError: If the observation is neither.
        """
        decode: Decode = "greedy" if deterministic else "sampled"
        policy = policy_as(self.learner, self.config, decode=decode)
        engine = policy.engine
        engine.submit(
            Request(
                session="predict",
                new_ids=policy.chat.prompt(observation_of(observation, where="predict")),
                seed=derive(seed, "predict"),
                max_new_tokens=policy.max_new_tokens,
                choices=tuple(choices),
            )
        )
        (completion,) = engine.poll()
        engine.close("predict")
        return policy.chat.answer(completion.ids, policy.stop)

    def evaluate(
        self,
        *,
        split: str = "held_out",
        num_episodes: int = 100,
        seed: int = 0,
        beta: float | None = None,
        decode: Decode | None = None,
    ) -> EvalReport:
        """Mean return with its interval, per reward part; changes nothing. See ``evaluate``."""
        return evaluate(
            self, split=split, num_episodes=num_episodes, seed=seed, beta=beta, decode=decode
        )

    def save(self, directory: str | Path) -> None:
        """Write a plain Hugging Face directory, with a model card and sayso's options."""
        target = Path(directory)
        told = reward_in_words(self.source)
        save(self.lm, target, card=card(self.config, self.origin, self.last_report, reward=told))
        write_saved(target, self.config, self.origin)

    @classmethod
    def load(cls, directory: str | Path, env: Any = None, *, data: Any = None) -> Agent:
        """An agent from a directory that ``save`` wrote, ready to predict or to learn on.

        Adapters and the KL reference are those it had, over the base model it had. If that cannot
        be found again, a warning says so, and the trained weights take its place.

        Args:
            directory: What ``save`` or ``sayso export`` wrote.
            env: Needed if the environment was an object or function of Python; else what it was.
            data: Needed to learn on if the data set was handed over in Python; else what it was.

        Raises:
            ModelMissingError: If the directory holds no agent of sayso.
            UnknownNameError: If the environment cannot be made again.
            OptionValueError: If another algorithm saved it than the one this is called on.
        """
        target = Path(directory).resolve()
        config, origin = read_saved(target)
        from sayso.app.agents import AGENTS  # which are made of this class

        own_class = AGENTS[config.algorithm.type]
        if not issubclass(own_class, cls):
            raise OptionValueError(
                where=f"{cls.__name__}.load({str(target)!r})",
                problem=f"was saved by {own_class.__name__}.",
                fix=f"Use sayso.{own_class.__name__}.load, or sayso.Agent.load for any.",
            )
        agent = object.__new__(own_class)
        if env is None:
            agent.source = saved_env(config, origin, target)
        else:
            agent.source = env if isinstance(env, EnvSource) else source(env)
            agent.source = under_reward(agent.source, config.env)
            config, origin = with_env(config, origin, agent.source, env)
        agent.config, agent.origin, agent.lm = saved_lm(config, origin, target)
        agent.config = dataclasses.replace(agent.config, warm_start=WarmStartOptions())  # is done
        agent.data = None
        if data is not None:
            given, in_python = data_given(data)
            options = dataclasses.replace(agent.config.data, **given["data"])
            agent.config = dataclasses.replace(agent.config, data=options)
            agent.data = build_data(agent.config, agent.lm, in_python)
        agent.learner = build_learner(agent.config, agent.lm)
        agent.last_report, agent.lacks_critic = None, not keeps_critic(agent.config)
        return agent


def evaluate(
    model: Agent | SB3Agent,
    env: Any = None,
    *,
    split: str = "held_out",
    num_episodes: int = 100,
    seed: int = 0,
    beta: float | None = None,
    decode: Decode | None = None,
) -> EvalReport:
    """Mean return of an agent with its 95 % interval, per part of the reward.

    Args:
        model: What ``GRPO(...)`` and its relatives make, or an ``SB3Agent``.
        env: Another environment than the one it was made with, for example to see how it transfers.
        split: ``"train"``, ``"held_out"`` or ``"unseen"``.
        num_episodes: How many.
        seed: Same seed, same weights: same report.
        beta: How strongly values steer, for algorithms that have some, instead of ``acting.beta``.
        decode: ``"sampled"``, or ``"greedy"``: the likeliest token or candidate each time. Unset:
            as the options say; sampled, where they say nothing.
    """
    if isinstance(model, SB3Agent):
        return model.evaluate(env, split=split, num_episodes=num_episodes, seed=seed)
    if not isinstance(model, Agent):
        raise OptionValueError(
            where="evaluate",
            problem=f"got {model!r}, which is no agent.",
            fix="Make one: sayso.RLOO(model, env), or sayso.Agent.load(directory).",
        )
    if num_episodes < 1:
        raise OptionValueError(
            where="evaluate, num_episodes", problem=f"got {num_episodes}.", fix="Use 1 or more."
        )
    other = model.source if env is None else source(env)
    other.open().require_tasks(split, where=other.id)
    report = measure(
        policy_as(model.learner, model.config, beta=beta, decode=decode),
        other,
        split=split,
        num_episodes=num_episodes,
        seed=seed,
        limits=rollout_limits(model.config.env),
    )
    is_same = other is model.source or (other.spec is not None and other.spec == model.source.spec)
    if is_same and beta is None and decode is None:
        model.last_report = report
    return report
