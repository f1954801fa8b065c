"""The asv suite: in benchmarks/, asv run --quick --python=same."""
