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
    "proj_size": [Interval(Integral, 0, None, closed="left")],
    "layer_norm": ["boolean"],
    "peephole": ["boolean"],
    "coupled_gates": ["boolean"],
    "cell_clip": [Interval(Real, 0, None, closed="neither"), None],
    "learn_initial_state": ["boolean"],
    "pooling": [StrOptions({"last", "mean", "max", "attention"})],
    "head_hidden_size": [Interval(Integral, 1, None, closed="left"), None],
    "head_activation": [StrOptions({"relu", "tanh"})],
    "return_sequences": ["boolean"],
    "dropout": [Interval(Real, 0, 1, closed="left")],
    "input_dropout": [Interval(Real, 0, 1, closed="left")],
    "recurrent_dropout": [Interval(Real, 0, 1, closed="left")],
    "zoneout_hidden": [Interval(Real, 0, 1, closed="left")],
    "zoneout_cell": [Interval(Real, 0, 1, closed="left")],
    "stateful": ["boolean"],
    "tbptt_steps": [Interval(Integral, 1, None, closed="left"), None],
    "memory": [StrOptions({"full", "recompute"})],
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
    proj_size: int
    layer_norm: bool
    peephole: bool
    coupled_gates: bool
    cell_clip: float | None
    learn_initial_state: bool
    pooling: str
    head_hidden_size: int | None
    head_activation: str
    return_sequences: bool
    zoneout_hidden: float
    zoneout_cell: float
    stateful: bool
    tbptt_steps: int | None
    memory: str

    def _make_layout(self, n_inputs: int, n_outputs: int, decays: bool = False) -> Layout:
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
        self._check_windows()
        direction = "reverse" if self.go_backwards else "forward"
        sizes = self._hidden_sizes()
        if self.proj_size >= min(sizes):
            raise ValueError(
                f"proj_size={self.proj_size} projects to as many numbers as there are units, or "
                f"more: hidden_size={self.hidden_size!r}. Use a smaller one, or 0 for none."
            )
        if self.layer_norm and not self.bias:
            raise ValueError(
                "layer_norm=True has shifts that take the place of biases, but bias=False asks "
                "for none. Set one of them to its default."
            )
        layout = Layout(
            n_inputs,
            sizes,
            n_outputs,
            "both" if self.bidirectional else direction,
            # What makes no difference is no reason to refuse to go on, or to compile.
            self.merge_mode if self.bidirectional else "concat",
            bool(self.residual) and len(sizes) > 1,
            bias=bool(self.bias and not self.layer_norm),
            peephole=bool(self.peephole),
            coupled=bool(self.coupled_gates),
            limit=math.inf if self.cell_clip is None else float(self.cell_clip),
            learned_state=bool(self.learn_initial_state),
            pooling=self.pooling,
            proj_size=int(self.proj_size),
            norm=bool(self.layer_norm),
            zoneout=(float(self.zoneout_hidden), float(self.zoneout_cell)),
            decays=decays,
            head_size=int(self.head_hidden_size or 0),
            head_activation=self.head_activation if self.head_hidden_size else "relu",
        )
        if self.residual and len(set(layout.widths)) > 1:
            raise ValueError(
                f"residual=True adds each layer's inputs to its outputs, but the layers have "
                f"{', '.join(map(str, layout.widths))} outputs. Use one hidden_size for all."
            )
        return layout

    def _check_windows(self) -> None:
        """Refuse windows of what reads backwards, or sees all steps at once."""
        asked = [
            f"{name}={value!r}"
            for name, value, usual in (
                ("memory", self.memory, "full"),
                ("tbptt_steps", self.tbptt_steps, None),
                ("stateful", self.stateful, False),
            )
            if value != usual
        ]
        hindrances = [
            f"{name}={value!r}"
            for name, value, usual in (
                ("bidirectional", self.bidirectional, False),
                ("go_backwards", self.go_backwards, False),
                ("pooling", self.pooling, "last"),
            )
            if value != usual
        ]
        if asked and hindrances:
            raise ValueError(
                f"{', '.join(asked)} goes through the steps in windows, one after the other, and "
                f"{', '.join(hindrances)} needs all of them at once. Use one or the other."
            )

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
