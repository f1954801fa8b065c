"""The parameters that the estimators share, described once."""

from __future__ import annotations

import inspect
import textwrap
from typing import TypeVar

T = TypeVar("T")

_NETWORK = """
    hidden_size : int or sequence of int, default=32
        Units H of each layer; a sequence has one number for each.
    num_layers : int, default=1
        Number of layers, each of which reads the outputs of the one before.
    bidirectional : bool, default=False
        Whether each layer reads every sequence both ways, with weights for each.
    merge_mode : {"concat", "sum", "mean"}, default="concat"
        What a bidirectional layer makes of its two hidden states.
    go_backwards : bool, default=False
        Whether the layers read every sequence from its last step to its first, only.
    residual : bool, default=False
        Whether each layer's inputs are added to its outputs, from the second layer on: many
        layers train that would not without. All need the same number of outputs.
    bias : bool, default=True
        Whether the gates have biases.
    forget_bias : float, default=1.0
        What the forget gates' biases begin with, if there are any: above 0 a cell remembers
        at first. From -1000 to 1000.
    proj_size : int, default=0
        What each hidden state is projected to, fewer numbers than ``hidden_size``: large
        cells with few weights (PyTorch's proj_size; Sak et al. 2014). 0 for no projection.
    layer_norm : bool, default=False
        Whether the gates' arguments, and the cell on its way to h, are normalised over the
        units (Ba et al. 2016), with gains and shifts that are learned.
    peephole : bool, default=False
        Whether the gates also see the cell, each unit its own: input and forget gate
        c_{t-1}, the output gate c_t (Gers et al. 2002). Such weights begin with 0.
    coupled_gates : bool, default=False
        Whether the forget gate is 1 - i, so that a cell forgets what it makes room for
        (ONNX's input_forget, CIFG). Its own weights are kept, and unused.
    cell_clip : float or None, default=None
        What the activations' arguments are clipped to, as ONNX's clip: [-cell_clip, cell_clip].
    learn_initial_state : bool, default=False
        Whether h_0 and c_0 are learned, one of each for all sequences, or zero.
    pooling : {"last", "mean", "max", "attention"}, default="last"
        What the head sees of a sequence: the hidden state after each direction's last step
        (the first step, where it is read backwards), or the last layer's outputs at all
        steps, as their mean, their maximum, or weighted by learned attention (Bahdanau et
        al. 2015), which puts every step next to the output.
    head_hidden_size : int or None, default=None
        Units of a hidden layer between that and the outputs; None for outputs that are linear.
    head_activation : {"relu", "tanh"}, default="relu"
        Its activation.
    return_sequences : bool, default=False
        Whether y has a target for every time step, or one a sequence.
    dropout : float, default=0.0
        Share of what goes from one layer to the next that is set to zero in training, and
        the rest scaled up. One draw for a sequence holds at all its steps (Gal and
        Ghahramani 2016), as in Keras; PyTorch draws anew at every step.
    input_dropout : float, default=0.0
        The same of the inputs.
    recurrent_dropout : float, default=0.0
        The same of h_{t-1} on its way to the next step.
    zoneout_hidden : float, default=0.0
        Probability that a unit of h stays in a step as it was: drawn anew for each unit and
        step in training, and in proportion afterwards (Krueger et al. 2017).
    zoneout_cell : float, default=0.0
        The same of the cell.
"""

