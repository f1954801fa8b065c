"""Long Short-Term Memory for people who work with NumPy, SciPy and scikit-learn."""

from numba_lstm import _process  # noqa: F401 - notes which process imports the package
from numba_lstm._warmup import warmup
from numba_lstm.estimators.classifier import LSTMClassifier
from numba_lstm.estimators.regressor import LSTMRegressor
from numba_lstm.estimators.transformer import LSTMTransformer
from numba_lstm.interop.c_export import export_c
from numba_lstm.interop.objective import objective
from numba_lstm.interop.saving import load

__version__ = "0.1.0"

__all__ = [
    "LSTMClassifier",
    "LSTMRegressor",
    "LSTMTransformer",
    "__version__",
    "export_c",
    "load",
    "objective",
    "warmup",
]
