"""The cache of pipelines: equal content hits, any difference misses, two processes share it."""

import pickle
import subprocess
import sys
from copy import deepcopy

import numpy as np
import pytest
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.validation import check_memory

from gnnpre import CGCNN, EAD, Denoising, Pretrainer, StructureToGraph
from gnnpre.datasets import make_emt_property
from gnnpre.exceptions import StorageWarning
from gnnpre.model_selection import ContentMemory


class Counting(TransformerMixin, BaseEstimator):
    """Counts its calls, of which a cached one is none."""

    calls = 0

    def __init__(self, cutoff=4.0):
        self.cutoff = cutoff

    def fit(self, X, y=None):
        Counting.calls += 1
        self.fitted_ = True
        return self

    def transform(self, X):
        return EAD(self.cutoff, pooling="mean").transform(X)


@pytest.fixture(autouse=True)
def _from_zero(monkeypatch):
    monkeypatch.setattr(Counting, "calls", 0)


@pytest.fixture(scope="module")
def data():
    return make_emt_property(12, random_state=0)


@pytest.fixture
def memory(tmp_path):
    return ContentMemory(tmp_path / "cache")


def use(structures):
    """Call what caches something in a structure, and changes its pickle."""
    for structure in structures:
        _ = structure.volume, structure.cart_coords, structure.get_neighbor_list(3.0)


# Pipelines


def test_structures_that_were_used_still_hit(data, memory):
    structures, y = deepcopy(data)
    model = make_pipeline(Counting(), Ridge(), memory=memory)
    first = model.fit(structures, y).predict(structures)
    use(structures)
    again = clone(model).fit(structures, y)
    assert Counting.calls == 1
    np.testing.assert_array_equal(again.predict(structures), first)
    assert again[0].fitted_


def test_a_plain_path_misses_them(data, tmp_path):
    """What makes the class worth having; joblib hashes the pickle."""
    structures, y = deepcopy(data)
    model = make_pipeline(Counting(), Ridge(), memory=str(tmp_path))
    model.fit(structures, y)
    use(structures)
    clone(model).fit(structures, y)
    assert Counting.calls == 2


def test_parameters_of_the_steps_count(data, memory):
    model = make_pipeline(Counting(), Ridge(), memory=memory)
    model.fit(*data)
    model.set_params(ridge__alpha=10.0).fit(*data)
    assert Counting.calls == 1
    model.set_params(counting__cutoff=3.0).fit(*data)
    assert Counting.calls == 2
    model.set_params(counting__cutoff=4.0).fit(*data)
    assert Counting.calls == 2


def test_a_search_computes_each_setting_once_a_fold(data, memory):
    model = make_pipeline(Counting(), Ridge(), memory=memory)
    grid = {"counting__cutoff": [3.0, 4.0], "ridge__alpha": [0.1, 1.0, 10.0]}
    search = GridSearchCV(model, grid, cv=3).fit(*data)
    # Two cutoffs, three folds and, of the best, all.
    assert Counting.calls == 2 * 3 + 1
    plain = GridSearchCV(make_pipeline(Counting(), Ridge()), grid, cv=3).fit(*data)
    np.testing.assert_array_equal(
        search.cv_results_["mean_test_score"], plain.cv_results_["mean_test_score"]
    )


def test_graphs_and_networks(data, memory):
    steps = [StructureToGraph(cutoff=4.0), Pretrainer(CGCNN(8, 1), Denoising(), max_epochs=1)]
    steps[1].set_params(random_state=0)
    model = make_pipeline(*steps, Ridge(), memory=memory).fit(*data)
    labels = [entry.label for entry in memory.entries()]
    assert len(labels) == 2
    assert labels[1] == "StructureToGraph(cutoff=4.0) of list of 12"
    again = clone(model).fit(*data)
    np.testing.assert_array_equal(again.predict(data[0]), model.predict(data[0]))
    assert len(memory.entries()) == 2


