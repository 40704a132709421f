"""MatPES, MPtrj and Alexandria: small files in their format, and the stream that reads them."""

import bz2
import gzip
import json

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from gnnpre.datasets import _json_stream, read_alexandria, read_frames, read_matpes, read_mptrj
from gnnpre.datasets._json_stream import iterate_json

KBAR = 1602.1766208
SALT = Structure(Lattice.cubic(4.0), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
FORCES = [[0.1, 0.0, 0.0], [-0.1, 0.0, 0.0]]


def matpes_record(number, **changes):
    return {
        "matpes_id": f"matpes-{number}",
        "structure": SALT.as_dict(),
        "energy": -6.5,
        "forces": FORCES,
        "stress": [16.0, 32.0, 48.0, 1.0, 2.0, 3.0],
        "functional": "PBE",
        "bandgap": 1.5,
        "formation_energy_per_atom": None,
        "provenance": {"original_mp_id": f"mp-{number % 2}", "md_temperature": 300},
    } | changes


def mptrj_frame(**changes):
    return {
        "structure": SALT.as_dict(),
        "uncorrected_total_energy": -6.5,
        "corrected_total_energy": -7.0,
        "energy_per_atom": -3.5,
        "force": FORCES,
        "stress": [[16.0, 0.0, 0.0], [0.0, 32.0, 0.0], [0.0, 0.0, 48.0]],
        "magmom": None,
        "bandgap": 1.5,
        "mp_id": "mp-1",
    } | changes


@pytest.fixture
def write_json(tmp_path):
    def write(content, name="file.json.gz"):
        raw = json.dumps(content).encode()
        pack = gzip.compress if name.endswith("gz") else bz2.compress
        (tmp_path / name).write_bytes(pack(raw))
        return tmp_path / name

    return write


def test_matpes(write_json):
    records = [matpes_record(0), matpes_record(1, forces=None, stress=None, energy=None)]
    crystals, labels = read_matpes(write_json(records))
    assert crystals.ids.tolist() == ["matpes-0", "matpes-1"]
    np.testing.assert_allclose(crystals.positions[:2], SALT.cart_coords)
    assert labels.energy[0] == -6.5
    np.testing.assert_array_equal(labels.forces[:2], FORCES)
    # xx, yy, zz, yz, xz, xy; kbar, positive in compression.
    expected = -np.array([[16.0, 3.0, 2.0], [3.0, 32.0, 1.0], [2.0, 1.0, 48.0]]) / KBAR
    np.testing.assert_allclose(labels.stress[0], expected)
    assert np.isnan(labels.energy[1])
    assert np.isnan(labels.forces[2:]).all()
    assert np.isnan(labels.stress[1]).all()
    assert labels.groups("original_mp_id").tolist() == ["mp-0", "mp-1"]
    assert labels.groups("formula").tolist() == ["NaCl", "NaCl"]
    np.testing.assert_array_equal(labels.groups("bandgap"), [1.5, 1.5])


def test_mptrj(write_json):
    content = {
        "mp-1": {"mp-1-0-0": mptrj_frame(), "mp-1-0-1": mptrj_frame(force=None)},
        "mp-2": {"mp-2-1-3": mptrj_frame(mp_id="mp-2")},
    }
    path = write_json(content)
    crystals, labels = read_mptrj(path)
    assert crystals.ids.tolist() == ["mp-1-0-0", "mp-1-0-1", "mp-2-1-3"]
    assert labels.groups("mp_id").tolist() == ["mp-1", "mp-1", "mp-2"]
    np.testing.assert_array_equal(labels.energy, [-6.5] * 3)
    np.testing.assert_allclose(labels.stress[0], -np.diag([16.0, 32.0, 48.0]) / KBAR)
    assert np.isnan(labels.forces[2:4]).all()
    np.testing.assert_array_equal(read_mptrj(path, energy="corrected")[1].energy, [-7.0] * 3)
    with pytest.raises(ValueError, match="energy must be 'uncorrected' or 'corrected'; got 'x'"):
        read_mptrj(path, energy="x")


def alexandria_entry(number):
    structure = SALT.as_dict()
    for site, force in zip(structure["sites"], FORCES, strict=True):
        site["properties"] = {"forces": force, "magmom": 0.0}
    data = {"mat_id": f"agm{number}", "e_above_hull": 0.1, "energy_total": -6.5, "spg": 225}
    return {
        "@class": "ComputedStructureEntry",
        "energy": -6.5,
        "structure": structure,
        "data": data,
    }


def test_relaxed_structures_of_alexandria(write_json):
    path = write_json({"entries": [alexandria_entry(i) for i in range(3)]}, "a.json.bz2")
    crystals, labels = read_alexandria(path)
    assert crystals.ids.tolist() == ["agm0", "agm1", "agm2"]
    np.testing.assert_array_equal(labels.energy, [-6.5] * 3)
    np.testing.assert_array_equal(labels.forces[:2], FORCES)
    np.testing.assert_array_equal(labels.groups("e_above_hull"), [0.1] * 3)
    assert np.isnan(labels.stress).all()


def trajectory(factor):
    """Compressed and stretched cells with a bulk modulus of 160 GPa, times a factor."""
    content = {}
    for number in range(4):
        steps = []
        for scale in (0.97, 0.99, 1.01, 1.03):
            cell = SALT.copy()
            cell.scale_lattice(SALT.volume * scale)
            stress = (factor * np.log(scale) * np.eye(3)).tolist()
            forces = [[0.1, None, 0.0], [-0.1, 0.0, 0.0]]
            steps.append(
                {"structure": cell.as_dict(), "energy": -6.0, "forces": forces, "stress": stress}
            )
        content[f"agm{number}"] = [{"functional": "PBE", "steps": steps}]
    return content


@pytest.mark.parametrize("factor", [1.0, -1.0, KBAR, -KBAR])
def test_the_stress_of_alexandria_is_that_of_its_volumes(write_json, factor):
    crystals, labels = read_alexandria(write_json(trajectory(factor)))
    assert crystals.ids.tolist()[:5] == ["agm0-0", "agm0-1", "agm0-2", "agm0-3", "agm1-0"]
    expected = np.log([0.97, 0.99, 1.01, 1.03] * 4)
    np.testing.assert_allclose(labels.stress[:, 0, 0], expected, rtol=1e-9)
    np.testing.assert_array_equal(labels.forces[0], [0.1, np.nan, 0.0])
    assert labels.groups("mat_id")[4] == "agm1"
    assert labels.groups("functional")[0] == "PBE"


def test_a_stress_of_unknown_unit_is_missing(write_json):
    content = {"agm1": [{"functional": "PBE", "steps": trajectory(KBAR)["agm0"][0]["steps"][:1]}]}
    path = write_json(content)
    with pytest.warns(
        UserWarning, match=r"unit and sign of the stress .*cannot be told.*stress='v"
    ):
        _, labels = read_alexandria(path)
    assert np.isnan(labels.stress).all()
    _, labels = read_alexandria(path, stress="kbar")
    np.testing.assert_allclose(labels.stress[0, 0, 0], np.log(0.97))
    _, labels = read_alexandria(path, stress="vasp")
    np.testing.assert_allclose(labels.stress[0, 0, 0], -np.log(0.97))
    _, labels = read_alexandria(path, stress="skip")
    assert np.isnan(labels.stress).all()
    with pytest.raises(ValueError, match="stress must be 'auto'"):
        read_alexandria(path, stress="GPa")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"forces": [[0.0, 0.0, 0.0]]}, r"Frame 1 of .* forces have shape \(1, 3\)"),
        ({"stress": [1.0, 2.0]}, "Frame 1 of .* stress has shape"),
        ({"structure": {}}, "Frame 1 of .* is not a structure"),
        ({"energy": "low"}, "Frame 1 of .* could not convert"),
    ],
)
def test_bad_frames_are_named(write_json, changes, message):
    with pytest.raises(ValueError, match=message):
        read_matpes(write_json([matpes_record(0), matpes_record(1, **changes)]))


