"""sayso: train language models with reinforcement learning. The reward has the say-so."""
