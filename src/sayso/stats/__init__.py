"""Intervals and paired tests. NumPy only."""