def test_a_column_of_numbers_and_lists(write_json):
    records = [matpes_record(0), matpes_record(1, bandgap=[[1]])]
    _, labels = read_matpes(write_json(records))
    assert labels.info["bandgap"].tolist() == [1.5, None]


def test_frames_without_an_id_or_of_other_types_are_named(write_json):
    no_id = matpes_record(7, provenance={"original_mp_id": None})
    _, labels = read_matpes(write_json([no_id]))
    assert labels.groups("original_mp_id").tolist() == ["matpes-7"]  # its own group, not "None"
    entry = alexandria_entry(0)
    for data, message in (([1], "Frame 0 of .* 'list' object"), ({}, "no entry 'entry_id'")):
        with pytest.raises(ValueError, match=message):
            read_alexandria(write_json({"entries": [{**entry, "data": data}]}, "a.json.bz2"))
    with pytest.raises(ValueError, match="has 'agm1' without steps"):
        read_alexandria(write_json({"agm1": [{"steps": 3}]}, "b.json.bz2"))


def test_missing_entries_are_named(write_json):
    record = matpes_record(1)
    del record["energy"]
    with pytest.raises(ValueError, match=r"Frame 0 of .* it has no entry 'energy'"):
        read_matpes(write_json([record]))
    with pytest.raises(ValueError, match=r"Frame 0 of .* no entry 'matpes_id'"):
        read_matpes(write_json([{"structure": SALT.as_dict()}]))
    with pytest.raises(ValueError, match="There are no frames in"):
        read_matpes(write_json([]))


