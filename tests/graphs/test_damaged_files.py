"""Files of graphs and labels: damaged, forged or incomplete ones are refused by one clear error."""

import json
from collections.abc import Callable

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save

from gnnpre._storage import file_metadata
from gnnpre.graphs import CrystalGraphs, FrameLabels, StructureToGraph
from gnnpre.graphs._graph_checks import FIELDS


@pytest.fixture
def graph_file(graphs, tmp_path):
    path = tmp_path / "graphs.safetensors"
    graphs.index = None
    graphs.save(path)
    return path


@pytest.fixture
def label_file(tmp_path):
    path = tmp_path / "labels.safetensors"
    FrameLabels([1, 2], energy=[-1.0, -2.0], info={"run": ["a", "b"], "n": [1, 2]}).save(path)
    return path


def forge(path, change: Callable[[dict, dict], None]) -> None:
    """Change tensors and header of a file, and give it the checksum of what it now holds."""
    with safe_open(str(path), framework="pt") as file:
        header = json.loads(file.metadata()["gnnpre"])
        tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    change(tensors, header)
    path.write_bytes(save(tensors, metadata=file_metadata(json.dumps(header), tensors)))


def move(name: str, amount: int) -> Callable[[dict, dict], None]:
    """Move rows from one crystal to the next: sums stay right."""

    def change(tensors, header):
        tensors[name][3] -= amount
        tensors[name][4] += amount

    return change


def put(name: str, row, value) -> Callable[[dict, dict], None]:
    def change(tensors, header):
        tensors[name][row] = value

    return change


def loop(tensors: dict, header: dict) -> None:
    """Turn the first edge into one of atom 0 with itself."""
    tensors["edge_index"][:, 0] = 0
    tensors["edge_shift"][0] = 0


def cast(name: str, dtype: torch.dtype) -> Callable[[dict, dict], None]:
    def change(tensors, header):
        tensors[name] = tensors[name].to(dtype)

    return change


def set_header(**values) -> Callable[[dict, dict], None]:
    return lambda tensors, header: header.update(values)


def set_setting(**values) -> Callable[[dict, dict], None]:
    return lambda tensors, header: header["settings"].update(values)


GRAPH_FORGERIES = {
    "atoms moved": (move("n_atoms", 2000), r"n_atoms\[3\] is -1997; expected at least 1"),
    "many atoms moved": (move("n_atoms", 2**40), r"n_atoms\[3\] is -10995"),
    "an atom moved": (move("n_atoms", 1), "edge_index of crystal"),
    "edges moved": (move("n_edges", 2000), r"n_edges\[3\] is -1994; expected at least 0"),
    "sum of atoms": (put("n_atoms", 0, 9), "n_atoms adds up to 28; there are 27 atoms"),
    "wrapping sum": (put("n_edges", slice(0, 4), 2**62), "n_edges adds up to"),
    "edge of another crystal": (put("edge_index", (0, slice(0, 40)), 9), "crystal 0 runs from"),
    "negative edge": (put("edge_index", (1, 5), -1), "edge_index of crystal 0 runs from -1"),
    "order of edges": (put("edge_index", (1, 3), 7), "crystal 0 is not sorted by target"),
    "loop": (loop, "crystal 0 joins atom 0 with itself"),
    "element": (put("atomic_numbers", 9, 0), "Structure 2: atom 0 has atomic number 0"),
    "large element": (put("atomic_numbers", 8, 119), "Structure 1: atom 0 has atomic number 119"),
    "position": (put("positions", (0, 1), np.nan), "Structure 0: atom 0 has coordinates"),
    "cell": (put("cell", (1, 0, 0), np.inf), "Structure 1: its cell holds NaN or infinity"),
    "floats as edges": (cast("edge_index", torch.float32), "edge_index has dtype float32"),
    "bfloat16": (cast("positions", torch.bfloat16), "positions is a tensor of torch.bfloat16"),
    "ints as pbc": (cast("pbc", torch.int8), "pbc has dtype int8; expected bool"),
    "large shift": (
        lambda t, h: t.update(edge_shift=t["edge_shift"].long() + 300),
        "edge_shift holds values from 2.* expected -128 to 127",
    ),
    "shape": (lambda t, h: t.update(cell=t["cell"].flatten(1)), r"cell has shape \(8, 9\)"),
    "missing": (lambda t, h: t.pop("cell"), r"tensors missing: \['cell'\], unknown: \[\]"),
    "no counts": (lambda t, h: t.pop("n_atoms"), "KeyError: 'n_atoms'"),
    "additional": (lambda t, h: t.update(x=torch.zeros(1)), r"missing: \[\], unknown: \['x'\]"),
    "cutoff": (set_setting(cutoff=float("nan")), "cutoff=nan; expected a number > 0"),
    "large cutoff": (set_setting(cutoff=1000.0), r"cutoff=1000.0; expected .* <= 60"),
    "text as cutoff": (set_setting(cutoff="6"), "cutoff='6'; expected a number"),
    "unknown setting": (set_setting(radius=6.0), "graph settings are .* expected values of"),
    "no settings": (lambda t, h: h.pop("settings"), "KeyError: 'settings'"),
    "settings": (set_header(settings=[6.0]), "graph settings are"),
    "index": (set_header(index={"names": [None]}), "KeyError: 'levels'"),
    "format": (set_header(format=1), "in format 1; expected 'CrystalGraphs' in format 2"),
}


