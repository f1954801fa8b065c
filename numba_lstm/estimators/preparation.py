"""From what ``fit`` is given to data and a state that training can begin with."""

from __future__ import annotations

import copy
import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from numba_lstm.estimators.architecture import ArchitectureMixin
from numba_lstm.estimators.checks import attributes_of_X, check_first_X, check_given_times, check_X
from numba_lstm.estimators.fitted import FittedMixin
from numba_lstm.estimators.held_out import validation_data
from numba_lstm.estimators.targets import Targets
from numba_lstm.estimators.weights import check_step_weights
from numba_lstm.missing import MaskedSequences
from numba_lstm.parameters import initialise
from numba_lstm.times import decay, typical_gap

if TYPE_CHECKING:
    from numba_lstm.training.data import Dataset
    from numba_lstm.training.penalised import PenalisedLoss


class PreparationMixin(ArchitectureMixin, FittedMixin):
    """Checks, standardisation and first weights of a fit."""

    alpha: float
    forget_bias: float
    missing: str
    standardize: bool

    def _training_data(
        self, X, y, sample_weight, times, held_out, dtype, random_state, *, continued, reference
    ):
        """Return an estimator's attributes before its next epoch, and its data.

        ``held_out`` is a HeldOut, or None for a fit without validation. The data are a
        training part and a validation part or None.
        """
        from numba_lstm.training.data import Dataset

        if continued:
            sequences, attributes = check_X(self, X), attributes_of_X(self)
        else:
            sequences, attributes = check_first_X(self, X)
        wanted = (self._layout.decays, self._time_kind) if continued else (None, None)
        attributes["_time_kind"] = check_given_times(times, sequences, *wanted, "times")
        targets = self._check_targets(y, sequences, self._targets if continued else reference)
        weight, of_steps = check_step_weights(
            sample_weight, sequences, targets.per_step, "sample_weight"
        )
        everything = np.arange(len(sequences))
        training = Dataset(sequences, targets.values, weight, everything, of_steps)
        validation = None
        if held_out is not None:
            training, validation = validation_data(
                *(self, attributes, training, targets, held_out, random_state)
            )
        by_class = self._class_weight(targets, training, reference is not None or continued)
        if continued:
            attributes |= self._fitted_state()
            if np.isnan(attributes["time_scale_"] or 0.0):  # no time had passed so far
                attributes["time_scale_"] = self._typical_gap(training)
        else:
            attributes |= self._new_state(training, targets, dtype, random_state)
        for data in filter(None, (training, validation)):
            if data.sequences.gaps is not None:
                gaps = data.sequences.gaps, data.sequences.lengths
                data.sequences.decay = decay(*gaps, attributes["time_scale_"])
            if attributes["_masks"]:
                F = data.sequences.n_inputs
                data.sequences = MaskedSequences(data.sequences, attributes["input_mean_"][:F])
            data.class_weight = by_class
            data.target_mean = attributes["target_mean_"]
            data.target_scale = attributes["target_scale_"]
            if targets.classes is None:
                data.check_targets(attributes["theta_"].dtype)
        return attributes, training, validation

    def _penalised_loss(self, attributes: dict[str, Any], training: Dataset) -> PenalisedLoss:
        """What is to be minimised, in float64 whatever the dtype of the weights."""
        from numba_lstm.training.penalised import PenalisedLoss

        wide = attributes | {"theta_": attributes["theta_"].astype(np.float64)}
        return PenalisedLoss(functools.partial(self._network, wide), training, self.alpha)

    def _new_state(self, training: Dataset, targets: Targets, dtype, random_state):
        """Attributes of an estimator before its first epoch."""
        from numba_lstm.training.data import FAR
        from numba_lstm.training.optimizers import Optimizer

        F, masks = training.sequences.n_inputs, self.missing == "mask"
        gaps = training.sequences.gaps
        layout = self._make_layout(3 * F if masks else F, targets.n_outputs, gaps is not None)
        generator = np.random.default_rng(random_state.randint(2**31 - 1, size=4))
        mean, scale = np.zeros(layout.n_inputs), np.ones(layout.n_inputs)
        theta = initialise(layout, generator, dtype, self.forget_bias)
        if masks:
            # Where no gap is seen in training, none of these is trained: they begin with 0,
            # so that a gap is then what the last value makes of it.
            for k, cell in enumerate(layout.cells):
                if cell.layer == 0:
                    layout.views(theta)[k, "W"][F : 3 * F] = 0
        target_mean, target_scale = np.zeros(targets.n_columns), np.ones(targets.n_columns)
        if self.standardize:
            mean[:F], scale[:F] = training.input_statistics()
            if masks:  # of a feature that is never seen, its two channels count for nothing, too
                scale[F:] = np.tile(np.where(scale[:F] == FAR, FAR, 1.0), 2)
            if targets.classes is None:
                target_mean, target_scale = training.target_statistics()
        return {
            "_targets": targets.description(),
            "_layout": layout,
            "_masks": masks,
            "time_scale_": self._typical_gap(training),
            "_generator": generator,
            "_optimizer": Optimizer(layout.decay_mask(dtype), self._solver_settings()),
            "theta_": theta,
            "input_mean_": mean,
            "input_scale_": scale,
            "target_mean_": target_mean,
            "target_scale_": target_scale,
            "n_outputs_": layout.n_outputs,
            "loss_curve_": [],
            "validation_scores_": None,
            **({} if targets.classes is None else {"classes_": targets.classes}),
        }

    @staticmethod
    def _typical_gap(training):
        """Median time between two steps of what has a weight; None without times."""
        sequences, counts = training.sequences, training.weight[training.index] > 0
        if sequences.gaps is None:
            return None
        return typical_gap(sequences.gaps, sequences.lengths, training.index[counts])

    def _solver_settings(self):
        from numba_lstm.training.optimizers import SolverSettings

        return SolverSettings(**{name: getattr(self, name) for name in SolverSettings._fields})

    def _fitted_state(self):
        """Attributes to go on from: copies, so that a failed fit changes nothing."""
        names = "_targets", "_layout", "_masks", "time_scale_", "input_mean_", "input_scale_"
        names += ("target_mean_",)
        names += "target_scale_", "n_outputs_", "loss_curve_", "validation_scores_"
        state = {name: getattr(self, name) for name in names}
        for name in ("theta_", "_optimizer", "_generator"):
            state[name] = copy.deepcopy(getattr(self, name))
        if hasattr(self, "classes_"):
            state["classes_"] = self.classes_
        state["_optimizer"].change_settings(self._solver_settings())
        return state