def test_values_of_atoms(write_json):
    charges = {"bader_charges": [0.8, -0.8], "cm5_partial_charges": [0.5, None]}
    _, labels = read_matpes(write_json([matpes_record(0, **charges), matpes_record(1)]))
    np.testing.assert_array_equal(labels.per_atom("bader_charges")[0], [0.8, -0.8])
    np.testing.assert_array_equal(labels.per_atom("cm5_partial_charges")[0], [0.5, np.nan])
    assert np.isnan(labels.per_atom("bader_charges")[1]).all()
    _, labels = read_mptrj(write_json({"mp-1": {"mp-1-0-0": mptrj_frame(magmom=[0.1, 2.0])}}))
    np.testing.assert_array_equal(labels.per_atom("magmom")[0], [0.1, 2.0])
    entry = alexandria_entry(0)
    entry["structure"]["sites"][1]["properties"]["magmom"] = 1.5
    vectors = alexandria_entry(1)
    vectors["structure"]["sites"][0]["properties"]["magmom"] = [0.0, 0.0, 1.0]
    path = write_json({"entries": [entry, vectors]}, "a.json.bz2")
    moments = read_alexandria(path)[1].per_atom("magmom")
    np.testing.assert_array_equal(moments[0], [0.0, 1.5])
    assert np.isnan(moments[1]).all()


def test_values_of_atoms_that_do_not_fit_are_named(write_json):
    path = write_json([matpes_record(0, bader_charges=[0.8])])
    with pytest.raises(ValueError, match=r"Frame 0 .*bader_charges has shape \(1,\); expected"):
        read_matpes(path)


def test_truncated_files(write_json):
    path = write_json([matpes_record(i) for i in range(5)])
    raw = gzip.decompress(path.read_bytes())
    path.write_bytes(raw[: len(raw) // 2])
    with pytest.raises(ValueError, match=r"truncated, or no JSON: brackets are not closed"):
        read_matpes(path)
    path.write_bytes(gzip.compress(raw)[:-200])
    with pytest.raises(ValueError, match=r"truncated or damaged"):
        read_matpes(path)
    path.write_text("no json")
    with pytest.raises(ValueError, match=r"truncated, or no JSON"):
        read_matpes(path)


def test_read_frames_names_these_readers(write_json):
    for content, name in (
        ([matpes_record(0)], "read_matpes"),
        ({"mp-1": {"a": mptrj_frame()}}, "read_mptrj"),
        ({"entries": [alexandria_entry(0)]}, "read_alexandria"),
    ):
        with pytest.raises(ValueError, match=name):
            read_frames(write_json(content))


NESTED = {
    "plain": 1,
    "a": {"x": {"y": [1, {"z": "}]"}], "e": {}}, "l": [1, 2]},
    'k"ey\\': {"s": 'brace { and \\ and " quote', "n": None, "empty": []},
    "b": {},
    "c": [{"deep": [[[1]]]}, [2, 3]],
}


@pytest.mark.parametrize("block", [1, 2, 3, 7, 64, 10**6])
@pytest.mark.parametrize("indent", [None, 2])
def test_items_at_a_depth(tmp_path, monkeypatch, block, indent):
    monkeypatch.setattr(_json_stream, "_BLOCK", block)
    path = tmp_path / "nested.json"
    path.write_text(json.dumps(NESTED, indent=indent))
    items = list(iterate_json(path, 1))
    assert [item.content for item in items] == [NESTED[key] for key in NESTED if key != "plain"]
    keys = [json.loads(f'"{item.keys[0]}"') for item in items]
    assert keys == [key for key in NESTED if key != "plain"]
    items = list(iterate_json(path, 2))
    expected = [
        (("a", "x"), NESTED["a"]["x"]),
        (("a", "l"), [1, 2]),
        ((json.dumps('k"ey\\')[1:-1], "empty"), []),
        (("c", None), {"deep": [[[1]]]}),
        (("c", None), [2, 3]),
    ]
    assert [tuple(item) for item in items] == expected


def test_items_of_a_list(tmp_path):
    path = tmp_path / "list.json"
    path.write_text(json.dumps([{"a": 1}, [2], {"b": {"c": 3}}]))
    assert [item.content for item in iterate_json(path, 1)] == [{"a": 1}, [2], {"b": {"c": 3}}]
