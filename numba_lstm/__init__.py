"""Long Short-Term Memory for people who work with NumPy, SciPy and scikit-learn."""

import importlib
from typing import TYPE_CHECKING

from numba_lstm import _process  # noqa: F401 - notes which process imports the package
from numba_lstm._warmup import warmup
from numba_lstm.estimators.classifier import LSTMClassifier
from numba_lstm.estimators.regressor import LSTMRegressor
from numba_lstm.estimators.transformer import LSTMTransformer

if TYPE_CHECKING:
    from numba_lstm.estimators.many import fit_many
    from numba_lstm.interop.c_export import export_c
    from numba_lstm.interop.keras import from_keras, to_keras_weights
    from numba_lstm.interop.objective import objective
    from numba_lstm.interop.onnx.export import to_onnx
    from numba_lstm.interop.onnx.reader import from_onnx
    from numba_lstm.interop.saving import load
    from numba_lstm.interop.torch import from_torch, to_torch_state_dict

__version__ = "0.1.0"

__all__ = [
    "LSTMClassifier",
    "LSTMRegressor",
    "LSTMTransformer",
    "__version__",
    "export_c",
    "fit_many",
    "from_keras",
    "from_onnx",
    "from_torch",
    "load",
    "objective",
    "to_keras_weights",
    "to_onnx",
    "to_torch_state_dict",
    "warmup",
]

# Where the names are that are imported when they are first asked for.
_PLACES = {
    "export_c": "interop.c_export",
    "fit_many": "estimators.many",
    "from_keras": "interop.keras",
    "from_onnx": "interop.onnx.reader",
    "from_torch": "interop.torch",
    "load": "interop.saving",
    "objective": "interop.objective",
    "to_keras_weights": "interop.keras",
    "to_onnx": "interop.onnx.export",
    "to_torch_state_dict": "interop.torch",
}


def __getattr__(name: str) -> object:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"numba_lstm.{_PLACES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_PLACES})
