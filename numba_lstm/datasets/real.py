"""The bundled real data; their origins and licences are in data/SOURCES.md."""

from __future__ import annotations

import bz2
from importlib import resources

import numpy as np
from sklearn.utils import Bunch


def _load(name: str) -> dict[str, np.ndarray]:
    path = resources.files("numba_lstm.datasets").joinpath("data", name)
    with path.open("rb") as file, np.load(file) as arrays:
        return dict(arrays)


def load_bike_sharing() -> Bunch:
    """Load the hourly users of a bike-sharing system, 2011 and 2012.

    Returns
    -------
    Bunch
        ``time`` (17544,) the hours, datetime64; ``users`` (17544,) float32;
        ``exog`` (17544, 9) float32 weather and calendar, named by ``exog_names``;
        ``weather`` (17544,) codes into ``weather_names``.

    References
    ----------
    Fanaee-T (2013), "Bike Sharing", UCI Machine Learning Repository, CC BY 4.0.

    Examples
    --------
    >>> from numba_lstm.datasets import load_bike_sharing
    >>> load_bike_sharing().exog.shape
    (17544, 9)
    """
    arrays = _load("bike_sharing.npz")
    start = np.datetime64("2011-01-01T00", "h")
    time = start + np.arange(len(arrays["users"])).astype("timedelta64[h]")
    names = {name: arrays.pop(name).tolist() for name in ("exog_names", "weather_names")}
    return Bunch(time=time, **arrays, **names)


def load_japanese_vowels() -> tuple[list[np.ndarray], list[np.ndarray], np.ndarray, np.ndarray]:
    """Load utterances of nine speakers: sequences of different lengths, nine classes.

    Returns
    -------
    X_train, X_test : list of 270 and 370 ndarray of shape (T_i, 12)
        LPC cepstrum coefficients, float32, 7 to 29 time steps.
    y_train, y_test : ndarray of shape (270,) and (370,)
        The speakers, 1 to 9.

    References
    ----------
    Kudo, Toyama and Shimbo (1999), "Multidimensional curve classification using
    passing-through regions", Pattern Recognition Letters 20; UCI Machine Learning
    Repository, CC BY 4.0.

    Examples
    --------
    >>> from numba_lstm.datasets import load_japanese_vowels
    >>> X_train, X_test, y_train, y_test = load_japanese_vowels()
    >>> len(X_train), X_train[0].shape, int(y_train[0])
    (270, (20, 12), 1)
    """
    arrays = _load("japanese_vowels.npz")
    sequences = np.split(arrays["X"], np.cumsum(arrays["lengths"])[:-1])
    is_test, y = arrays["is_test"], arrays["y"]
    train = [sequence for sequence, test in zip(sequences, is_test, strict=True) if not test]
    test = [sequence for sequence, test in zip(sequences, is_test, strict=True) if test]
    return train, test, y[~is_test], y[is_test]


def load_jsb_chorales() -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]]:
    """Load Bach's chorales as piano rolls: which keys sound, crotchet by crotchet.

    Returns
    -------
    train, validation, test : list of 229, 76 and 77 ndarray of shape (T_i, 88)
        1 where a key sounds and else 0, uint8, from the lowest key on; 25 to 160 time steps.

    References
    ----------
    Boulanger-Lewandowski, Bengio and Vincent, "Modeling temporal dependencies in
    high-dimensional sequences", ICML 2012; the arrays of Bai, Kolter and Koltun, 2018.

    Examples
    --------
    What sounds next is a target of several labels at every step:

    >>> from numba_lstm.datasets import load_jsb_chorales
    >>> train, validation, test = load_jsb_chorales()
    >>> X, y = [roll[:-1] for roll in train], [roll[1:] for roll in train]
    >>> len(X), X[0].shape == y[0].shape
    (229, True)
    """
    arrays = _load("jsb_chorales.npz")
    rolls = np.unpackbits(arrays["X"], axis=1)[:, :88]
    sequences = np.split(rolls, np.cumsum(arrays["lengths"])[:-1])
    parts: tuple[list[np.ndarray], ...] = ([], [], [])
    for sequence, part in zip(sequences, arrays["split"], strict=True):
        parts[part].append(sequence)
    train, validation, test = parts
    return train, validation, test


def load_tiny_shakespeare() -> str:
    """Load a million characters of Shakespeare's plays.

    By custom the first 90 % are for training and the last 10 % for testing.

    Returns
    -------
    str
        1,115,394 characters, 65 different ones.

    References
    ----------
    Karpathy, "The unreasonable effectiveness of recurrent neural networks", 2015.

    Examples
    --------
    >>> from numba_lstm.datasets import load_tiny_shakespeare
    >>> text = load_tiny_shakespeare()
    >>> text[:14], len(text), len(set(text))
    ('First Citizen:', 1115394, 65)
    """
    path = resources.files("numba_lstm.datasets").joinpath("data", "tiny_shakespeare.txt.bz2")
    return bz2.decompress(path.read_bytes()).decode("ascii")
