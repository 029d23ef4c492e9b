"""What other libraries call our options: TRL, Stable-Baselines3, verl, peft, transformers."""

from __future__ import annotations

from collections.abc import Collection, Sequence

_EPISODES = "A step trains on tasks_per_step * group_size episodes."
_RATE = "1 copies."
_LENGTH = "How long to train is `train.total_episodes`."

ALIASES: dict[str, tuple[str, str]] = {
    "learning_rate": ("optim.lr", ""),
    "actor_learning_rate": ("optim.lr", ""),
    "adam_beta1": ("optim.beta1", ""),
    "adam_beta2": ("optim.beta2", ""),
    "adam_epsilon": ("optim.eps", ""),
    "lr_scheduler_type": ("optim.schedule", ""),
    "warmup_ratio": ("optim.warmup_steps", "It counts optimiser steps."),
    "gradient_accumulation_steps": ("optim.micro_batch_tokens", "It never changes the gradient."),
    "per_device_train_batch_size": ("algorithm.tasks_per_step", _EPISODES),
    "train_batch_size": ("algorithm.tasks_per_step", _EPISODES),
    "batch_size": ("algorithm.tasks_per_step", _EPISODES),
    "n_steps": ("algorithm.tasks_per_step", _EPISODES),
    "mini_batch_size": ("algorithm.minibatches", "It counts the optimiser steps of one pass."),
    "num_mini_batches": ("algorithm.minibatches", ""),
    "num_generations": ("algorithm.group_size", ""),
    "num_return_sequences": ("algorithm.group_size", ""),
    "rloo_k": ("algorithm.group_size", ""),
    "num_train_epochs": ("algorithm.epochs", f"It counts passes over one batch. {_LENGTH}"),
    "num_iterations": ("algorithm.epochs", ""),
    "num_ppo_epochs": ("algorithm.epochs", ""),
    "ppo_epochs": ("algorithm.epochs", ""),
    "n_epochs": ("algorithm.epochs", ""),
    "loss_type": ("algorithm.variant", ""),
    "epsilon": ("algorithm.clip_low", "The other side is `algorithm.clip_high`."),
    "clip_range": ("algorithm.clip_low", "The other side is `algorithm.clip_high`."),
    "cliprange": ("algorithm.clip_low", "The other side is `algorithm.clip_high`."),
    "epsilon_high": ("algorithm.clip_high", ""),
    "clip_range_vf": ("algorithm.value_clip", ""),
    "cliprange_value": ("algorithm.value_clip", ""),
    "ent_coef": ("algorithm.entropy_coef", ""),
    "vf_coef": ("algorithm.value_coef", ""),
    "n_envs": ("env.num_workers", "It counts processes, which an environment gets by a timeout_s."),
    "gamma": ("algorithm.gamma_turn", "Between tokens it is `algorithm.gamma_token`."),
    "gae_lambda": ("algorithm.lam", ""),
    "beta": ("kl.coef", ""),
    "kl_coef": ("kl.coef", ""),
    "init_kl_coef": ("kl.coef", ""),
    "max_completion_length": ("sampling.max_new_tokens", ""),
    "max_length": ("sampling.max_new_tokens", ""),
    "max_tokens": ("sampling.max_new_tokens", ""),
    "response_length": ("sampling.max_new_tokens", ""),
    "max_prompt_length": ("env.max_context_tokens", "It counts prompt and answers together."),
    "total_timesteps": ("train.total_episodes", "It counts episodes."),
    "max_steps": ("train.total_episodes", "It counts episodes."),
    "eval_steps": ("train.eval_every", ""),
    "save_steps": ("train.checkpoint_every", ""),
    "save_total_limit": ("train.keep_checkpoints", ""),
    "torch_dtype": ("model.dtype", ""),
    "model_name": ("model.name", ""),
    "model_name_or_path": ("model.name", ""),
    "r": ("model.lora.rank", ""),
    "lora_r": ("model.lora.rank", ""),
    "lora_alpha": ("model.lora.alpha", ""),
    "peft_config": ("model.lora", ""),
    "buffer_size": ("algorithm.replay.capacity", "It counts episodes."),
    "replay_size": ("algorithm.replay.capacity", "It counts episodes."),
    "memory_size": ("algorithm.replay.capacity", "It counts episodes."),
    "gradient_steps": ("algorithm.updates_per_step", ""),
    "critic_batch": ("algorithm.draws", ""),
    "batch_decisions": ("algorithm.draws", ""),
    "polyak": ("algorithm.target_rate", _RATE),
    "polyak_coef": ("algorithm.target_rate", _RATE),
    "target_update_interval": ("algorithm.target_every", "It counts optimiser steps."),
    "steps_for_target_q_sync": ("algorithm.target_every", "It counts optimiser steps."),
    "exploration_initial_eps": ("algorithm.epsilon_start", ""),
    "exploration_final_eps": ("algorithm.epsilon_end", ""),
    "expectile": ("algorithm.tau", ""),
    "two_qs": ("algorithm.num_heads", ""),
    "double_q": ("algorithm.double", ""),
    "cql_coef": ("algorithm.alpha_cql", ""),
    "cql_scale": ("algorithm.alpha_cql", ""),
    "cql_weight": ("algorithm.alpha_cql", ""),
    "awac_scale": ("algorithm.advantage_weight", ""),
    "awac_lambda": ("algorithm.advantage_weight", ""),
    "advantage_scale": ("algorithm.advantage_weight", ""),
    "num_candidates": ("algorithm.candidates.num_proposals", ""),
}
"""Their name: the dotted path of ours, and what a reader should know of the difference."""

