"""The scikit-learn surface of the library."""
