"""Networks as C code: compiled without a warning, they agree with the estimators."""

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from drawn_models import fitted_models, in_float64
from hypothesis import HealthCheck, given, settings
from sklearn.exceptions import NotFittedError

from numba_lstm import LSTMClassifier, LSTMRegressor, LSTMTransformer, export_c

COMPILER = shutil.which("gcc") or shutil.which("cc")
FLAGS = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-O2"]
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="there is no C compiler")

# Reads the number of steps of each sequence, then its steps; writes all outputs.
HARNESS = """
#include <stdio.h>
#include "model.c"

int main(void)
{
    net_state state;
    TYPE x[F], y[K];
    double gap = 0;
    int n;
    while (fread(&n, sizeof n, 1, stdin) == 1) {
        net_init(&state);
        while (n-- > 0) {
            if (fread(x, sizeof x, 1, stdin) != 1 || fread(&gap, sizeof gap, 1, stdin) != 1)
                return 1;
            net_step(&state, x, GAP y);
            fwrite(y, sizeof y, 1, stdout);
        }
    }
    return 0;
}
"""
X = np.random.default_rng(0).standard_normal((20, 6, 2))
Y = X[:, -1, 0]


def fitted(kind=LSTMRegressor, y=Y, X=X, times=None, **options):
    return kind(**({"hidden_size": 3, "max_iter": 2, "random_state": 0} | options)).fit(
        X, y, times=times
    )


def in_c(model, path, X, times=None, flags=FLAGS):
    """Outputs after every step (N, T, K), of a program made of the exported file."""
    export_c(model, path / "model.c", prefix="net")
    K = model.n_outputs_
    if isinstance(model, LSTMClassifier):
        K = len(model.classes_)
    T, real = ("float", np.float32) if model.theta_.dtype == np.float32 else ("double", float)
    gap = "" if times is None else "gap,"
    given = {"TYPE": T, "F": str(X.shape[2]), "K": str(K), "GAP": gap}
    text = re.sub(r"\b(TYPE|F|K|GAP)\b", lambda found: given[found[0]], HARNESS)
    (path / "main.c").write_text(text)
    program = path / "program"
    subprocess.run([COMPILER, *flags, str(path / "main.c"), "-lm", "-o", program], check=True)
    pieces = []
    for i, sequence in enumerate(X):
        gaps = np.zeros(len(sequence)) if times is None else np.diff(times[i], prepend=-7.0)
        pieces.append(np.int32(len(sequence)).tobytes())
        for x, passed in zip(sequence, gaps, strict=True):
            pieces += [x.astype(real).tobytes(), np.float64(passed).tobytes()]
    done = subprocess.run([program], input=b"".join(pieces), capture_output=True, check=True)
    assert not done.stderr
    return np.frombuffer(done.stdout, real).reshape(*X.shape[:2], K)


def expected(model, X, times=None):
    """What the estimator predicts after every step, (N, T, K)."""
    steps = []
    for t in range(1, X.shape[1] + 1):
        method = "predict_proba" if isinstance(model, LSTMClassifier) else "predict"
        out = getattr(model, method)(X[:, :t], times=None if times is None else times[:, :t])
        if model.return_sequences:
            out = out[:, -1]
        steps.append(out.reshape(len(X), -1))
    return np.stack(steps, axis=1)


def agree(found, wanted, tolerance):
    scale = max(1.0, np.abs(wanted).max())
    np.testing.assert_allclose(found, wanted, rtol=0, atol=tolerance * scale)


@needs_compiler
@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(fitted_models(stepwise=True))
def test_any_network_that_goes_step_by_step(tmp_path, drawn):
    model, times = drawn.model, drawn.times
    X = drawn.X.astype(np.float32).astype(float)  # numbers that either precision holds
    if model.dtype == "float32":
        # A normalisation over two units that are nearly equal makes much of the rounding.
        close = 3e-5 if model.layer_norm else 1e-6
        agree(in_c(model, tmp_path, X, times), expected(model, X, times), close)
    model = in_float64(model)
    agree(in_c(model, tmp_path, X, times), expected(model, X, times), 1e-12)


