"""vLLM in process, one prompt per group. Runs in an environment with vLLM."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "4")
os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")

sys.path.remove(str(Path(__file__).parent))  # this file's name is the package's
sys.path.insert(0, str(Path(__file__).parent.parent))

from works import GROUP_SIZE, NUM_PROMPTS, conversations, parse, report


def main() -> None:
    """Generate, again and again."""
    from vllm import LLM, SamplingParams

    job = parse()
    llm = LLM(
        model=job.model, dtype="float32", max_model_len=1024,
        max_num_seqs=NUM_PROMPTS * GROUP_SIZE,
    )  # fmt: skip
    tokenizer = llm.get_tokenizer()
    texts = [
        tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        for chat in conversations(tokenizer, job.prompt_tokens)
    ]
    how = SamplingParams(
        n=GROUP_SIZE, temperature=1.0, max_tokens=job.max_new, logprobs=0, ignore_eos=job.exact,
        min_tokens=job.max_new if job.exact else 0,
    )  # fmt: skip
    for repeat in range(job.repeats + 1):
        start = time.perf_counter()
        out = llm.generate(texts, how, use_tqdm=False)
        seconds = time.perf_counter() - start
        tokens = sum(len(answer.token_ids) for group in out for answer in group.outputs)
        report(warmup=repeat == 0, seconds=seconds, tokens=tokens)


if __name__ == "__main__":
    main()
