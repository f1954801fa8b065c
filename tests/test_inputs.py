"""What X and y may be: forms, types, names of columns."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.base import clone
from sklearn.utils.validation import _get_feature_names
from small_inputs import X, Y, per_step, small

from numba_lstm import LSTMClassifier, fit_many
from numba_lstm.inputs import check_sequences
from numba_lstm.interop.numpy_predictor import load_predictor
from numba_lstm.missing import MaskedSequences
from numba_lstm.numbers_only import as_numbers
from numba_lstm.sequences import Room

pytestmark = pytest.mark.nojit
DATES = np.datetime64("2024-03-01T12")


@pytest.fixture(scope="module")
def plain():
    return small().fit(X, Y)


def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


def on_disk(array, folder):
    path = folder / "x.npy"
    np.save(path, array)
    return np.load(path, mmap_mode="r")


@pytest.mark.parametrize(
    "form",
    [
        lambda x, _: x.tolist(),
        lambda x, _: list(x),
        lambda x, _: tuple(x),
        lambda x, _: np.asfortranarray(x),
        lambda x, _: x.astype(np.float64),
        lambda x, _: x[::-1][::-1],
        lambda x, _: np.repeat(x, 2, axis=2)[:, :, ::2],
        lambda x, _: x.astype(object),
        lambda x, _: [pd.DataFrame(sequence) for sequence in x],
        lambda x, _: read_only(x),
        on_disk,
    ],
    ids=[
        *("nested lists", "list", "tuple", "Fortran", "float64", "view", "strided", "object"),
        *("frames", "read-only", "memmap"),
    ],
)
def test_every_form_of_x_gives_the_same_model(plain, form, tmp_path):
    model = small().fit(form(X, tmp_path), Y)
    np.testing.assert_array_equal(model.theta_, plain.theta_)
    np.testing.assert_array_equal(model.predict(form(X, tmp_path)), plain.predict(X))


@pytest.mark.parametrize("dtype", [np.float16, np.int8, np.int64, bool, np.uint16])
def test_other_dtypes_are_taken_at_their_value(dtype):
    rough = (X * 3).clip(0).astype(dtype)
    model, same = small().fit(rough, Y), small().fit(rough.astype(np.float64), Y)
    np.testing.assert_array_equal(model.theta_, same.theta_)
    h, _ = model.hidden_states(rough)
    assert h.shape == (12, 4, 2)


def test_two_dimensions_are_one_feature():
    flat = X[:, :, 0]
    model, same = small().fit(flat, Y), small().fit(flat[:, :, np.newaxis], Y)
    np.testing.assert_array_equal(model.theta_, same.theta_)
    assert (model.n_features_in_, same.n_features_in_) == (4, 1)
    np.testing.assert_array_equal(model.predict(flat), same.predict(flat[:, :, np.newaxis]))
    # One feature a step is one feature a step, in whatever form it comes ...
    np.testing.assert_array_equal(model.predict(list(flat)), model.predict(flat))
    assert model.predict([flat[0], flat[1, :2]]).shape == (2,)
    assert same.predict(flat[:, :2]).shape == (12,)
    # ... but columns are features to scikit-learn: another number of them is an error.
    with pytest.raises(ValueError, match="X has 3 features, but LSTMRegressor is expecting 4"):
        model.predict(flat[:, :3])


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame])
def test_frames(frame):
    table = frame({f"hour {t}": X[:, t, 0] for t in range(4)})
    model = small().fit(table, Y)
    np.testing.assert_array_equal(model.theta_, small().fit(X[:, :, 0], Y).theta_)
    if _get_feature_names(table) is None:
        pytest.skip("this scikit-learn sees no names in these frames")
    assert model.feature_names_in_.tolist() == ["hour 0", "hour 1", "hour 2", "hour 3"]
    other = frame({f"day {t}": X[:, t, 0] for t in range(4)})
    with pytest.raises(ValueError, match="feature names"):
        model.predict(other)


def test_series_as_target(plain):
    model = small().fit(X, pd.Series(Y, index=range(100, 112)))
    np.testing.assert_array_equal(model.theta_, plain.theta_)


def test_object_array_and_series_of_sequences():
    ragged = [X[i, : 1 + i % 4] for i in range(12)]
    boxed = np.empty(12, object)
    boxed[:] = ragged
    expected = small().fit(ragged, Y).theta_
    np.testing.assert_array_equal(small().fit(boxed, Y).theta_, expected)
    np.testing.assert_array_equal(small().fit(pd.Series(ragged), Y).theta_, expected)
    univariate = [x[:, 0].tolist() for x in ragged]
    as_arrays = [x[:, :1] for x in ragged]
    np.testing.assert_array_equal(
        small().fit(univariate, Y).theta_, small().fit(as_arrays, Y).theta_
    )


@pytest.mark.parametrize("classifier", [False, True])
def test_series_and_frames_of_targets_at_every_step(classifier):
    ragged, y, model = per_step(classifier)
    shuffled = pd.Series(y, index=range(100, 112))
    assert model.score(ragged, shuffled) == model.score(ragged, y)
    rows = X[:, :, 0] if not classifier else np.where(X[:, :, 0] > 0, "up", "down")
    fresh = clone(model).set_params(random_state=0)
    framed = clone(fresh).fit(X, pd.DataFrame(rows)).theta_
    np.testing.assert_array_equal(framed, fresh.fit(X, rows).theta_)


def test_gather_copies_only_what_it_is_asked_for(tmp_path):
    sequences = check_sequences(on_disk(X, tmp_path))
    assert np.shares_memory(sequences.data, sequences.data.base)
    values, starts = sequences.gather(np.array([5, 2]))
    np.testing.assert_array_equal(values, X[[5, 2]].reshape(8, 2))
    assert starts.tolist() == [0, 4]
    assert values.flags.writeable


@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize("kind", [np.float32, np.int64, "lists"])
def test_batches_that_are_copied_take_turns_in_one_place(kind, gaps):
    """And hold what they do in places of their own, also when the next one is longer."""
    data = [x[: 1 + i % 4] for i, x in enumerate(X)]
    data = data if kind == "lists" else np.repeat(10 * X, 2, axis=1).astype(kind)[:, ::2]
    sequences = check_sequences(data)
    sequences = MaskedSequences(sequences, np.zeros(2)) if gaps else sequences
    room, places = Room(), []
    for index in ([1, 4], [3, 2, 1], [3, 6, 5, 2], [7, 2, 5], [0]):
        index = sequences.by_length(np.array(index))
        batch, alone = sequences.batch(index, room), sequences.batch(index)
        np.testing.assert_array_equal(batch.values, alone.values)
        np.testing.assert_array_equal(batch.starts, alone.starts)
        assert batch.values.dtype == alone.values.dtype
        assert batch.values.flags.carray
        places.append(batch.values)
    assert all(np.shares_memory(places[2], later) for later in places[3:])


@pytest.mark.nojit
@pytest.mark.parametrize("kind", ["float32", "float64", "int16", "mixed", "strided", "big-endian"])
def test_sequences_of_a_list_are_copied_together_epoch_after_epoch(kind):
    """From the second one on by their addresses, if they are all alike."""
    rng, lengths = np.random.default_rng(0), [3, 1, 7, 2, 5]
    X = [(9 * rng.standard_normal((T, 4))).astype("f4") for T in lengths]
    if kind == "mixed":
        X[2] = X[2].astype("f8")
    elif kind == "strided":
        X = [np.repeat(x, 2, axis=0)[::2] for x in X]
    else:
        X = [x.astype({"big-endian": ">f4"}.get(kind, kind)) for x in X]
    sequences = check_sequences(X)
    for _ in range(8):
        index = rng.permutation(len(X))[:4]
        values, starts = sequences.gather(index)
        np.testing.assert_array_equal(values, np.concatenate([X[i] for i in index]))
        np.testing.assert_array_equal(np.diff(starts), [lengths[i] for i in index[:-1]])
        X[index[0]][0] += 1  # the arrays are read where they are
    assert (sequences._places is not None) == (kind in ("float32", "float64"))


@pytest.mark.nojit
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_batch_reads_the_data_where_they_lie(dtype):
    data = np.ascontiguousarray(X, dtype)
    index = np.array([5, 2])
    batch = check_sequences(data).batch(index)
    assert np.shares_memory(batch.values, data)
    assert batch.starts.tolist() == [20, 8]
    assert batch.lengths.tolist() == [4, 4]
    read_only = data.copy()
    read_only.flags.writeable = False
    swapped = data.astype(data.dtype.newbyteorder())
    strided = np.repeat(data, 2, axis=1)[:, ::2]
    for other in (read_only, swapped, strided, list(data), data.astype(np.float16)):
        copied = check_sequences(other).batch(index)
        assert not np.shares_memory(copied.values, np.asarray(other))
        assert copied.starts.tolist() == [0, 4]
        np.testing.assert_allclose(copied.values, data[index].reshape(8, 2), rtol=1e-3)


def test_names_are_forgotten_in_a_new_fit():
    flat = X[:, :, 0]
    model = small().fit(pd.DataFrame(flat, columns=list("abcd")), Y)
    model.fit(flat, Y)
    assert not hasattr(model, "feature_names_in_")


def test_names_of_frames_in_a_list():
    frames = [pd.DataFrame(x, columns=["load", "heat"]) for x in X]
    model = small().fit(frames, Y)
    assert model.feature_names_in_.tolist() == ["load", "heat"]
    np.testing.assert_array_equal(model.predict(frames), model.predict(X))
    with pytest.raises(ValueError, match="feature names should match"):
        model.predict([frame[["heat", "load"]] for frame in frames])
    with pytest.raises(ValueError, match=r"X\[1\] has the columns .* same order"):
        small().fit([frames[0], frames[1][["heat", "load"]], *frames[2:]], Y)


def test_what_is_masked_is_missing():
    masked = np.ma.masked_array(X, X > 1)
    filled = np.where(X > 1, np.nan, X).astype(X.dtype)
    for given, same in ((masked, filled), (list(masked), list(filled))):
        models = [small(missing="mask").fit(x, Y) for x in (given, same)]
        np.testing.assert_array_equal(models[0].theta_, models[1].theta_)
        np.testing.assert_array_equal(models[0].predict(given), models[0].predict(same))
    whole = np.ma.masked_array(np.arange(24).reshape(12, 2), [[False, False], [False, True]] * 6)
    assert np.isnan(as_numbers(whole, "X")).sum() == 6
    targets = np.ma.masked_array(X[:, :, 0], X[:, :, 1] > 0)
    models = [small(return_sequences=True).fit(X, y) for y in (targets, targets.filled(np.nan))]
    np.testing.assert_array_equal(models[0].theta_, models[1].theta_)


def test_what_is_masked_is_missing_in_streams_files_and_times(tmp_path):
    numbers = np.round(10 * X)
    masked = np.ma.masked_array(numbers.astype(int), numbers > 5)
    filled = np.where(numbers > 5, np.nan, numbers)
    times = np.arange(4.0)
    hidden = np.ma.masked_array(np.tile(times, (12, 1)), numbers[:, :, 0] > 5)
    model = small(missing="mask").fit(masked, Y)
    streams = model.stream(12), model.stream(12)
    for t in range(4):
        found = [s.step(x[:, t]) for s, x in zip(streams, (masked, filled), strict=True)]
        np.testing.assert_array_equal(*found)
    model.save(tmp_path / "model")
    predictor = load_predictor(tmp_path / "model")
    for given, same in ((masked, filled), (list(masked), list(filled))):
        np.testing.assert_array_equal(predictor.predict(given), predictor.predict(same))
        np.testing.assert_allclose(predictor.predict(given), model.predict(masked), atol=1e-5)
    for given in (hidden, hidden.astype(int), DATES + hidden.astype("m8[h]")):
        with pytest.raises(ValueError, match="is not finite at time step"):
            small().fit(X, Y, times=given)


def test_labels_that_are_masked_are_not_known():
    codes = np.digitize(X[:, :, 0], [-0.5, 0.5])
    labels = np.ma.masked_array(codes, X[:, :, 1] > 0.5)
    gaps = np.where(X[:, :, 1] > 0.5, np.nan, codes)
    model = LSTMClassifier(3, max_iter=2, random_state=0, return_sequences=True)
    curves = [clone(model).fit(X, y).loss_curve_ for y in (labels, list(labels), gaps, codes)]
    assert curves[0] == curves[1] == curves[2] != curves[3]
    with pytest.raises(ValueError, match="y is masked for sequence"):
        LSTMClassifier(3).fit(X, labels[:, 0])


@pytest.mark.parametrize("classifier", [False, True])
@pytest.mark.parametrize("fit", [type(small()).fit, lambda model, *data: fit_many([model], *data)])
def test_warnings_point_to_who_called(classifier, fit):
    """One of a column of targets, one of labels that look like those of steps."""
    model, y = small(), Y[:, np.newaxis]
    if classifier:
        model, y = LSTMClassifier(3, max_iter=1), np.tile([0, 1, 1, 0], (12, 1))
    with pytest.warns(UserWarning, match="column-vector" * (not classifier)) as found:
        fit(model, X, y)
    assert [one.filename for one in found] == [__file__]


def test_frames_in_a_list_of_other_columns():
    """Numbers of any kind are read at once; whatever else is there takes the longer way."""
    frames = [pd.DataFrame(np.round(x), columns=["a", "b"]) for x in X]
    expected = small().fit([np.round(x) for x in X], Y).predict([np.round(x) for x in X])
    for kind in ("float32", "int8", "Int64"):
        given = [frame.astype(kind) for frame in frames]
        np.testing.assert_allclose(small().fit(given, Y).predict(given), expected, rtol=1e-6)
    mixed = [frame.astype({"a": "int64"}) for frame in frames]
    np.testing.assert_allclose(small().fit(mixed, Y).predict(mixed), expected, rtol=1e-6)
    flags = [frame > 0 for frame in frames]
    assert small().fit(flags, Y).n_features_in_ == 2
    with pytest.raises(TypeError, match="column 'b'"):
        small().fit([f.assign(b=pd.Timestamp("2024-01-01")) for f in frames], Y)


def test_a_buffer():
    table = np.ascontiguousarray(X[:, :, 0])
    np.testing.assert_array_equal(
        small().fit(memoryview(table), Y).theta_, small().fit(table, Y).theta_
    )
