"""transformers' generate. Runs in an environment with torch and transformers."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
sys.path.insert(0, str(Path(__file__).parent.parent))

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from works import GROUP_SIZE, conversations, parse, report


def main() -> None:
    """Generate, again and again."""
    job = parse()
    torch.set_num_threads(job.threads)
    tokenizer = AutoTokenizer.from_pretrained(job.model, padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(job.model, dtype=torch.float32).eval()
    texts = [
        tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        for chat in conversations(tokenizer, job.prompt_tokens)
        for _ in range(GROUP_SIZE)
    ]
    batch = tokenizer(texts, return_tensors="pt", padding=True)
    width = batch["input_ids"].shape[1]
    for repeat in range(job.repeats + 1):
        start = time.perf_counter()
        with torch.inference_mode():
            out = model.generate(
                **batch, max_new_tokens=job.max_new, do_sample=True, temperature=1.0, top_k=0,
                min_new_tokens=job.max_new if job.exact else None,
            )  # fmt: skip
        seconds = time.perf_counter() - start
        answers = out[:, width:]
        ended = (answers == tokenizer.eos_token_id).int().cumsum(1)
        is_stop = (ended == 1) & (answers == tokenizer.eos_token_id)
        tokens = answers.numel() if job.exact else int(((ended == 0) | is_stop).sum())
        report(warmup=repeat == 0, seconds=seconds, tokens=tokens)


if __name__ == "__main__":
    main()
