"""Which evaluation crystals are in the pre-training set already."""

import joblib
import numpy as np
import pandas as pd
import pytest
from ase.build import bulk, molecule
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Lattice, Structure
from pymatgen.io.ase import AseAtomsAdaptor
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

from cases import random_rotation
from gnnpre.datasets import read_matbench
from gnnpre.exceptions import DataQualityWarning
from gnnpre.graphs import StructureToGraph, as_crystals
from gnnpre.model_selection import (
    LeakAudit,
    Side,
    audit_by_keys,
    drop_leaks,
    leak_audit,
    make_leak_keys,
)
from gnnpre.pretrained import text_digests

LEVELS = ("id", "structure", "prototype", "composition")


@pytest.fixture(scope="module")
def phonons(data_dir):
    return read_matbench(data_dir / "downstream" / "phonons.json.gz")[0]


@pytest.fixture(scope="module")
def polymorphs(phonons):
    """Crystals of phonons whose formula some other has too."""
    formulas = [structure.copy().composition.reduced_formula for structure in phonons]
    wanted = {formula for formula in formulas if formulas.count(formula) > 1}
    chosen = [s for s, formula in zip(phonons, formulas, strict=True) if formula in wanted]
    assert len(chosen) > 100
    return chosen[:100]


def rotated(structure, rng):
    matrix = structure.lattice.matrix @ random_rotation(rng)
    return Structure(matrix, structure.species, structure.frac_coords)


def translated(structure, rng):
    moved = structure.copy()
    moved.translate_sites(range(len(moved)), rng.random(3))
    return moved


def permuted(structure, rng):
    return Structure.from_sites([structure[i] for i in rng.permutation(len(structure))])


def supercell(structure, rng):
    return structure.copy() * rng.permutation([2, 2, 1]).tolist()


def skewed(structure, rng):
    return structure.copy() * [[1, 0, 0], [1, 1, 0], [0, 1, 1]]


def rattled(structure, rng):
    moved = structure.copy()
    return moved.perturb(0.03, seed=int(rng.integers(100)))


def everything(structure, rng):
    for change in (skewed, supercell, rotated, translated, permuted):
        structure = change(structure, rng)
    return structure


@pytest.mark.parametrize(
    "change", [rotated, translated, permuted, supercell, skewed, rattled, everything]
)
def test_copies_are_found(phonons, change):
    rng = np.random.default_rng(4)
    pretraining = [structure.copy() for structure in phonons[:60:2]]
    evaluation = [change(structure, rng) for structure in pretraining[::3]]
    audit = leak_audit(pretraining, evaluation)
    assert audit.level.tolist() == ["structure"] * len(evaluation)
    assert audit.match.tolist() == list(range(0, len(pretraining), 3))


def test_other_elements_are_no_copies(phonons):
    others = [structure.copy() for structure in phonons[:40]]
    for structure in others:
        # Elements that hardly anything in the set has.
        structure.replace_species({structure.species[0]: "Pu"})
    audit = leak_audit(phonons[:40], others)
    assert set(audit.level) == {"none"}
    assert (audit.match == -1).all()
    assert drop_leaks(phonons[:40], others, level="composition").tolist() == list(range(40))


def test_every_level_is_that_of_a_comparison_of_all_pairs(polymorphs):
    first, second = polymorphs[:60], polymorphs[40:90]
    audit = leak_audit(first, second)
    matcher = StructureMatcher()
    expected = {name: np.full(len(second), -1) for name in audit.matches}
    for j, other in enumerate(s.copy() for s in second):
        for i, one in reversed(list(enumerate(s.copy() for s in first))):
            if one.composition.reduced_composition != other.composition.reduced_composition:
                continue
            expected["composition"][j] = i
            groups = [SpacegroupAnalyzer(s, 0.1).get_space_group_number() for s in (one, other)]
            if groups[0] == groups[1]:
                expected["prototype"][j] = i
            if matcher.fit(one, other):
                expected["structure"][j] = i
    for name, matches in expected.items():
        np.testing.assert_array_equal(audit.matches[name], matches)
    assert (expected["composition"] >= 0).sum() > (expected["prototype"] >= 0).sum() > 0


@pytest.mark.parametrize("level", ["structure", "prototype", "composition"])
def test_nothing_is_left_after_leaks_are_dropped(polymorphs, level):
    first, second = polymorphs[:40], polymorphs[20:60]
    kept = drop_leaks(first, second, level)
    assert 0 < len(kept) <= 20
    audit = leak_audit([first[i] for i in kept], second)
    for name in LEVELS[1 : LEVELS.index(level) + 1]:
        assert (audit.matches[name] == -1).all()
    # And what was dropped was no more than that: each of it overlaps.
    dropped = sorted(set(range(len(first))) - set(kept.tolist()))
    back = leak_audit(second, [first[i] for i in dropped])
    assert set(back.level) <= set(LEVELS[: LEVELS.index(level) + 1])


