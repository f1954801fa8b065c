"""The course of a fit, whoever runs its epochs: one alone, several at once, another backend."""

import math

import numpy as np
import pytest

from numba_lstm import LSTMRegressor
from numba_lstm.backend import make_network
from numba_lstm.estimators.job import Job
from numba_lstm.network import Network
from numba_lstm.training import loop
from numba_lstm.training.epochs import HostEpochs, make_epochs

rng = np.random.default_rng(0)
X = rng.standard_normal((30, 6, 2))
Y = X[:, -1, 0] + 0.5 * X[:, 0, 1]
pytestmark = pytest.mark.nojit


def regressor(**parameters):
    settings = {"hidden_size": 3, "max_iter": 4, "batch_size": 8, "random_state": 0}
    return LSTMRegressor(**(settings | parameters))


def begun(**parameters):
    """A fit that has not begun, and its job."""
    job = Job(regressor(**parameters), X, Y)
    return job.begin(), job


def epochs_of(fit, on_batch=lambda: None):
    return make_epochs(
        *(fit.network, fit.theta, fit.optimizer, fit.generator),
        *(fit.training, fit.settings, on_batch),
    )


def test_fits_side_by_side():
    """Driven in turn, epoch by epoch, each is what it is alone."""
    options = [
        {"max_iter": 2},
        {"early_stopping": True, "n_iter_no_change": 1, "max_iter": 30},
        {"learning_rate": "plateau", "recurrent_dropout": 0.3, "n_iter_no_change": 2, "tol": 0.1},
        {"learning_rate": "cosine", "random_state": 5, "solver": "sgd"},
    ]
    fits = [begun(**given)[0] for given in options]
    runs = [epochs_of(fit) for fit in fits]
    counts = [0] * len(fits)
    while not all(fit.is_over for fit in fits):
        for k, (fit, run) in enumerate(zip(fits, runs, strict=True)):
            if not fit.is_over:
                counts[k] += 1
                assert fit.epoch_ended(run.run(*fit.begins())) == fit.is_over
    assert len(set(counts)) > 1
    for fit, given in zip(fits, options, strict=True):
        alone, history = regressor(**given).fit(X, Y), fit.finish()
        np.testing.assert_array_equal(history.theta, alone.theta_)
        assert history.loss_curve == alone.loss_curve_
        assert (history.validation_scores or None) == alone.validation_scores_


def test_rates_and_order_of_an_epoch():
    fit, _ = begun(learning_rate="cosine", learning_rate_init=0.1, shuffle=False)
    order, rates = fit.begins()
    np.testing.assert_array_equal(order, np.arange(30))
    progress = np.array([0, 8, 16, 24]) / 30 / 4
    np.testing.assert_allclose(rates, 0.05 * (1 + np.cos(np.pi * progress)))
    fit.epoch_ended(1.0)
    assert fit.begins()[1][0] == pytest.approx(0.05 * (1 + math.cos(math.pi / 4)))


def test_a_loss_that_is_not_finite_is_the_end():
    fit, job = begun(max_iter=10)
    first = fit.theta.copy()
    fit.begins()
    fit.theta += 1
    assert not fit.epoch_ended(1.0)
    after_one = fit.theta.copy()
    fit.begins()
    fit.theta += 1
    fit.optimizer.first_moment += 1
    assert fit.epoch_ended(math.nan)
    assert fit.is_over
    history = fit.finish()
    assert history.diverged
    assert "epoch 2" in history.warning
    assert history.loss_curve == [1.0]
    np.testing.assert_array_equal(history.theta, first)  # which had that loss
    assert (after_one != first).all()
    assert not fit.optimizer.first_moment.any()
    with pytest.warns(UserWarning, match="diverged") as caught:
        job.end(history)
    assert caught[0].filename == __file__


def test_an_interrupt_within_an_epoch():
    """What the batches before it have learned stays, and is what the estimator has."""
    done = []

    def third():
        done.append(fit.theta.copy())
        if len(done) == 3:
            raise KeyboardInterrupt

    fit, job = begun()
    history = loop.train(fit, third)
    assert history.loss_curve == []
    assert not history.diverged
    np.testing.assert_array_equal(history.theta, done[2])
    assert (done[2] != done[0]).any()
    with pytest.raises(KeyboardInterrupt):
        job.end(history)
    np.testing.assert_array_equal(job.estimator.theta_, done[2])


class Elsewhere(Network):
    """A network whose epochs are run by what it makes for them."""

    asked = 0

    def epochs(self, *arguments):
        type(self).asked += 1
        return HostEpochs(self, *arguments)


@pytest.mark.parametrize(
    "options",
    [{}, {"tbptt_steps": 3}, {"stateful": True, "batch_size": 5}, {"memory": "recompute"}],
)
def test_a_network_that_runs_its_own_epochs(options, monkeypatch):
    expected = regressor(**options).fit(X, Y).theta_
    monkeypatch.setattr(Elsewhere, "asked", 0)
    asked_for = []

    def make(device, layout, dtype, precision, **given):
        asked_for.append((device, precision))
        return Elsewhere(layout, dtype, **given)

    monkeypatch.setattr("numba_lstm.estimators.fitted.make_network", make)
    np.testing.assert_array_equal(regressor(**options).fit(X, Y).theta_, expected)
    assert Elsewhere.asked == (not options)  # windows go on from states that lie here
    assert asked_for == [("cpu", "float32")]


def test_a_network_of_the_cpu():
    fit, _ = begun()
    known = fit.network
    network = make_network(
        *("cpu", known.layout, known.dtype),
        **{name: getattr(known, name) for name in ("per_step", "loss", "loss_parameter", "mean")},
        scale=1 / known.inverse_scale,
        n_threads=1,
    )
    assert type(network) is Network
    batch = fit.training.batch(np.arange(8), network.dtype)
    assert network.loss_and_grad(fit.theta, batch)[0] == pytest.approx(
        known.loss_and_grad(fit.theta, batch)[0]
    )
