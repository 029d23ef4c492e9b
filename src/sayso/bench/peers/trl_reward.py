"""TRL's side of a race to a held-out reward: ``python trl_reward.py RACE.json``.

Tuned as in trl.py. The tasks, their prompts and the first adapters come from the file, the rewards
from a child process; waiting for it counts, as grading counts on our side.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
sys.path.remove(str(Path(__file__).parent))  # trl.py beside this file has the package's name

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

EVALUATED_TOGETHER = 64
"""Rows of one call of generate in an evaluation."""


class Grader:
    """The child process that scores."""

    def __init__(self, command: list[str]) -> None:
        self.child = subprocess.Popen(  # noqa: S603  # the command is ours
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __call__(self, tasks: list[str], texts: list[str]) -> list[float]:
        """Rewards of some texts."""
        asked = json.dumps({"task": tasks, "text": texts})
        self.child.stdin.write(asked + "\n")
        self.child.stdin.flush()
        answer = json.loads(self.child.stdout.readline())
        return answer["reward"]


class Clock(TrainerCallback):
    """Runs in the steps, stands still in evaluations, ends the run at the threshold."""

    def __init__(self, race: dict[str, Any], grader: Grader) -> None:
        self.race, self.grader = race, grader
        self.seconds, self.start, self.tokens = 0.0, 0.0, 0
        self.curve: list[list[float]] = []
        self.trainer: Any = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Where it starts from."""
        del args
        self.look(state.global_step, control)
        self.start = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Stop the clock, look if it is time to, go on."""
        del args
        self.seconds += time.perf_counter() - self.start
        step, race = state.global_step, self.race
        if step % race["every"] == 0 or step == race["max_steps"]:
            self.look(step, control)
        self.start = time.perf_counter()

    def look(self, step: int, control: Any) -> None:
        """One sample per held-out task, the same seed each time."""
        mean = self.held_out_mean()
        self.curve.append([step, round(self.seconds, 3), round(mean, 4)])
        if mean >= self.race["threshold"]:
            control.should_training_stop = True

    @torch.no_grad()
    def held_out_mean(self) -> float:
        """The training's own draws are left as they are."""
        trainer, rows, rewards = self.trainer, self.race["held_out_rows"], []
        tokenizer, model = trainer.processing_class, trainer.model
        model.eval()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.race["seed"])
            for first in range(0, len(rows), EVALUATED_TOGETHER):
                part = rows[first : first + EVALUATED_TOGETHER]
                batch = tokenizer.pad(
                    {"input_ids": [row["ids"] for row in part]}, padding=True,
                    padding_side="left", return_tensors="pt",
                )  # fmt: skip
                out = model.generate(**batch, generation_config=trainer.generation_config)
                said = out[:, batch["input_ids"].shape[1] :]
                texts = tokenizer.batch_decode(said, skip_special_tokens=True)
                rewards += self.grader([row["task"] for row in part], texts)
        model.train()
        return sum(rewards) / len(rewards)


def make_trainer(race: dict[str, Any], clock: Clock) -> GRPOTrainer:
    """GRPO's loss, no KL, one update per rollout, tasks in the order of the file."""
    tokenizer = AutoTokenizer.from_pretrained(race["model"], padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(race["model"], dtype=torch.float32)
    if race["adapter"]:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, race["adapter"], is_trainable=True)
    rows = []
    for row in race["train_rows"]:
        chat = [{"role": "user", "content": row["prompt"]}]
        text = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        if tokenizer(text, add_special_tokens=False).input_ids != row["ids"]:
            sys.exit(f"the prompt of task {row['task']} has other tokens here")
        rows.append({"prompt": chat, "task_id": row["task"]})
    num_rows = race["tasks_per_step"] * race["group_size"]
    config = GRPOConfig(
        output_dir=tempfile.mkdtemp(), num_generations=race["group_size"], loss_type="grpo",
        generation_batch_size=num_rows, max_completion_length=race["max_new"],
        max_steps=race["max_steps"], learning_rate=race["lr"], lr_scheduler_type="constant",
        beta=0.0, temperature=1.0, seed=race["seed"], shuffle_dataset=False, use_cpu=True,
        per_device_train_batch_size=race["micro_batch"], bf16=False, fp16=False,
        gradient_accumulation_steps=num_rows // race["micro_batch"],
        gradient_checkpointing=False, report_to=[], save_strategy="no", disable_tqdm=True,
    )  # fmt: skip

    def graded(completions: Any, task_id: list[str], **_: Any) -> list[float]:
        return clock.grader(task_id, [answer[0]["content"] for answer in completions])

    trainer = GRPOTrainer(
        model=model, processing_class=tokenizer, reward_funcs=graded, args=config,
        train_dataset=Dataset.from_list(rows), callbacks=[clock],
    )  # fmt: skip
    sample = trainer._generate_and_score_completions  # noqa: SLF001  # there is no public name

    def counted(*args: Any, **kwargs: Any) -> Any:
        out = sample(*args, **kwargs)
        clock.tokens += int(out["completion_mask"].sum())
        return out

    trainer._generate_and_score_completions = counted  # noqa: SLF001
    clock.trainer = trainer
    return trainer


def main() -> None:
    """Train until the threshold or the last step."""
    start = time.perf_counter()
    race = json.loads(Path(sys.argv[1]).read_text())
    torch.set_num_threads(race["threads"])
    clock = Clock(race, Grader(race["grader"]))
    trainer = make_trainer(race, clock)
    setup_s = time.perf_counter() - start
    if trainer.args.max_grad_norm != 1.0 or trainer.args.weight_decay != 0.0:
        sys.exit("TRL's defaults are not those that the other side has")
    trainer.train()
    step, _, mean = clock.curve[-1]
    found = {
        "seconds": clock.seconds, "steps": step, "reached": mean >= race["threshold"],
        "curve": clock.curve, "tokens": clock.tokens, "setup_s": setup_s,
        "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
    }  # fmt: skip
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
