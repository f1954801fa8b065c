"""Training: optimisers, learning-rate schedules, data, and the loop over epochs."""