def test_looser_levels_drop_more(polymorphs):
    first, second = polymorphs[:50], polymorphs[50:]
    kept = [set(drop_leaks(first, second, level)) for level in LEVELS[1:]]
    assert kept[0] >= kept[1] >= kept[2]
    assert kept[0] > kept[2]


def metals(*symbols):
    return [bulk(symbol) for symbol in symbols]


def test_ids_are_compared_first():
    audit = leak_audit(
        metals("Cu", "Al", "Ag"),
        metals("Au", "Al", "Pt", "Ag"),
        pretraining_ids=["a", "b", None],
        evaluation_ids=["a", "b", "c", None],
    )
    assert audit.level.tolist() == ["id", "id", "none", "structure"]
    assert audit.match.tolist() == [0, 1, -1, 2]
    assert audit.matches["structure"].tolist() == [-1, 1, -1, 2]


def test_the_first_of_equal_ids_counts_and_missing_ones_never():
    ids = np.array([np.nan, 7.0, 7.0])
    audit = leak_audit(
        metals("Cu", "Al", "Ag"), metals("Au", "Pt"), pretraining_ids=ids,
        evaluation_ids=[7, float("nan")],
    )  # fmt: skip
    assert audit.matches["id"].tolist() == [1, -1]


@pytest.mark.parametrize("missing", [pd.NA, None, float("nan"), pd.NaT, np.ma.masked])
def test_missing_ids_of_every_form_match_nothing(missing):
    audit = leak_audit(
        metals("Cu", "Al"), metals("Au", "Pt"),
        pretraining_ids=pd.Series(["a", missing], dtype=object), evaluation_ids=["a", missing],
    )  # fmt: skip
    assert audit.matches["id"].tolist() == [0, -1]
    strings = pd.array(["a", None], dtype="string")
    audit = leak_audit(
        metals("Cu", "Al"), metals("Au", "Pt"), pretraining_ids=strings, evaluation_ids=strings
    )
    assert audit.matches["id"].tolist() == [0, -1]


@pytest.mark.parametrize("bad", [["a"], {"a": 1}, ("a", 1), np.ones(2)])
def test_an_id_that_is_no_id_is_named(bad):
    with pytest.raises(TypeError, match=r"evaluation_ids\[1\] is .*expected text or a number"):
        leak_audit(
            metals("Cu"), metals("Au", "Pt"), pretraining_ids=["a"], evaluation_ids=["b", bad]
        )


def test_ids_without_a_length_are_refused():
    with pytest.raises(TypeError, match="pretraining_ids is of type generator"):
        leak_audit(
            metals("Cu"), metals("Au"), pretraining_ids=(x for x in "a"), evaluation_ids=["a"]
        )


def test_drop_by_id_alone_and_with_structures():
    first, second = metals("Cu", "Al", "Ag"), metals("Ag", "Pt")
    ids = {"pretraining_ids": ["x", "y", "z"], "evaluation_ids": ["w", "x"]}
    assert drop_leaks(first, second, "id", **ids).tolist() == [1, 2]
    assert drop_leaks(first, second, "structure", **ids).tolist() == [1]
    assert drop_leaks(first, second, "structure").tolist() == [0, 1]


def test_prototypes_are_compared_within_a_composition():
    fcc, bcc = bulk("Fe", "fcc", a=3.6), bulk("Fe", "bcc", a=2.87)
    audit = leak_audit([fcc, bulk("Cu")], [bcc], ltol=0.01, stol=0.01, angle_tol=0.1)
    assert audit.level.tolist() == ["composition"]
    stretched = leak_audit([fcc], [bulk("Fe", "fcc", a=4.5)], match=False)
    assert stretched.level.tolist() == ["prototype"]
    assert "structure" not in stretched.matches


def test_scale_and_tolerances_reach_the_matcher():
    first, second = [bulk("Fe", "fcc", a=3.6)], [bulk("Fe", "fcc", a=4.8)]
    assert leak_audit(first, second).level.tolist() == ["structure"]
    assert leak_audit(first, second, scale=False).level.tolist() == ["prototype"]
    assert leak_audit(first, second, scale=False, ltol=0.5).level.tolist() == ["structure"]
    strained = first[0].copy()
    strained.set_cell(strained.cell.array @ np.diag([1.0, 1.0, 1.08]), scale_atoms=True)
    assert leak_audit(first, [strained]).level.tolist() == ["structure"]
    tight = leak_audit(first, [strained], ltol=0.01, angle_tol=0.1)
    assert tight.level.tolist() == ["composition"]


