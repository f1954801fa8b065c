"""The examples in docstrings, README and docs run and print what they say."""

import doctest
import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import numba_lstm

ROOT = Path(__file__).parent.parent
MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(numba_lstm.__path__, "numba_lstm.")
    if not module.name.endswith("__main__")
)
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("name", ["numba_lstm", *MODULES])
def test_docstrings(name):
    found = doctest.testmod(importlib.import_module(name))
    assert found.failed == 0


def test_there_are_examples_to_run():
    finder = doctest.DocTestFinder()
    examples = [
        test
        for name in MODULES
        for test in finder.find(importlib.import_module(name))
        if test.examples
    ]
    assert len(examples) >= 5


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages(page, monkeypatch, tmp_path):
    """All Python blocks of a page, one after another, in one namespace."""
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    for block in re.findall(r"^```python\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE):
        exec(compile(block, page.name, "exec"), names)
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_equations_are_numbered_as_in_the_code():
    """docs/equations.md has every equation that the docstrings cite."""
    text = (ROOT / "docs" / "equations.md").read_text()
    cited = set()
    for path in (ROOT / "numba_lstm").rglob("*.py"):
        cited |= set(re.findall(r"[Ee]quations? \((\d+)\)", path.read_text()))
    assert cited
    for number in cited:
        assert f"\\tag{{{number}}}" in text


def test_public_names_have_documentation():
    for name in numba_lstm.__all__:
        if name != "__version__":
            assert "Parameters\n" in getattr(numba_lstm, name).__doc__


def test_parameters_are_documented_with_their_defaults():
    import inspect

    for name in ("LSTMRegressor", "LSTMClassifier"):
        estimator = getattr(numba_lstm, name)
        text = " ".join(inspect.getdoc(estimator).split())
        for parameter in inspect.signature(estimator).parameters.values():
            default = str(parameter.default) if not isinstance(parameter.default, str) else (
                f'"{parameter.default}"'
            )  # fmt: skip
            if parameter.name in ("beta_1", "beta_2"):
                assert "beta_1, beta_2 : float, default=0.9, 0.999" in text
                continue
            found = re.search(rf"\b{parameter.name} : .*?default=(\S+)", text)
            assert found, parameter.name
            assert found[1] == default or float(found[1]) == float(default), parameter.name