def test_what_a_frozen_model_learnt_counts(data, memory):
    embedding = Pretrainer(CGCNN(8, 1), Denoising(), max_epochs=1, random_state=0)
    frozen = FrozenEstimator(embedding.fit(data[0]))
    for model in (frozen, deepcopy(frozen), pickle.loads(pickle.dumps(frozen))):
        make_pipeline(model, Ridge(), memory=memory).fit(*data)
    assert len(memory.entries()) == 1
    other = deepcopy(frozen)
    other.estimator.net_.module_.head.requires_grad_(False)
    next(other.estimator.net_.module_.parameters()).data += 1.0
    make_pipeline(other, Ridge(), memory=memory).fit(*data)
    assert len(memory.entries()) == 2


def test_two_jobs(data, memory):
    model = make_pipeline(EAD(4.0, pooling="mean"), Ridge(), memory=memory)
    scores = [cross_val_score(model, *data, cv=3, n_jobs=n_jobs) for n_jobs in (2, 1)]
    np.testing.assert_array_equal(*scores)
    assert len(memory.entries()) == 3


# The object


def test_is_a_memory_for_scikit_learn(memory):
    assert check_memory(memory) is memory
    assert deepcopy(memory).location == memory.location
    assert pickle.loads(pickle.dumps(memory)).location == memory.location
    assert repr(memory) == f"ContentMemory({memory.location!r})"


#: Not in a closure, whose content counts.
CALLS: list[int] = []


def test_decorators_and_ignored_arguments(memory):
    CALLS.clear()

    @memory.cache(ignore=["verbose"])
    def double(x, verbose=False):
        CALLS.append(x)
        return 2 * x

    assert [double(2), double(2, verbose=True), double(x=2), double(3)] == [4, 4, 4, 6]
    assert CALLS == [2, 3]
    assert double.check_call_in_cache(2)
    assert not double.check_call_in_cache(4)


def power(exponent):
    def raised(x):
        return x**exponent

    return raised


class Scaler:
    def __init__(self, factor):
        self.factor = factor

    def apply(self, x, *, shift=0):
        return self.factor * x + shift


def test_what_a_function_brings_along_counts(memory):
    assert [memory.cache(power(exponent))(3) for exponent in (2, 3, 2)] == [9, 27, 9]
    assert [memory.cache(Scaler(factor).apply)(3) for factor in (2, 10, 2)] == [6, 30, 6]
    functions = [lambda x, y=y: x + y for y in (1, 2)]
    assert [memory.cache(function)(3) for function in functions] == [4, 5]
    X, y = np.array([[1.0], [2.0]]), np.array([0.0, 1.0])
    for factor in (1.0, 100.0):
        step = FunctionTransformer(Scaler(factor).apply)
        cached = make_pipeline(step, Ridge(), memory=memory).fit(X, y).predict(X)
        np.testing.assert_array_equal(cached, make_pipeline(step, Ridge()).fit(X, y).predict(X))


def test_result_that_pickle_cannot_write_is_returned_with_a_warning(memory):
    pipeline = make_pipeline(FunctionTransformer(lambda X: 2 * X), Ridge(), memory=memory)
    with pytest.warns(StorageWarning, match="Only what pickle can write is cached"):
        pipeline.fit(np.array([[1.0], [2.0]]), [0.0, 1.0])


def test_arguments_without_a_length(memory):
    @memory.cache
    def double(x):
        return 2 * x

    assert double(np.array(2.0)) == double(np.array(2.0)) == 4.0
    assert "double(ndarray)" in memory.entries()[0].label


def test_entries_and_clear(data, memory, tmp_path):
    assert memory.entries() == []
    make_pipeline(EAD(4.0, pooling="mean"), Ridge(), memory=memory).fit(*data)
    make_pipeline(EAD(3.0, pooling="mean"), Ridge(), memory=memory).fit(*data)
    newest, oldest = memory.entries()
    assert newest.label == "EAD(cutoff=3.0, pooling='mean') of list of 12"
    assert oldest.created <= newest.created
    table = EAD(4.0, pooling="mean").transform(data[0])
    assert table.nbytes < oldest.size < table.nbytes + 10_000
    assert 0 <= oldest.seconds < 60
    kept = tmp_path / "cache" / "notes.txt"
    kept.write_text("not ours")
    memory.clear()
    assert memory.entries() == []
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["notes.txt"]
    with pytest.warns(UserWarning, match="Clearing the cache"):
        memory.clear(warn=True)