OF_VALUES: dict[str, tuple[tuple[str, str], ...]] = {
    "beta": (("algorithm.acting.beta", "More is greedier."),),
    "batch_size": (("algorithm.draws", "It counts what an optimiser step draws."),),
    "tau": (("algorithm.target_rate", _RATE),),
    "epsilon_steps": (("algorithm.epsilon_decisions", "It counts decisions."),),
    "exploration_fraction": (("algorithm.epsilon_decisions", "It counts decisions."),),
}
"""The same for names that mean something else to learners of values: the first that they have."""


DECIDED: dict[str, str] = {
    "verbose": "In Python learn(progress_bar=False) shows nothing; metrics.jsonl holds all.",
    "gamma": "Here whole returns are compared, undiscounted; reinforce, a2c and ppo "
    "have `gamma_turn`.",
    "tensorboard_log": "Pass learn(callback=TensorBoard()) of sayso.training.callbacks, or "
    "--tensorboard on the command line.",
    "lora_dropout": "There is none: a policy that is scored with dropout is not the one that "
    "sampled.",
}
"""Their name for what is no option of ours: where it is decided."""


APART = ("warm_start.",)
"""Its options are called as others are; nobody means them by a bare name."""


def known_elsewhere(
    key: str, paths: Collection[str], here: Collection[str] | None = None
) -> tuple[str, str] | None:
    """What someone who wrote ``key`` meant, if that exists, and a sentence about it or nothing.

    Args:
        key: An option's name that is not known where it stands.
        paths: Dotted paths of all options.
        here: Those of the algorithm at hand; unset: ``paths`` are.
    """
    own = paths if here is None else here
    for path, note in OF_VALUES.get(key, ()):
        if path in own:
            return path, note
    path, note = ALIASES.get(key, ("", ""))
    if path and path in paths:
        return path, note
    same: Sequence[str] = sorted(
        {p for p in paths if p.rpartition(".")[2] == key and not p.startswith(APART)}
    )
    return (same[0], "") if len(same) == 1 else None


def meant(path: str, note: str) -> str:
    """The sentences that end an error."""
    return f"Did you mean `{path}`? {note}".rstrip()
