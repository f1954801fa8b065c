"""Long Short-Term Memory for people who work with NumPy, SciPy and scikit-learn."""

import importlib
from typing import TYPE_CHECKING

from numba_lstm import _process  # noqa: F401 - notes which process imports the package
from numba_lstm._warmup import warmup
from numba_lstm.estimators.classifier import LSTMClassifier
from numba_lstm.estimators.regressor import LSTMRegressor

if TYPE_CHECKING:
    from numba_lstm.interop.keras import from_keras, to_keras_weights
    from numba_lstm.interop.onnx_export import to_onnx
    from numba_lstm.interop.onnx_import import from_onnx
    from numba_lstm.interop.torch import from_torch, to_torch_state_dict

__version__ = "0.1.0"

__all__ = [
    "LSTMClassifier",
    "LSTMRegressor",
    "__version__",
    "from_keras",
    "from_onnx",
    "from_torch",
    "to_keras_weights",
    "to_onnx",
    "to_torch_state_dict",
    "warmup",
]

# Where the names are that are imported when they are first asked for.
_PLACES = {
    "from_keras": "numba_lstm.interop.keras",
    "from_onnx": "numba_lstm.interop.onnx_import",
    "from_torch": "numba_lstm.interop.torch",
    "to_keras_weights": "numba_lstm.interop.keras",
    "to_onnx": "numba_lstm.interop.onnx_export",
    "to_torch_state_dict": "numba_lstm.interop.torch",
}


def __getattr__(name: str) -> object:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_PLACES})