@pytest.mark.parametrize("name", GRAPH_FORGERIES)
def test_forged_graphs_are_refused(graph_file, name):
    change, message = GRAPH_FORGERIES[name]
    forge(graph_file, change)
    with pytest.raises(ValueError, match=rf"graphs\.safetensors' cannot be read: .*{message}"):
        CrystalGraphs.load(graph_file)


LABEL_FORGERIES = {
    "counts": (lambda t, h: t["n_atoms"].copy_(torch.tensor([-1, 4])), "n_atoms must hold"),
    "huge": (lambda t, h: t["n_atoms"].copy_(torch.tensor([1, 2**50])), r"n_atoms\[1\] is"),
    "shape": (lambda t, h: t.update(energy=torch.zeros(3)), r"energy has shape \(3,\)"),
    "infinite": (put("forces", (0, 0), np.inf), "forces is inf at row 0"),
    "bool": (cast("energy", torch.bool), "energy cannot be read as numbers"),
    "missing": (lambda t, h: t.pop("stress"), r"tensors missing: \['stress'\]"),
    "additional": (lambda t, h: t.update(x=torch.zeros(1)), r"unknown: \['x'\]"),
    "column": (lambda t, h: t.pop("info.0"), "KeyError: 'info.0'"),
    "text": (
        lambda t, h: t.update({"info.0": torch.zeros(5, dtype=torch.uint8)}),
        "Expecting value",
    ),
    "length": (lambda t, h: t.update({"info.1": torch.arange(3)}), r"'n' has shape \(3,\)"),
    "dtype": (lambda t, h: t.update({"info.1": torch.zeros(2)}), "int64 is stored as float32"),
    "no info": (lambda t, h: h.pop("info"), "KeyError: 'info'"),
    "info": (set_header(info=3), "TypeError"),
    "dtype name": (lambda t, h: h["info"][0].update(dtype="f9"), "TypeError"),
}


@pytest.mark.parametrize("name", LABEL_FORGERIES)
def test_forged_labels_are_refused(label_file, name):
    change, message = LABEL_FORGERIES[name]
    forge(label_file, change)
    with pytest.raises(ValueError, match=rf"labels\.safetensors' cannot be read: .*{message}"):
        FrameLabels.load(label_file)


def test_a_flipped_byte_is_noticed_anywhere(graph_file, label_file):
    rng = np.random.default_rng(0)
    for path, cls in ((graph_file, CrystalGraphs), (label_file, FrameLabels)):
        content = path.read_bytes()
        for position in rng.integers(0, len(content), 100).tolist():
            damaged = bytearray(content)
            damaged[position] ^= 1 << int(rng.integers(8))
            path.write_bytes(bytes(damaged))
            with pytest.raises(ValueError, match=r"cannot be read: .*Save it again"):
                cls.load(path)
        path.write_bytes(content)
        assert len(cls.load(path)) > 0


