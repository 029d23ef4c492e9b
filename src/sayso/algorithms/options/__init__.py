"""Options of each algorithm, and of what algorithms share; read without loading torch."""
