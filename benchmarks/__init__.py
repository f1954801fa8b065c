"""Benchmarks: peers.py beside other libraries, asv/ over time."""