def test_a_spoilt_entry_is_computed_anew(memory, tmp_path):
    double = memory.cache(deepcopy)
    double([1, 2])
    (path,) = (tmp_path / "cache").glob("*/result.joblib")
    path.write_bytes(path.read_bytes()[:5])
    with pytest.warns(UserWarning, match="computed anew"):
        assert double([1, 2]) == [1, 2]
    assert double([1, 2]) == [1, 2]


def test_an_error_is_not_kept(memory):
    with pytest.raises(ValueError, match="invalid literal"):
        memory.cache(parse)("three")
    assert memory.entries() == []


def parse(text):
    return int(text)


def test_memory_mapped_results(tmp_path):
    memory = ContentMemory(tmp_path, mmap_mode="r")
    ones = memory.cache(make_ones)
    ones(1000)
    assert isinstance(ones(1000), np.memmap)


def make_ones(n):
    return np.ones(n)


def test_whoever_comes_second_finds_the_first(memory):
    """Both have missed; the second one's result is dropped, and nothing is left behind."""

    @memory.cache
    def outer(x):
        memory._store(outer._describe((x,), {})[0], "by another process", "first", 0.0)
        return "second"

    assert outer(1) == "second"
    assert outer(1) == "first"
    assert [entry.label for entry in memory.entries()] == ["by another process"]
    assert len(list(memory._folders())) == 1


def test_many_processes_at_once(tmp_path):
    code = (
        "import sys, numpy as np\n"
        "from gnnpre.model_selection import ContentMemory\n"
        "def work(i):\n    return np.full(20_000, float(i))\n"
        "cached = ContentMemory(sys.argv[1]).cache(work)\n"
        "for _ in range(3):\n"
        "    for i in range(30):\n"
        "        assert (cached(i) == i).all()\n"
    )
    command = [sys.executable, "-W", "error::UserWarning", "-c", code, str(tmp_path)]
    started = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    for process in started:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    assert len(ContentMemory(tmp_path).entries()) == 30


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [((None,), TypeError, "location=None"), (("a", "w+"), TypeError, "positional")],
)
def test_bad_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        ContentMemory(*arguments)
    with pytest.raises(ValueError, match="mmap_mode='w'"):
        ContentMemory("a", mmap_mode="w")


def test_a_full_disk_warns_and_the_result_is_returned(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    memory = ContentMemory(tmp_path)
    monkeypatch.setattr("gnnpre.model_selection._cache._memory.joblib.dump", fail)
    with pytest.warns(StorageWarning, match=r"cannot be written to the cache .*No space left"):
        assert memory.cache(sorted)([3, 1, 2]) == [1, 2, 3]
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    assert memory.cache(sorted)([3, 1, 2]) == [1, 2, 3]
    assert len(memory.entries()) == 1


def test_a_folder_that_cannot_be_made_warns(tmp_path):
    (tmp_path / "file").write_text("")
    memory = ContentMemory(tmp_path / "file" / "cache")
    with pytest.warns(StorageWarning, match="cannot be written"):
        assert memory.cache(len)([1, 2]) == 2


@pytest.mark.parametrize(
    "about",
    ["{}", "[]", "3", "null", '{"label": "a"}', "{", "\x00", '{"created": 3}', "[" * 100_000],
)
def test_an_entry_with_a_damaged_description_is_left_out(tmp_path, about):
    memory = ContentMemory(tmp_path)
    cached = memory.cache(len)
    assert cached([1, 2, 3]) == cached([4, 5]) + 1
    first = memory._folder(memory.entries()[0].key)
    (first / "about.json").write_text(about)
    assert len(memory.entries()) == 1
    memory.clear()
    assert list(tmp_path.iterdir()) == []
