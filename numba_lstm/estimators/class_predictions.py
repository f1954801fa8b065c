"""What the network's outputs say of classes: labels, probabilities, and how many are right."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import expit, log_expit, log_softmax, softmax


def labels(out: np.ndarray, classes: np.ndarray, multilabel: bool) -> np.ndarray:
    """Most probable of the classes (n,) for outputs (n, K), or 0 and 1 for each of K labels."""
    if multilabel:
        return (out > 0).astype(np.int64)
    return classes[log_probabilities(out, False).argmax(axis=1)]


def probabilities(out: np.ndarray, multilabel: bool) -> np.ndarray:
    """Probabilities (n, n_classes) from outputs (n, K)."""
    return expit(out) if multilabel else _of_each_class(out, softmax, expit)


def log_probabilities(out: np.ndarray, multilabel: bool) -> np.ndarray:
    """Logarithms of what :func:`probabilities` returns."""
    return log_expit(out) if multilabel else _of_each_class(out, log_softmax, log_expit)


def _of_each_class(out: np.ndarray, softmax: Any, sigmoid: Any) -> np.ndarray:
    """Columns for classes that exclude one another; for two of them K is 1."""
    if out.shape[1] > 1:
        return softmax(out, axis=1)
    return np.hstack([sigmoid(-out), sigmoid(out)])


def accuracy(truth: Any, predicted: Any, weight: Any) -> float:
    """Weighted share of right labels."""
    from sklearn.metrics import accuracy_score

    try:
        return accuracy_score(truth, predicted, sample_weight=weight)
    except ZeroDivisionError as error:
        raise ValueError(
            "The weights of what is to be scored sum to zero, so that there is no mean of it."
        ) from error
