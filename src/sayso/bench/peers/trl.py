"""One GRPO step of TRL's trainer: fp32, no KL, one update per rollout, checkpointing off."""

from __future__ import annotations

import json
import os
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
sys.path.remove(str(Path(__file__).parent))  # this file's name is the package's
sys.path.insert(0, str(Path(__file__).parent.parent))

import torch
from datasets import Dataset
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import GRPOConfig, GRPOTrainer
from works import GROUP_SIZE, NUM_PROMPTS, Job, conversations, parse, report, reward

ROWS = NUM_PROMPTS * GROUP_SIZE


def main() -> None:
    """Train for a few steps, or compute the gradient of a saved batch."""
    job = parse()
    torch.set_num_threads(job.threads)
    trainer = make_trainer(job)
    if job.gate:
        save_gradient(trainer, job)
        return
    sample = trainer._generate_and_score_completions  # noqa: SLF001  # there is no public name

    def timed(*args: Any, **kwargs: Any) -> Any:
        start = time.perf_counter()
        out = sample(*args, **kwargs)
        Clock.sample_s = time.perf_counter() - start
        Clock.tokens = int(out["completion_mask"].sum())
        return out

    trainer._generate_and_score_completions = timed  # noqa: SLF001
    Clock.what = job.what
    trainer.train()


def make_trainer(job: Job) -> GRPOTrainer:
    """Tuned for this machine, unless it is to be as it is shipped."""
    tokenizer = AutoTokenizer.from_pretrained(job.model, padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(job.model, dtype=torch.float32)
    prompts = [{"prompt": chat} for chat in conversations(tokenizer, job.prompt_tokens)]
    tuned: dict[str, Any] = {
        "per_device_train_batch_size": job.micro_batch,
        "gradient_accumulation_steps": ROWS // job.micro_batch,
        "bf16": False, "fp16": False, "gradient_checkpointing": False,
    }  # fmt: skip
    if job.shipped:
        tuned = {"gradient_accumulation_steps": ROWS // 8}  # of its own 8 rows
    config = GRPOConfig(
        output_dir=tempfile.mkdtemp(), num_generations=GROUP_SIZE, loss_type="grpo",
        generation_batch_size=ROWS, max_completion_length=job.max_new,
        generation_kwargs={"min_new_tokens": job.max_new} if job.exact else {},
        max_steps=job.repeats + 1, learning_rate=1e-6, beta=0.0, temperature=1.0, use_cpu=True,
        report_to=[], logging_steps=1, save_strategy="no", disable_tqdm=True, **tuned,
    )  # fmt: skip
    adapter = None
    if job.lora:
        from peft import LoraConfig, PeftModel

        if job.gate:
            start = Path(job.out).parent / "adapter"
            model = PeftModel.from_pretrained(model, start, is_trainable=True)
        else:
            adapter = LoraConfig(
                r=job.lora, lora_alpha=2 * job.lora, target_modules="all-linear",
                task_type="CAUSAL_LM",
            )  # fmt: skip

    def graded(completions: Any, **_: Any) -> list[float]:
        return [reward(answer[0]["content"], job.work) for answer in completions]

    return GRPOTrainer(
        model=model, processing_class=tokenizer, reward_funcs=graded, args=config,
        train_dataset=Dataset.from_list(prompts * (job.repeats + 2)), callbacks=[Clock()],
        peft_config=adapter,
    )  # fmt: skip


def save_gradient(trainer: GRPOTrainer, job: Job) -> None:
    """Loss and gradient of the saved batch by TRL's own loss, in its own micro-batches."""
    rows = json.loads(Path(job.gate).read_text())
    model = trainer.model
    model.train()
    parts = [rows[i : i + job.micro_batch] for i in range(0, len(rows), job.micro_batch)]
    trainer.current_gradient_accumulation_steps = len(parts)
    total = 0.0
    for part in parts:
        loss = trainer._compute_loss(model, padded(part))  # noqa: SLF001  # the one it trains with
        loss.backward()
        total += float(loss.detach())
    found = {n: p.grad.contiguous() for n, p in model.named_parameters() if p.grad is not None}
    save_file({**found, "loss": torch.tensor([total])}, job.out)


def padded(rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    """Prompts to the left, completions to the right, as TRL lays them out."""
    widths = {key: max(len(row[key]) for row in rows) for key in ("prompt", "completion")}
    out: dict[str, Any] = {"prompt_ids": [], "completion_ids": []}
    out |= {"prompt_mask": [], "completion_mask": []}
    for row in rows:
        for key in ("prompt", "completion"):
            ids, pad = row[key], [0] * (widths[key] - len(row[key]))
            is_left = key == "prompt"
            out[f"{key}_ids"].append(pad + ids if is_left else ids + pad)
            ones = [1] * len(ids)
            out[f"{key}_mask"].append(pad + ones if is_left else ones + pad)
    found = {key: torch.tensor(value) for key, value in out.items()}
    return {**found, "advantages": torch.tensor([row["advantage"] for row in rows])}


class Clock(TrainerCallback):
    """From the end of one step to the end of the next: what a user waits."""

    sample_s = 0.0
    tokens = 0
    what = "step"

    def __init__(self) -> None:
        self.start = 0.0

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """The first step starts."""
        self.start = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, *_: Any, **__: Any) -> None:
        """Report it and start the next."""
        del args
        now = time.perf_counter()
        step_s = now - self.start
        took = {"step": step_s, "update": step_s - self.sample_s, "rollout": self.sample_s}
        report(
            warmup=state.global_step == 1, seconds=took[self.what], tokens=self.tokens,
            rollout_s=self.sample_s, update_s=took["update"], step_s=step_s,
            peak_gb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
        )  # fmt: skip
        self.start = now


if __name__ == "__main__":
    main()
