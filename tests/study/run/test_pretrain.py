"""Pre-trainings in a study."""

import dataclasses
import json

import numpy as np
from pymatgen.core import Lattice, Structure

from gnnpre import Pretrainer, StructureToGraph
from gnnpre.study import run_study
from gnnpre.study.run._pretrain import formulas_of
from study.small_studies import records_of, small_study, write_table


def write_three_compounds(path):
    """Write five crystals of each of three formulas, the lattice constant their property."""
    rows = [
        [Structure(Lattice.cubic(a), [x, "Cu"], [[0, 0, 0], [0.5, 0.5, 0.5]]).as_dict(), a]
        for x in ("Al", "Ag", "Au")
        for a in np.linspace(2.8, 3.3, 5)
    ]
    table = {"index": list(range(15)), "columns": ["structure", "a"], "data": rows}
    path.write_text(json.dumps(table))
    return path


def test_crystals_of_one_formula_are_on_one_side_of_the_validation_split(tmp_path):
    path = write_three_compounds(tmp_path / "three.json")
    study = small_study(path, pretraining={"max_epochs": 1, "validation_fraction": 0.34})
    run_study(study, tmp_path / "run", only=["noise"])
    (record,) = [r for r in records_of(tmp_path / "run").values() if r["kind"] == "pretraining"]
    # Two of three formulas; 0.34 of the crystals alone would be six.
    assert (record["n_train"], record["n_valid"]) == (5, 10)


def test_formulas_are_those_of_the_crystals():
    structures = [
        Structure(Lattice.cubic(4), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]),
        Structure(Lattice.cubic(3), ["Cu"], [[0, 0, 0]]),
    ]
    graphs = StructureToGraph(cutoff=3.5).fit_transform(structures)
    assert formulas_of(graphs).tolist() == ["NaCl", "Cu"]


def test_weights_are_those_of_the_estimator_alone(tmp_path):
    path = write_table(tmp_path / "alloys.json", 12)
    study = small_study(path)
    settings = {"validation_fraction": 0.3}
    noise = dataclasses.replace(study.pretrainings[0], random_state=7, settings=settings)
    run_study(dataclasses.replace(study, pretrainings=[noise]), tmp_path / "run", only=["noise"])
    (weights,) = (tmp_path / "run/pretrained").iterdir()
    loaded = Pretrainer.load(weights)
    structures = [Structure.from_dict(row[0]) for row in json.loads(path.read_text())["data"]]
    graphs = StructureToGraph(cutoff=3.5).fit_transform(structures)
    own = Pretrainer(
        study.backbones[0].backbone,
        noise.objective,
        max_epochs=2,
        batch_size=8,
        random_state=7,
        **settings,
    ).fit(graphs, groups=formulas_of(graphs))
    np.testing.assert_array_equal(loaded.transform(graphs), own.transform(graphs))