def test_a_header_that_is_no_json(graph_file):
    with safe_open(str(graph_file), framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    for text in ("{", "[]", "3", "[" * 10_000):
        graph_file.write_bytes(save(tensors, metadata=file_metadata(text, tensors)))
        with pytest.raises(ValueError, match="cannot be read"):
            CrystalGraphs.load(graph_file)


@pytest.mark.parametrize("name", [n for n in GRAPH_FORGERIES if n not in ("format", "index")])
def test_the_constructor_checks_as_loading_does(graphs, name):
    change, message = GRAPH_FORGERIES[name]
    tensors = {field: getattr(graphs, field).clone() for field in FIELDS}
    header = {"settings": graphs.settings.to_dict()}
    change(tensors, header)
    if set(tensors) != set(FIELDS) or set(header.get("settings", ())) != set(vars(graphs.settings)):
        return  # an argument of a function is missing or unknown: Python says so
    with pytest.raises(ValueError, match=message):
        CrystalGraphs(**tensors, settings=type(graphs.settings)(**header["settings"]))


def test_settings_have_to_be_settings(graphs):
    tensors = {field: getattr(graphs, field) for field in FIELDS}
    with pytest.raises(TypeError, match=r"settings is of type dict; expected GraphSettings"):
        CrystalGraphs(**tensors, settings={"cutoff": 4.0})


def test_arrays_are_taken_as_well_as_tensors(graphs, assert_same_graphs):
    arrays = {field: getattr(graphs, field).numpy() for field in FIELDS}
    wide = {**arrays, "edge_index": arrays["edge_index"].astype(np.int64)}
    wide["edge_shift"] = arrays["edge_shift"].tolist()
    assert_same_graphs(CrystalGraphs(**wide, settings=graphs.settings), graphs)


def test_checks_cost_little(salt):
    """Loading many edges takes no longer than building them."""
    import time

    transformer = StructureToGraph(6.0)
    start = time.process_time()
    graphs = transformer.transform([salt] * 300)
    building = time.process_time() - start
    fields = {field: getattr(graphs, field) for field in FIELDS}
    start = time.process_time()
    CrystalGraphs(**fields, settings=graphs.settings)
    assert time.process_time() - start < building


DATA_FORGERIES = {
    "edges": (lambda d: d.edge_index.add_(len(d.z)), "edge_index of crystal 1 runs from 1"),
    "negative edges": (lambda d: d.edge_index.sub_(1), "edge_index of crystal 1 runs from -1"),
    "positions": (lambda d: d.pos.fill_(float("nan")), "Structure 1: atom 0 has coordinates"),
    "elements": (lambda d: d.z.zero_(), "Structure 1: atom 0 has atomic number 0"),
    "floats": (lambda d: setattr(d, "z", d.z.double()), "atomic_numbers has dtype float64"),
    "cell": (lambda d: setattr(d, "cell", d.cell[:, :2]), r"data_list\[1\].cell holds 6 numbers"),
    "shape": (lambda d: setattr(d, "pos", d.pos[:, :2]), r"data_list\[1\].pos has shape"),
    "edge shape": (lambda d: setattr(d, "edge_index", d.edge_index.T), "edge_index has shape"),
    "no tensor": (lambda d: setattr(d, "pbc", True), r"data_list\[1\]: \['pbc'\] are not tensors"),
}


@pytest.mark.parametrize("name", DATA_FORGERIES)
def test_data_objects_that_are_no_crystal(graphs, name):
    change, message = DATA_FORGERIES[name]
    data = [d.clone() for d in graphs.to_data_list()]
    change(data[1])
    with pytest.raises(ValueError, match=message):
        CrystalGraphs.from_data_list(data, graphs.settings)


@pytest.mark.parametrize("data_list", [[3], ["a"]], ids=str)
def test_objects_that_are_no_data(graphs, data_list):
    with pytest.raises(
        TypeError, match=r"data_list\[0\] is of type .*; expected a torch-geometric"
    ):
        CrystalGraphs.from_data_list(data_list, graphs.settings)