@needs_compiler
def test_the_program_of_the_documentation(tmp_path):
    page = (Path(__file__).parent.parent / "docs" / "deployment.md").read_text()
    (program,) = re.findall(r"^```c\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    (tmp_path / "main.c").write_text(program)
    model = fitted(X=X[:, :, :1])
    export_c(model, tmp_path / "users.c", prefix="users")
    command = [COMPILER, *FLAGS, str(tmp_path / "main.c"), "-lm", "-o", str(tmp_path / "program")]
    subprocess.run(command, check=True)
    text = " ".join(map(str, X[0, :, 0])).encode()
    done = subprocess.run([tmp_path / "program"], input=text, capture_output=True, check=True)
    wanted = [model.stream().step(X[0, 0, 0]), model.predict(X[:1, :, :1])[0]]
    found = [float(line) for line in done.stdout.split()]
    np.testing.assert_allclose([found[0], found[-1]], wanted, rtol=0, atol=2e-6)


@needs_compiler
def test_streams_do_the_same(tmp_path):
    model = fitted(y=np.stack([Y, Y + 100], axis=1), num_layers=2, dtype="float64")
    found = in_c(model, tmp_path, X)
    stream = model.stream(len(X))
    for t in range(X.shape[1]):
        np.testing.assert_allclose(found[:, t], stream.step(X[:, t]), rtol=1e-12)


@needs_compiler
def test_nothing_is_read_or_written_beside_the_arrays(tmp_path):
    hole = np.where(X > 1, np.nan, X)
    times = np.cumsum(np.abs(X[:, :, 0]), axis=1)
    labels = np.array(["a", "b", "c"])[np.arange(20) % 3]
    model = fitted(
        LSTMClassifier, labels, hole, times, hidden_size=[3, 4], proj_size=2, residual=True,
        layer_norm=True, peephole=True, coupled_gates=True, learn_initial_state=True,
        zoneout_hidden=0.1, head_hidden_size=5, cell_clip=2.0, missing="mask", dtype="float64",
    )  # fmt: skip
    checked = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    (tmp_path / "empty.c").write_text("int main(void) { return 0; }\n")
    command = [COMPILER, *checked, str(tmp_path / "empty.c"), "-o", str(tmp_path / "empty")]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("the compiler has no sanitizers")
    agree(in_c(model, tmp_path, hole, times, FLAGS + checked), expected(model, hole, times), 1e-12)


@needs_compiler
def test_inputs_and_targets_far_from_zero(tmp_path):
    """As standardised in double, whatever the precision of the network."""
    far = (1e6 + X).astype(np.float32)
    model = fitted(X=far, y=1e6 + Y)
    agree(in_c(model, tmp_path, far), expected(model, far), 1e-6)


@needs_compiler
def test_inputs_beyond_all_measure(tmp_path):
    """They are kept within 1e18 scales, and what comes after them is sound again."""
    model = fitted(X=1e-3 * X, cell_clip=1e300)
    beyond = np.concatenate([np.full((1, 2, X.shape[2]), 3e36), X[:1]], axis=1).astype(np.float32)
    agree(in_c(model, tmp_path, beyond), expected(model, beyond), 1e-6)


@needs_compiler
@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_probabilities_beyond_what_exponentials_hold(tmp_path, scale):
    model = fitted(LSTMClassifier, np.arange(20) % 3)
    model.theta_ *= np.float32(scale)
    y = in_c(model, tmp_path, X.astype(np.float32))
    assert np.isfinite(y).all()
    np.testing.assert_allclose(y.sum(axis=2), 1, rtol=1e-6)


@needs_compiler
def test_labels_with_anything_in_them(tmp_path):
    labels = np.array(["*/ int x;", "/* ??/", 'q"\\', "\n\u00e9", "#error"])[np.arange(20) % 5]
    model = fitted(LSTMClassifier, labels)
    agree(in_c(model, tmp_path, X.astype(np.float32)), expected(model, X.astype(np.float32)), 1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_weights_are_exact(tmp_path, dtype):
    model = fitted(dtype=dtype)
    model.theta_[:4] = 1e-40, 1e38, -0.0, 1 / 3
    export_c(model, tmp_path / "model.c")
    text = (tmp_path / "model.c").read_text()
    numbers = dict(re.findall(r"(?:float|double) lstm_(\w+)\[\d+\] = \{([^}]*)\}", text))
    arrays = model.parameters_ | {
        name: getattr(model, name + "_")
        for name in ("input_mean", "input_scale", "target_mean", "target_scale")
    }
    assert numbers.keys() == arrays.keys()
    for name, array in arrays.items():
        values = numbers[name].replace("f", "").split(",")
        found = np.array([array.dtype.type(value) for value in values], array.dtype)
        assert found.tobytes() == np.ascontiguousarray(array).tobytes()


REFUSED = [
    (lambda: LSTMRegressor(), NotFittedError, "not fitted"),
    (lambda: LSTMTransformer().fit(X), TypeError, "estimator_"),
    (lambda: X, TypeError, "got ndarray"),
    (lambda: fitted(bidirectional=True), ValueError, "bidirectional=False"),
    (lambda: fitted(go_backwards=True), ValueError, "go_backwards=False"),
    (lambda: fitted(pooling="mean"), ValueError, "pooling='mean'"),
    (lambda: fitted(times=np.zeros(6)), ValueError, "No time passed"),
]


@pytest.mark.parametrize(("make", "error", "message"), REFUSED, ids=[m for *_, m in REFUSED])
def test_what_has_no_steps_is_refused(tmp_path, make, error, message):
    with pytest.raises(error, match=message):
        export_c(make(), tmp_path / "model.c")
    assert not list(tmp_path.iterdir())


def test_other_errors_leave_no_file(tmp_path):
    model = fitted()
    for prefix in ("", "1a", "a-b", "_a", "\u00e9", "a b", "a\n", None):
        with pytest.raises(ValueError, match="prefix="):
            export_c(model, tmp_path / "model.c", prefix=prefix)
    with pytest.raises(FileNotFoundError, match="no directory"):
        export_c(model, tmp_path / "none" / "model.c")
    model.theta_[3] = np.inf
    with pytest.raises(ValueError, match="theta_ contains"):
        export_c(model, tmp_path / "model.c")
    assert not list(tmp_path.iterdir())