def test_layers_and_molecules_match_without_periods():
    def layer(vacuum):
        cell = Lattice.hexagonal(2.46, vacuum)
        return Structure(
            Lattice(cell.matrix, pbc=(True, True, False)),
            ["C", "C"],
            [[1 / 3, 2 / 3, 0.5], [2 / 3, 1 / 3, 0.5]],
        )

    water = molecule("H2O")
    stretched = water.copy()
    stretched.positions[0] += [0, 0, 1.5]
    audit = leak_audit([layer(12.0), water], [layer(35.0), water, stretched])
    assert audit.level.tolist() == ["structure", "structure", "composition"]


def test_real_layers_are_found_whatever_their_vacuum(data_dir):
    layers = read_matbench(data_dir / "downstream" / "jdft2d.json.gz")[0][:60]
    wide = []
    for number, layer in enumerate(layers):
        atoms = AseAtomsAdaptor.get_atoms(layer.copy())
        # Some lie across the boundary: bring them together about their mean on the circle.
        mean = np.angle(np.exp(2j * np.pi * atoms.get_scaled_positions()[:, 2]).mean())
        atoms.wrap(center=(0.5, 0.5, mean / (2 * np.pi)))
        height = atoms.cell.array[2] / np.linalg.norm(atoms.cell.array[2])
        atoms.cell[2] += height * (3.0 + number % 15)
        wide.append(atoms)
    audit = leak_audit(layers, wide)
    assert set(audit.level) == {"structure"}
    assert (audit.match <= np.arange(60)).all()


@pytest.mark.parametrize("kind", ["atoms", "graphs", "tuple"])
def test_containers_give_the_same_result(polymorphs, kind):
    first, second = polymorphs[:20], polymorphs[10:30]
    expected = leak_audit(first, second)
    make = {
        "atoms": lambda X: [AseAtomsAdaptor.get_atoms(s.copy()) for s in X],
        "graphs": StructureToGraph(cutoff=3.0).transform,
        "tuple": tuple,
    }[kind]
    found = leak_audit(make(first), make(second))
    for name, matches in expected.matches.items():
        np.testing.assert_array_equal(found.matches[name], matches)
    np.testing.assert_array_equal(drop_leaks(make(first), second), drop_leaks(first, second))


def test_two_processes_find_the_same(polymorphs):
    one = leak_audit(polymorphs[:30], polymorphs[15:50])
    two = leak_audit(polymorphs[:30], polymorphs[15:50], n_jobs=2)
    for name, matches in one.matches.items():
        np.testing.assert_array_equal(two.matches[name], matches)


def test_many_crystals_of_one_composition():
    # More than a worker looks up at a time.
    cells = [bulk("Cu", a=3.6) * (1, 1, 1 + i % 2) for i in range(70)]
    audit = leak_audit([bulk("Cu", "bcc", a=2.9), *cells[:2]], cells, stol=0.1, ltol=0.05)
    assert audit.matches["structure"].tolist() == [1] * 70


def test_both_directions_ask_the_matcher_in_the_same_order(monkeypatch):
    # StructureMatcher is not quite symmetric; this one not at all.
    monkeypatch.setattr(StructureMatcher, "fit", lambda self, a, b, **_: a.volume > b.volume)
    large, small = [bulk("Cu", a=3.7)], [bulk("Cu", a=3.6)]
    assert leak_audit(large, small).level.tolist() == ["structure"]
    assert drop_leaks(large, small).tolist() == []
    assert leak_audit(small, large).level.tolist() == ["prototype"]
    assert drop_leaks(small, large).tolist() == [0]


def test_inputs_stay_as_they_were(polymorphs):
    first = [structure.copy() for structure in polymorphs[:20]]
    second = [structure.copy() for structure in polymorphs[10:30]]
    before = joblib.hash((first, second))
    leak_audit(first, second)
    drop_leaks(first, second, level="prototype")
    assert joblib.hash((first, second)) == before


def test_reports():
    audit = leak_audit(
        metals("Cu", "Al"), metals("Al", "Pt", "Ag"),
        pretraining_ids=["a", "b"], evaluation_ids=["x", "y", "a"],
    )  # fmt: skip
    counts = {"id": 1, "structure": 1, "prototype": 1, "composition": 1, "none": 1}
    assert audit.counts() == counts
    assert repr(audit) == "LeakAudit(n=3, id=1, structure=1, prototype=1, composition=1, none=1)"
    assert len(audit) == 3
    rows = {line.split()[0]: line.split()[1:] for line in str(audit).splitlines()[1:]}
    assert rows["structure"] == ["1", "33.3%", "1"]
    assert rows["composition"] == ["1", "33.3%", "0"]
    frame = audit.to_frame()
    assert frame["formula"].tolist() == ["Al", "Pt", "Ag"]
    assert frame["level"].tolist() == ["structure", "none", "id"]
    assert frame["match"].tolist() == [1, -1, 0]
    assert frame["same_id"].tolist() == [-1, -1, 0]


