"""Measuring a policy without changing anything."""
