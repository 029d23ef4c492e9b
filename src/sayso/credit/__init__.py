"""Numbers to returns, advantages and targets. NumPy only."""
