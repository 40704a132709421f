"""Which crystals pre-trainings have seen, and with which labels."""

import json

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from gnnpre import EAD, Denoising, FingerprintTargets, ForceField, Mixture, PropertyTargets
from gnnpre.study import DataSet, Pretraining, Strategy, run_study, write_report
from gnnpre.study.run._audit import label_masks
from gnnpre.study.run._pools import read_pool
from study.small_studies import small_study, write_frames

SITES = [[0, 0, 0], [0.5, 0.5, 0.5]]


def pair(element: str, a: float) -> Structure:
    return Structure(Lattice.cubic(a), [element, "Cu"], SITES)


def write(path, structures, **columns):
    rows = [
        [s.as_dict(), *values] for s, *values in zip(structures, *columns.values(), strict=True)
    ]
    table = {"index": list(range(len(rows))), "columns": ["structure", *columns], "data": rows}
    path.write_text(json.dumps(table))
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Evaluate on three compounds, of which pre-training saw one in another cell and volume."""
    home = tmp_path_factory.mktemp("audit")
    tested = [pair(x, a) for x in ("Al", "Ag", "Au") for a in np.linspace(2.9, 3.3, 6)]
    data = write(home / "tested.json", tested, K=[s.volume for s in tested])
    others = [pair(x, 3.0) for x in ("Ni", "Pd", "Pt", "Li")]
    seen = [pair("Al", 3.7) * (2, 1, 1), *others]
    source = write(home / "seen.json", seen, gap=[1.0, *[None] * 4], energy=[None, 1, 2, 3, 4])
    parts = [("ead", FingerprintTargets(EAD()), 1.0), ("gap", PropertyTargets(), 1.0)]
    parts += [("energy", PropertyTargets(), 1.0)]
    mixed = Pretraining(name="mixed", objective=Mixture(parts), sources=[str(source)])
    study = small_study(
        data,
        data=[DataSet(name="pairs", path=data)],
        pretrainings=[mixed],
        strategies=[Strategy(name="scratch"), Strategy(name="mixed", pretraining="mixed")],
        baselines=["mean"],
        seeds=[1, 2, 3],
        pretraining={"max_epochs": 1, "validation_fraction": 0.4},
        finetuning={"max_epochs": 1},
    )
    assert run_study(study, home / "run").failed == {}
    return study, home / "run"


def test_crystals_of_the_same_structure_are_seen_whatever_their_cell_and_volume(folder):
    (path,) = (folder[1] / "leaks").glob("*.json")
    audit = json.loads(path.read_text())
    assert audit["seen"] == [0, 1, 2, 3, 4, 5]
    assert (audit["pretraining"], audit["n_pretraining"]) == ("mixed", 5)


def test_labels_are_those_that_the_same_structure_has(folder):
    (path,) = (folder[1] / "leaks").glob("*.json")
    # The aluminium compound has a gap; the energies are those of others.
    assert json.loads(path.read_text())["labels"] == {"gap": [0, 1, 2, 3, 4, 5], "energy": []}


def test_report_has_each_table_on_the_other_crystals_too(folder):
    write_report(folder[1])
    text = (folder[1] / "report.md").read_text()
    assert "| pairs | mixed | 5 | 6 of 18 | gap 6 |" in text
    assert "## Mean absolute error on crystals that no pre-training has seen" in text
    assert "## Improvement over scratch on crystals that no pre-training has seen, %" in text


def test_leak_keys_of_older_weights_are_made_when_they_are_needed(folder):
    study, home = folder
    (path,) = (home / "leaks").glob("*.json")
    before = path.read_text()
    path.unlink()
    for keys in (home / "leaks").glob("*.keys"):
        keys.unlink()
    for item in sorted((home / "records").iterdir()):
        content = json.loads(item.read_text())
        if (content["strategy"], content["seed"], content["kind"]) == ("mixed", 1, "evaluation"):
            item.unlink()
    run_study(study, home)
    assert path.read_text() == before


def test_labels_of_frames_are_energies_forces_and_stresses(tmp_path):
    path = write_frames(tmp_path / "frames.extxyz")
    declared = Pretraining(name="f", objective=ForceField(), sources=[str(path)])
    pool = read_pool(declared, [path], (), 1)
    masks = label_masks(declared.objective, pool, None)
    assert {name: int(mask.sum()) for name, mask in masks.items()} == {
        "energy": 11,
        "forces": 11,
        "stress": 11,
    }
    assert label_masks(Denoising(), pool, None) == {}


def test_columns_named_like_labels_of_frames_are_properties(tmp_path):
    frames = write_frames(tmp_path / "f.extxyz", 5)
    table = write(tmp_path / "a.json", [pair("Al", 3.0), pair("Ag", 3.1)], energy=[1.0, None])
    declared = Pretraining(name="a", objective=ForceField(), sources=[str(frames), str(table)])
    pool = read_pool(declared, [frames, table], (), 1)
    n_frames = len(pool) - 2
    learnt = np.isfinite(pool.labels.energy)
    assert learnt.tolist() == [True] * n_frames + [False] * 2
    # 1. the force field learns the energies of frames; a property that of the table
    forces = Mixture([("forces", ForceField(), 1.0)])
    assert label_masks(forces, pool, None)["energy"].tolist() == learnt.tolist()
    mask = label_masks(PropertyTargets(), pool, None)["energy"]
    assert mask.tolist() == [False] * n_frames + [True, False]
    # 2. both
    both = Mixture([("forces", ForceField(), 1.0), ("energy", PropertyTargets(), 1.0)])
    assert label_masks(both, pool, None)["energy"].tolist() == [True] * (n_frames + 1) + [False]


def test_property_that_no_source_has_is_named(tmp_path):
    table = write(tmp_path / "a.json", [pair("Al", 3.0), pair("Ag", 3.1)], gap=[1.0, 2.0])
    mixed = Mixture([("ead", FingerprintTargets(EAD()), 1.0), ("band_gap", PropertyTargets(), 1.0)])
    declared = Pretraining(name="a", objective=mixed, sources=[str(table)])
    pool = read_pool(declared, [table], (), 1)
    with pytest.raises(ValueError, match=r"property 'band_gap'; the sources have .*\['gap'\]"):
        label_masks(mixed, pool, None)


def test_more_labels_than_keys_have_bits_for_are_an_error(tmp_path):
    columns = {f"c{number}": [1.0, 2.0] for number in range(17)}
    path = write(tmp_path / "many.json", [pair("Al", 3.0), pair("Ag", 3.0)], **columns)
    declared = Pretraining(name="many", objective=PropertyTargets(), sources=[str(path)])
    pool = read_pool(declared, [path], (), 1)
    with pytest.raises(ValueError, match="learns 17 labels, c0, c1, c2 and so on"):
        label_masks(declared.objective, pool, None)
    assert set(label_masks(declared.objective, pool, ["c3"])) == {"c3"}
