"""Tensors to losses: pure functions, no model, no options, no episode."""
