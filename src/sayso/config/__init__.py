"""Strict, typed configuration: every problem reported at once. No torch."""
