"""Gymnasium text environments, their tasks and their checker. No torch."""
