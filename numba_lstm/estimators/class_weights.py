"""What each class weighs in the loss, as class_weight says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from sklearn.utils import compute_class_weight

if TYPE_CHECKING:
    from numba_lstm.estimators.targets import Targets
    from numba_lstm.training.data import Dataset


def weights_by_class(
    class_weight: dict | str | None, targets: Targets, training: Dataset, classes_known: bool
) -> np.ndarray | None:
    """Return what the sequences' weights are multiplied by, for each class.

    Parameters
    ----------
    class_weight : dict, "balanced" or None
        The estimator's parameter.
    targets : Targets
        Whose classes are weighed.
    training : Dataset
        The training part, in which "balanced" counts the classes.
    classes_known : bool
        Whether the classes were told beforehand, so that this part may lack all but one.

    Returns
    -------
    ndarray of shape (n_classes,) or None
        None for no weights.

    Raises
    ------
    ValueError
        If several labels at once were to be weighed, only one class has a weight above zero,
        or the weights themselves do not fit.
    """
    if targets.multilabel:
        if class_weight is None:
            return None
        raise ValueError(
            f"class_weight={class_weight!r} is for classes that exclude one another, "
            "and y may have several labels at once. Leave it out."
        )
    classes = np.asarray(targets.classes)
    codes, weight = training.all_targets(np.dtype(np.float64))
    present = np.bincount(codes[:, 0].astype(np.int64), weight, minlength=len(classes))
    if not classes_known and np.count_nonzero(present) < 2:
        raise ValueError(
            "Only one class has a sample_weight above zero in the training part: "
            f"{classes[present > 0].tolist()}. Give weight to sequences of another class."
        )
    if class_weight is None:
        return None
    if class_weight == "balanced":
        # scikit-learn's rule, with weights in the place of counts.
        return 1.0 / np.where(present > 0, len(classes) * present, 1.0)
    by_class = compute_class_weight(class_weight, classes=classes, y=classes)
    if not (np.isfinite(by_class).all() and (by_class >= 0).all() and (by_class @ present)):
        raise ValueError(
            f"class_weight={class_weight!r}: weights must be finite and at least 0, and "
            "one of them above 0."
        )
    return by_class
