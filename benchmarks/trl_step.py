"""One GRPO step of TRL's trainer: fp32, no KL, one update per rollout, checkpointing off."""

from __future__ import annotations

import os
import resource
import tempfile
import time
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import GRPOConfig, GRPOTrainer
from works import GROUP_SIZE, NUM_PROMPTS, arguments, conversations, report, reward


def main() -> None:
    """Train for a few steps."""
    asked = arguments()
    torch.set_num_threads(asked.threads)
    rows = NUM_PROMPTS * GROUP_SIZE
    tokenizer = AutoTokenizer.from_pretrained(asked.model, padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(asked.model, dtype=torch.float32)
    prompts = [{"prompt": chat} for chat in conversations(tokenizer, asked.prompt_tokens)]
    config = GRPOConfig(
        output_dir=tempfile.mkdtemp(), per_device_train_batch_size=asked.micro_batch,
        gradient_accumulation_steps=rows // asked.micro_batch, num_generations=GROUP_SIZE,
        generation_batch_size=rows, max_completion_length=asked.max_new,
        generation_kwargs={"min_new_tokens": asked.max_new} if asked.exact else {},
        max_steps=asked.repeats + 1, learning_rate=1e-6, beta=0.0, temperature=1.0, use_cpu=True,
        bf16=False, fp16=False, gradient_checkpointing=False, report_to=[], logging_steps=1,
        save_strategy="no", disable_tqdm=True,
    )  # fmt: skip
    adapter = None
    if asked.lora:
        from peft import LoraConfig

        adapter = LoraConfig(
            r=asked.lora, lora_alpha=2 * asked.lora, target_modules="all-linear",
            task_type="CAUSAL_LM",
        )  # fmt: skip

    def graded(completions: Any, **_: Any) -> list[float]:
        return [reward(answer[0]["content"], asked.work) for answer in completions]

    trainer = GRPOTrainer(
        model=model, processing_class=tokenizer, reward_funcs=graded, args=config,
        train_dataset=Dataset.from_list(prompts * (asked.repeats + 2)), callbacks=[Clock()],
        peft_config=adapter,
    )  # fmt: skip
    sample = trainer._generate_and_score_completions  # noqa: SLF001  # there is no public name

    def timed(*args: Any, **kwargs: Any) -> Any:
        start = time.perf_counter()
        out = sample(*args, **kwargs)
        Clock.sample_s = time.perf_counter() - start
        Clock.tokens = int(out["completion_mask"].sum())
        return out

    trainer._generate_and_score_completions = timed  # noqa: SLF001
    trainer.train()


class Clock(TrainerCallback):
    """From the end of one step to the end of the next: what a user waits."""

    sample_s = 0.0
    tokens = 0

    def __init__(self) -> None:
        self.start = 0.0

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """The first step starts."""
        self.start = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, *_: Any, **__: Any) -> None:
        """Report it and start the next."""
        del args
        now = time.perf_counter()
        report(
            warmup=state.global_step == 1, seconds=now - self.start, tokens=self.tokens,
            rollout_s=self.sample_s,
            peak_gb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
        )  # fmt: skip
        self.start = now


if __name__ == "__main__":
    main()
