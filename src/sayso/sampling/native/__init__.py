"""Our own kernels for decoding on a CPU: compiled on first use, called through ctypes."""
