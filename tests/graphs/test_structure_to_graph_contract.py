"""StructureToGraph as a transformer: output, parameters, tags."""

import numpy as np
import sklearn
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.utils import get_tags

from gnnpre.graphs import StructureToGraph

# scikit-learn


def test_set_output_does_nothing(structures, graphs, assert_same_graphs):
    transformer = StructureToGraph(cutoff=4.0)
    assert transformer.set_output(transform="pandas") is transformer
    assert_same_graphs(transformer.fit_transform(structures), graphs)


def test_output_stays_graphs_in_a_pipeline_set_to_pandas(structures, graphs, assert_same_graphs):
    pipeline = make_pipeline(StructureToGraph(cutoff=4.0)).set_output(transform="pandas")
    assert_same_graphs(pipeline.fit_transform(structures), graphs)


def test_output_stays_graphs_under_a_global_setting(structures, graphs, assert_same_graphs):
    with sklearn.config_context(transform_output="pandas"):
        assert_same_graphs(StructureToGraph(cutoff=4.0).fit_transform(structures), graphs)


def test_parameters_survive_clone_and_are_never_touched(structures):
    parameters = {
        "cutoff": 4,
        "max_neighbors": np.int64(5),
        "neighbor_cut": "exact",
        "shell_tolerance": 0,
        "n_jobs": None,
        "device": "cpu",
    }
    transformer = StructureToGraph(**parameters)
    assert transformer.get_params() == parameters
    assert clone(transformer).get_params() == parameters
    transformer.fit(structures).transform(structures)
    assert all(transformer.get_params()[name] is value for name, value in parameters.items())
    assert transformer.transform(structures).cutoff == 4.0


def test_fit_returns_self_and_learns_nothing(structures):
    transformer = StructureToGraph()
    before = dict(vars(transformer))
    assert transformer.fit(structures, y=None) is transformer
    assert vars(transformer) == before


def test_parameters_are_reached_through_a_pipeline(salt):
    pipeline = make_pipeline(StructureToGraph()).set_params(structuretograph__cutoff=3.0)
    assert pipeline.fit_transform([salt]).cutoff == 3.0


def test_tags_say_that_it_takes_no_table_and_needs_no_fit():
    tags = get_tags(StructureToGraph())
    assert not tags.requires_fit
    assert not tags.input_tags.two_d_array
