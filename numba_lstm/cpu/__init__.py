"""The CPU backend: microkernel, matrix products, one layer, and the parallel drivers."""
