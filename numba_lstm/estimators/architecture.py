"""What network an estimator's parameters ask for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.utils._param_validation import Interval, StrOptions

from numba_lstm.parameters import Layout

# Constraints of the parameters that make the network, for scikit-learn's checks.
CONSTRAINTS: dict[str, Any] = {
    "hidden_size": [Interval(Integral, 1, None, closed="left"), "array-like"],
    "num_layers": [Interval(Integral, 1, None, closed="left")],
    "bidirectional": ["boolean"],
    "merge_mode": [StrOptions({"concat", "sum", "mean"})],
    "go_backwards": ["boolean"],
    "residual": ["boolean"],
    "bias": ["boolean"],
    "forget_bias": [Interval(Real, -1000, 1000, closed="both")],
    "peephole": ["boolean"],
    "coupled_gates": ["boolean"],
    "cell_clip": [Interval(Real, 0, None, closed="neither"), None],
    "learn_initial_state": ["boolean"],
    "pooling": [StrOptions({"last", "mean", "max", "attention"})],
    "return_sequences": ["boolean"],
    "dropout": [Interval(Real, 0, 1, closed="left")],
    "input_dropout": [Interval(Real, 0, 1, closed="left")],
    "recurrent_dropout": [Interval(Real, 0, 1, closed="left")],
}


class ArchitectureMixin:
    """From the estimators' parameters to a :class:`Layout`."""

    hidden_size: int | Sequence[int]
    num_layers: int
    bidirectional: bool
    merge_mode: str
    go_backwards: bool
    residual: bool
    bias: bool
    forget_bias: float
    peephole: bool
    coupled_gates: bool
    cell_clip: float | None
    learn_initial_state: bool
    pooling: str
    return_sequences: bool

    def _make_layout(self, n_inputs: int, n_outputs: int) -> Layout:
        """Return the layout that the parameters describe.

        Raises
        ------
        ValueError
            If they contradict one another.
        """
        if self.bidirectional and self.go_backwards:
            raise ValueError(
                "bidirectional=True reads each sequence both ways already; go_backwards=True "
                "is for one direction alone. Set one of them to False."
            )
        if self.pooling != "last" and self.return_sequences:
            raise ValueError(
                f"pooling={self.pooling!r} makes one row of all steps of a sequence, but "
                "return_sequences=True asks for an output at each. Use one or the other."
            )
        direction = "reverse" if self.go_backwards else "forward"
        sizes = self._hidden_sizes()
        layout = Layout(
            n_inputs,
            sizes,
            n_outputs,
            "both" if self.bidirectional else direction,
            # What makes no difference is no reason to refuse to go on, or to compile.
            self.merge_mode if self.bidirectional else "concat",
            bool(self.residual) and len(sizes) > 1,
            bias=bool(self.bias),
            peephole=bool(self.peephole),
            coupled=bool(self.coupled_gates),
            limit=math.inf if self.cell_clip is None else float(self.cell_clip),
            learned_state=bool(self.learn_initial_state),
            pooling=self.pooling,
        )
        if self.residual and len(set(layout.widths)) > 1:
            raise ValueError(
                f"residual=True adds each layer's inputs to its outputs, but the layers have "
                f"{', '.join(map(str, layout.widths))} outputs. Use one hidden_size for all."
            )
        return layout

    def _hidden_sizes(self) -> tuple[int, ...]:
        given: Any = self.hidden_size
        alone = np.ndim(given) == 0
        sizes = [given] if alone else list(given)
        if not sizes or not all(
            isinstance(H, Integral) and not isinstance(H, bool) and int(H) >= 1 for H in sizes
        ):
            raise ValueError(
                f"hidden_size={given!r}: pass a positive integer, or one for each layer."
            )
        if alone:
            return (int(given),) * self.num_layers
        if self.num_layers not in (1, len(sizes)):
            raise ValueError(
                f"hidden_size={given!r} has {len(sizes)} sizes and num_layers="
                f"{self.num_layers}. Leave num_layers out, or pass a size for each layer."
            )
        return tuple(int(H) for H in sizes)
