"""Scorers of a text. Pure functions; no torch at import."""
