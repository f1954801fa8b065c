"""One process for each library that peers.py compares."""