def test_the_surest_level_wins_in_a_hand_made_report():
    matches = {
        "composition": np.array([3, 4, -1]),
        "prototype": np.array([5, -1, -1]),
        "id": np.array([-1, -1, 6]),
    }
    audit = LeakAudit(np.array(["A", "B", "C"]), 9, matches)
    assert audit.level.tolist() == ["prototype", "composition", "id"]
    assert audit.match.tolist() == [5, 4, 6]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"match": None}, "match=None; expected True or False"),
        ({"scale": 1}, "scale=1; expected True or False"),
        ({"ltol": 0}, "ltol=0; expected a number > 0"),
        ({"stol": -1}, "stol=-1; expected"),
        ({"angle_tol": "5"}, "angle_tol='5'; expected"),
        ({"symprec": None}, "symprec=None; expected"),
        ({"ltol": 1e300}, "ltol=1e\\+300; expected a number > 0 and <= 1"),
        ({"stol": 1e300}, "stol=1e\\+300; expected"),
        ({"angle_tol": 1e300}, "angle_tol=1e\\+300; expected"),
        ({"symprec": 1e300}, "symprec=1e\\+300; expected"),
        ({"n_jobs": "all"}, "n_jobs='all'; expected None or an int"),
        ({"n_jobs": 0}, "n_jobs=0; expected"),
        ({"pretraining_ids": ["a", "b"]}, "pretraining_ids was given without evaluation_ids"),
        ({"evaluation_ids": ["a"]}, "evaluation_ids was given without pretraining_ids"),
        (
            {"pretraining_ids": ["a"], "evaluation_ids": ["a"]},
            "pretraining_ids has 1 entries; pretraining_structures has 2 crystals",
        ),
        (
            {"pretraining_ids": ["1", "2"], "evaluation_ids": [1]},
            "pretraining_ids are strings and evaluation_ids are no strings",
        ),
    ],
)
@pytest.mark.parametrize("function", [leak_audit, drop_leaks])
def test_bad_parameters(function, parameters, message):
    with pytest.raises(ValueError, match=message):
        function(metals("Cu", "Al"), metals("Cu"), **parameters)


@pytest.mark.parametrize("function", [leak_audit, drop_leaks])
def test_bad_sets_are_named(function):
    with pytest.raises(ValueError, match="pretraining_structures: X is empty"):
        function([], metals("Cu"))
    with pytest.raises(TypeError, match=r"evaluation_structures: X\[1\] is the text 'Cu'"):
        function(metals("Cu"), [bulk("Cu"), "Cu"])


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"level": "none"}, r"level='none'; expected one of \['id', 'structure'"),
        ({"level": "id"}, "level='id' without ids"),
        ({"level": "structure", "match": False}, "level='structure' with match=False"),
    ],
)
def test_bad_levels(parameters, message):
    with pytest.raises(ValueError, match=message):
        drop_leaks(metals("Cu"), metals("Al"), **parameters)


def test_all_frames_of_one_id_count():
    small = Structure(Lattice.cubic(3.0), ["Po"], [[0, 0, 0]])
    large = Structure(Lattice.cubic(3.0), ["Po", "Po"], [[0, 0, 0], [0.1, 0.2, 0.3]])
    labels = {"energy": np.array([True, False]), "gap": np.array([False, True])}
    keys = make_leak_keys(as_crystals([small, large]), labels, ids=["mp-1", "mp-1"])
    evaluated = Structure(Lattice.cubic(3.0), ["Po", "Po"], [[0, 0, 0], [0.5, 0.45, 0.3]])
    audit = audit_by_keys(keys, Side.of(as_crystals([evaluated, evaluated]), ["mp-1", None]), True)
    assert audit.seen_labels["energy"].tolist() == [True, False]
    assert audit.seen_labels["gap"].tolist() == [True, False]


def test_whole_numbers_are_one_id_as_int_and_as_float():
    np.testing.assert_array_equal(
        text_digests([149, "149", None]), text_digests([149.0, "149", None])
    )


def test_ids_in_another_order():
    crystals = pd.Series([bulk("Cu"), bulk("Al")], index=["a", "b"])
    ids = pd.Series(["mp-1", "mp-2"], index=["b", "a"])
    with pytest.warns(DataQualityWarning, match="evaluation_ids has the index of X in another"):
        leak_audit([bulk("Cu")], crystals, pretraining_ids=["mp-1"], evaluation_ids=ids)
    with pytest.warns(DataQualityWarning, match="pretraining_ids has the index of X in another"):
        drop_leaks(crystals, [bulk("Cu")], pretraining_ids=ids, evaluation_ids=["mp-1"])
