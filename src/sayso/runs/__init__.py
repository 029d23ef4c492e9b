"""The run directory: ledger, metrics, checkpoints on disk. No torch."""