_TRAINING = """
    solver : {"adam", "sgd", "rmsprop", "lbfgs"}, default="adam"
        Optimiser: Adam, stochastic gradient descent with momentum, RMSprop, or SciPy's L-BFGS-B
        on the loss of all data at once, in float64: for small data. An epoch is then an
        iteration, ``loss_curve_`` the loss after each, and of the parameters of training only
        ``alpha``, ``max_iter``, ``tol``, ``memory`` and ``warm_start`` count; dropout, zoneout,
        early stopping, statefulness, truncation and checkpoints are refused.
    learning_rate_init : float, default=0.005
        Learning rate to begin with.
    learning_rate : {"constant", "cosine", "plateau"}, default="constant"
        "cosine" lets it fall to zero over ``max_iter`` epochs, "plateau" halves it
        when the score has not improved for ``n_iter_no_change // 2`` epochs.
    alpha : float, default=0.0001
        Weight decay, decoupled from the gradient as in AdamW; biases do not decay. "lbfgs"
        adds alpha / 2 times the sum of the squares of what decays to the mean loss.
    batch_size : int or "auto", default="auto"
        Sequences in a batch; "auto" is ``min(64, n_samples)``.
    max_iter : int, default=100
        The most epochs.
    shuffle : bool, default=True
        Whether each epoch takes the sequences in a new order.
    stateful : bool, default=False
        Whether the sequences are consecutive pieces of longer ones: in training each goes on
        from the state that its predecessor ended with, ``batch_size`` sequences before it, in
        the order of X, whatever ``shuffle`` says. "auto" is then a ``batch_size`` of 1: pieces
        of a single series. Each epoch begins anew.
    tbptt_steps : int or None, default=None
        Backpropagation through time is truncated to windows of so many steps: each has an
        optimiser step of its own, and the next one goes on from its state. With one target a
        sequence only the last window trains; the others make the state, as in a prediction.
    memory : {"full", "recompute"}, default="full"
        Whether training keeps what every step has computed, or the state of each sqrt(T)-th
        step only, and computes the others twice: the same gradient, for one more forward pass and
        a small part of the memory.
    clip_norm : float or None, default=1.0
        Gradients longer than this are shortened to it; None lets them be.
    early_stopping : bool, default=False
        Whether to stop when the score on validation data no longer improves, and to
        go back to the weights that scored best. Without ``X_val`` in ``fit``, some of the
        sequences are set aside for it.
    validation_fraction : float, default=0.1
        Share of the sequences to set aside.
    validation_split : {"random", "last"} or splitter, default="random"
        Which: a share at random (of each class alike), or the last in the order of X, as a
        stretch of time has to be. Or one of scikit-learn's splitters, the last of whose splits
        is taken: ``TimeSeriesSplit(gap=...)``, ``GroupShuffleSplit(n_splits=1)`` with
        ``groups`` passed to ``fit``, whose random_state is drawn if it is None;
        ``validation_fraction`` is then not looked at.
    n_iter_no_change : int, default=10
        Epochs without an improvement of more than ``tol`` after which training stops.
    tol : float, default=0.0001
        The least change that counts as an improvement: of the validation score with
        early stopping, of the training loss without. "lbfgs" stops when no element of the
        gradient is larger, or a step changes the loss by less than 2e-9 of it.
    momentum : float, default=0.9
        Momentum of "sgd".
    nesterovs_momentum : bool, default=True
        Whether "sgd" takes Nesterov's momentum.
    beta_1, beta_2 : float, default=0.9, 0.999
        Decay rates of the moments of "adam".
    epsilon : float, default=1e-8
        Keeps the denominator of "adam" and "rmsprop" from zero.
    warm_start : bool, default=False
        Whether ``fit`` goes on from the weights, the optimiser's state and the
        standardisation of the fit before.
    checkpoint : str, path-like or None, default=None
        A file that ``fit`` writes its progress to. If the process is killed, the same ``fit``
        in a new one (same data, same parameters) goes on from there, and ends with the
        very weights that it would have ended with; then it removes the file. But for
        ``learning_rate="cosine"`` ``max_iter`` may be another one by then. A file for each
        fit: not for the fits of a search. "lbfgs" writes none, and refuses it.
    checkpoint_every : int or datetime.timedelta, default=1
        After how many epochs it is written, or after how much time at the next end of an
        epoch.
"""

_COMPUTING = """
    dtype : {"float32", "float64"}, default="float32"
        Precision of the weights and of all arithmetic.
    n_jobs : int or None, default=None
        Threads; while fewer are faster, on a busy machine, ``fit`` takes fewer. None
        means all cores (one inside a joblib worker), -1 all cores, -2 all but one. Results do
        not depend on it.
    device : {"cpu", "cuda", "auto"}, default="cpu"
        Where ``fit`` and ``predict`` compute: "cuda" is an NVIDIA GPU (``pip install
        "numba-lstm[cuda]"``; layers of up to 256 units), "auto" takes it where it can be used.
        Results are those of the CPU but for rounding, and weights go from one to the other.
    matmul_precision : {"float32", "tf32", "bf16"}, default="float32"
        On a GPU, what weights and states are rounded to before the recurrence multiplies them:
        with "tf32" (11 bits) and "bf16" (8 bits) its tensor cores (compute capability 8.0)
        take the products. Sums, gates, cells, gradients and weights stay float32. Needs
        ``dtype="float32"``, and ``device="cuda"`` or "auto"; where that is the CPU it is float32.
    random_state : int, RandomState instance or None, default=None
        Source of the first weights, the order of the sequences and the validation
        part. With an int, two fits end with bitwise equal weights.
    verbose : bool or int, default=False
        Whether to print a line after each epoch.
"""

_WEIGHTS = """
    theta_ : ndarray of shape (n_parameters,)
        All weights in one vector; ``parameters_`` has named views on it.
    parameters_ : dict of ndarray
        ``weight_ih_l0`` (4H, F), ``weight_hh_l0`` (4H, H), ``bias_l0`` (4H,) and so on for
        further layers, with "_reverse" behind for the second direction; ``head_weight``
        (K, outputs of the last layer), ``head_bias`` (K,); gates in the order i, f, g, o.
        ``weight_hr_l0`` (proj_size, H) projects, ``peephole_l0`` (3, H) is p_i, p_f and p_o,
        ``norm_gain_l0`` and ``norm_shift_l0`` (5, H) are for i, f, g, o and c,
        ``decay_weight_l0`` (H, H) and ``decay_bias_l0`` for times, ``initial_hidden_l0`` and
        ``initial_cell_l0`` are h_0 and c_0; ``attention_weight``, ``attention_bias`` and
        ``attention_query`` are the pooling's, ``head_hidden_weight`` and
        ``head_hidden_bias`` the hidden layer's.
"""

_TEXTS = {
    "network": _NETWORK,
    "training": _TRAINING,
    "computing": _COMPUTING,
    "weights": _WEIGHTS,
}


def documented(estimator: type[T]) -> type[T]:
    """Fill in ``{network}``, ``{training}``, ``{computing}`` and ``{weights}``."""
    if estimator.__doc__:  # there is none under python -OO
        doc = inspect.cleandoc(estimator.__doc__)  # as Python has it from 3.13 on
        for name, text in _TEXTS.items():
            doc = doc.replace(f"{{{name}}}", textwrap.dedent(text).strip("\n"))
        estimator.__doc__ = doc
    return estimator
