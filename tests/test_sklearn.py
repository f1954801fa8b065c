"""scikit-learn's own checks of an estimator."""

from sklearn.utils.estimator_checks import parametrize_with_checks

from numba_lstm import LSTMClassifier, LSTMRegressor, LSTMTransformer

REASON = "float32: sums in another order round differently"
WEIGHTS = "check_sample_weight_equivalence_on_dense_data"


def expected_to_fail(estimator):
    network = estimator.estimator if isinstance(estimator, LSTMTransformer) else estimator
    return {} if network.dtype == "float64" else {WEIGHTS: REASON}


@parametrize_with_checks(
    [
        LSTMRegressor(),
        LSTMClassifier(),
        LSTMRegressor(dtype="float64"),
        LSTMClassifier(dtype="float64"),
        LSTMTransformer(LSTMRegressor(random_state=0, max_iter=5)),
        LSTMTransformer(
            LSTMRegressor(random_state=0, max_iter=5, dtype="float64"),
            features="both",
            method="autoencoder",
        ),
    ],
    expected_failed_checks=expected_to_fail,
)
def test_scikit_learn_check(estimator, check):
    check(estimator)
