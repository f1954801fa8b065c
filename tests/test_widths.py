"""Vectors of 512, 256 and 128 bits give the same numbers, to rounding.

The processor's features are read when the package is imported: each width has a process.
"""

import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

WIDTHS = {
    "own": {},
    "AVX2": {
        "NUMBA_CPU_NAME": "haswell",
        "NUMBA_CPU_FEATURES": "+avx,+avx2,+fma,+sse4.2,+bmi,+bmi2,+popcnt,+lzcnt,+f16c",
    },
    "128 bit": {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""},
}
SCRIPT = """
import sys
import numpy as np
from numba_lstm import LSTMClassifier, LSTMRegressor
from numba_lstm._llvm import BITS

rng = np.random.default_rng(0)
X = [rng.standard_normal((n, 3)) for n in rng.integers(1, 20, 50)]
y = np.array([x.mean() for x in X])
found = {"bits": BITS}
for dtype in ("float32", "float64"):
    options = {"dtype": dtype, "max_iter": 4, "random_state": 0}
    model = LSTMRegressor([37, 5], bidirectional=True, **options).fit(X, y)
    found[f"{dtype} theta"], found[f"{dtype} y"] = model.theta_, model.predict(X)
    other = LSTMClassifier(20, peephole=True, layer_norm=True, **options).fit(X, y > 0)
    found[f"{dtype} gated theta"], found[f"{dtype} p"] = other.theta_, other.predict_proba(X)
np.savez(sys.argv[1], **found)
"""


@pytest.mark.skipif(platform.machine() != "x86_64", reason="widths of x86-64 are compared")
def test_widths_agree(tmp_path):
    features = Path("/proc/cpuinfo")
    has_avx2 = features.exists() and "avx2" in features.read_text()
    found = {}
    for name, environment in WIDTHS.items():
        if name == "AVX2" and not has_avx2:
            continue
        path = tmp_path / f"{name}.npz"
        process = subprocess.run(
            [sys.executable, "-c", SCRIPT, str(path)],
            env=os.environ | environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert process.returncode == 0, process.stderr
        found[name] = dict(np.load(path))
    bits = {name: int(one.pop("bits")) for name, one in found.items()}
    assert bits["128 bit"] == 128
    assert bits.get("AVX2", 256) == 256
    assert len(set(bits.values())) >= 2 or not has_avx2
    for name, one in found.items():
        for key, values in one.items():
            tolerance = 1e-11 if key.startswith("float64") else 3e-5
            np.testing.assert_allclose(
                values, found["own"][key], rtol=tolerance, atol=tolerance, err_msg=f"{name} {key}"
            )
