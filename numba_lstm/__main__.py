"""``python -m numba_lstm``: a demonstration on real data."""

from numba_lstm.demo import main

if __name__ == "__main__":
    main()
