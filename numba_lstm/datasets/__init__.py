"""Small bundled data sets and the synthetic tasks of the LSTM literature."""

from numba_lstm.datasets.real import (
    load_bike_sharing,
    load_japanese_vowels,
    load_jsb_chorales,
    load_tiny_shakespeare,
)
from numba_lstm.datasets.symbols import make_embedded_reber, make_temporal_order
from numba_lstm.datasets.synthetic import make_adding_problem

__all__ = [
    "load_bike_sharing",
    "load_japanese_vowels",
    "load_jsb_chorales",
    "load_tiny_shakespeare",
    "make_adding_problem",
    "make_embedded_reber",
    "make_temporal_order",
]
