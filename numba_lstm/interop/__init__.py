"""Models that travel: files, other libraries, SciPy."""
