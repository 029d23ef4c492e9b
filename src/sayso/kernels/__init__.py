"""Our own compiled loops for a CPU, built on first use and called through ctypes."""
