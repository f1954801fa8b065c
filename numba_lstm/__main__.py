"""``python -m numba_lstm``: a demonstration on real data."""

import argparse

from numba_lstm import demo

if __name__ == "__main__":
    description = " ".join(demo.__doc__.split())
    argparse.ArgumentParser(prog="python -m numba_lstm", description=description).parse_args()
    demo.main()
