"""Episodes become tensors here and nowhere else."""
