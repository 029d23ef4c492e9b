"""Causal language models: loading, chat format, adapters, heads, scoring."""
