"""Decoding on a CPU by our own kernels."""
