"""Small bundled data sets and the synthetic tasks of the LSTM literature."""

from numba_lstm.datasets.real import load_bike_sharing, load_japanese_vowels
from numba_lstm.datasets.synthetic import make_adding_problem

__all__ = ["load_bike_sharing", "load_japanese_vowels", "make_adding_problem"]
