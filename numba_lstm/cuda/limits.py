"""What a GPU has kernels for, and how much memory they take."""

from __future__ import annotations

from numba_lstm.parameters import Layout

# Hidden units of a layer, at most: a block has four threads for each, and 1,024 threads.
_MOST_UNITS = 256


def why_not_network(layout: Layout) -> str | None:
    """Return what a network has that there are no kernels for; None if there are."""
    largest = max(layout.hidden_sizes)
    if largest > _MOST_UNITS:
        return (
            f"a layer has {largest} units, and one multiprocessor holds the states of "
            f"{_MOST_UNITS} at most"
        )
    kinds = {
        "proj_size": layout.proj_size > 0,
        "layer_norm": layout.norm,
        "times": layout.decays,
    }
    found = [name for name, there in kinds.items() if there]
    return f"there are no kernels for {' and '.join(found)}" if found else None


def workspace_bytes(layout: Layout, itemsize: int, n_steps: int, n_sequences: int) -> int:
    """Bytes that a step of training takes on the device, beside data and weights.

    Parameters
    ----------
    layout : Layout
        The network's.
    itemsize : int
        Bytes of a number.
    n_steps, n_sequences : int
        Time steps and sequences of the largest batch, of all models together.
    """
    per_step = sum(2 * c.n_inputs + 1 + 8 * c.hidden_size for c in layout.cells)
    per_step += 3 * sum(layout.widths) + layout.head_size + 2 * layout.n_outputs
    per_sequence = sum(12 * cell.hidden_size for cell in layout.cells) + 4 * layout.widths[-1]
    return itemsize * (n_steps * per_step + n_sequences * per_sequence)
