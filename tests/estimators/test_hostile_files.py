"""Model files that are damaged or made to harm: one clear error, before memory is taken."""

import hashlib
import json
import resource
import struct
import time
import zipfile

import pytest
import torch
from safetensors.torch import load, save

from gnnpre import CGCNN, Pretrainer, StructureToGraph, TorchMDNet
from gnnpre.datasets import make_emt_frames

NAMES = "weights.safetensors", "config.json"


@pytest.fixture(scope="module", params=[CGCNN(8, 2), TorchMDNet(8, 2)], ids=str)
def model(request, tmp_path_factory):
    structures, labels = make_emt_frames(6, max_atoms=4, random_state=0)
    graphs = StructureToGraph(cutoff=4.0).transform(structures)
    fitted = Pretrainer(request.param, max_epochs=1, random_state=0).fit(graphs, labels)
    path = tmp_path_factory.mktemp("model") / "m.gnnpre"
    fitted.save(path)
    return path


def members(path):
    with zipfile.ZipFile(path) as archive:
        return [archive.read(name) for name in NAMES]


def write(path, weights, config, **options):
    config = {**config, "weights_sha256": hashlib.sha256(weights).hexdigest()}
    with zipfile.ZipFile(path, "w", **options) as archive:
        archive.writestr("weights.safetensors", weights)
        archive.writestr("config.json", json.dumps(config))
    return path


def changed(model, path, key, value, tensors=None):
    """Write the model with another value at a dotted key of its config, or other weights."""
    weights, config = members(model)
    config = json.loads(config)
    if key:
        *parents, last = key.split(".")
        part = config
        for name in parents:
            part = part[name]
        part[last] = value
    return write(path, weights if tensors is None else save(tensors), config)


def refused(path, match=""):
    """Check that loading raises a ValueError that names the file, soon and in little memory."""
    start = time.process_time()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match=match) as caught:
        Pretrainer.load(path)
    assert path.name in str(caught.value)
    assert time.process_time() - start < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # KiB


@pytest.mark.parametrize("name", ["hidden_channels", "n_layers"])
@pytest.mark.parametrize("value", [3, 20_000, 300_000, 10**9, 10**30, -1, 0, "many", None, 1e300])
def test_a_config_that_the_weights_do_not_fit_is_refused(model, tmp_path, name, value):
    refused(changed(model, tmp_path / "m.gnnpre", f"spec.backbone.params.{name}", value))


@pytest.mark.parametrize("value", [float("nan"), 0, -1, 1000, 1e30, "6", None, [4.0], 4.5])
@pytest.mark.parametrize("key", ["graphs.cutoff", "spec.cutoff"])
def test_a_cutoff_that_is_none_or_not_that_of_the_graphs_is_refused(model, tmp_path, key, value):
    refused(changed(model, tmp_path / "m.gnnpre", key, value), "cutoff")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1, 0, "1", None])
def test_a_mean_number_of_neighbours_out_of_range_is_refused(model, tmp_path, value):
    refused(changed(model, tmp_path / "m.gnnpre", "spec.mean_neighbors", value), "mean_neighbors")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("graphs.max_neighbors", -3),
        ("graphs.max_neighbors", 1.5),
        ("graphs.neighbor_cut", "some"),
        ("graphs", []),
        ("spec.dtype", "float16"),
        ("spec.layout", 3),
        ("spec", None),
        ("elements", [0]),
        ("elements", "C"),
        ("data", 1),
        ("extra", []),
        ("history", 3),
        ("history", [1]),
        ("parameters", [1]),
        ("kind", "PropertyRegressor"),
        ("format", 2),
    ],
)
def test_other_nonsense_is_refused(model, tmp_path, key, value):
    refused(changed(model, tmp_path / "m.gnnpre", key, value))


def test_a_file_of_a_later_version_says_upgrade(model, tmp_path):
    refused(changed(model, tmp_path / "m.gnnpre", "format", 2), r"upgrade gnnpre to load it\.$")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(model, tmp_path, value):
    tensors = load(members(model)[0])
    name = max(tensors, key=lambda name: tensors[name].numel())
    tensors[name].view(-1)[3] = value
    refused(changed(model, tmp_path / "m.gnnpre", None, None, tensors), f"{name}.*NaN or infinite")


@pytest.mark.parametrize("dtype", [torch.int32, torch.bool, torch.float16, torch.float64])
def test_weights_of_another_dtype_are_refused(model, tmp_path, dtype):
    tensors = {name: value.to(dtype) for name, value in load(members(model)[0]).items()}
    refused(changed(model, tmp_path / "m.gnnpre", None, None, tensors), "but its config describes")


@pytest.mark.parametrize("change", ["missing", "surplus", "shape"])
def test_other_weights_are_refused(model, tmp_path, change):
    tensors = load(members(model)[0])
    name = next(name for name, value in tensors.items() if value.dim() == 2)
    if change == "missing":
        del tensors[name]
    elif change == "surplus":
        tensors["backdoor"] = torch.ones(2)
    else:
        tensors[name] = tensors[name].T.contiguous()[:1]
    refused(changed(model, tmp_path / "m.gnnpre", None, None, tensors))


def test_compressed_members_are_refused(model, tmp_path):
    weights, config = members(model)
    config = {**json.loads(config), "bomb": "0" * 10**7}
    path = write(tmp_path / "m.gnnpre", weights, config, compression=zipfile.ZIP_DEFLATED)
    refused(path, "compressed or encrypted")


def test_json_of_great_depth_is_refused(model, tmp_path):
    path = tmp_path / "m.gnnpre"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("weights.safetensors", members(model)[0])
        archive.writestr("config.json", "[" * 100_000 + "]" * 100_000)
    refused(path, "RecursionError")


@pytest.mark.parametrize("method", [12, 14, 99])
@pytest.mark.parametrize("where", ["central", "local"])
def test_unknown_compression_is_refused(model, tmp_path, method, where):
    content = bytearray(model.read_bytes())
    signature, offset = {"central": (b"PK\x01\x02", 10), "local": (b"PK\x03\x04", 8)}[where]
    start = content.index(signature)
    content[start + offset : start + offset + 2] = struct.pack("<H", method)
    path = tmp_path / "m.gnnpre"
    path.write_bytes(content)
    if where == "central":
        refused(path)
    else:  # the local header counts for nothing
        Pretrainer.load(path)


def test_encrypted_members_are_refused(model, tmp_path):
    content = bytearray(model.read_bytes())
    for signature, offset in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        start = content.index(signature)
        content[start + offset] |= 1
    path = tmp_path / "m.gnnpre"
    path.write_bytes(content)
    refused(path, "encrypted")


def test_flipped_bytes_and_truncations_are_refused(model, tmp_path):
    whole = model.read_bytes()
    generator = torch.Generator().manual_seed(0)
    path = tmp_path / "m.gnnpre"
    n_refused = 0
    for number in range(60):
        content = bytearray(whole)
        for place in torch.randint(len(whole), (3,), generator=generator).tolist():
            content[place] ^= 1 << number % 8
        path.write_bytes(content if number % 2 else content[: len(content) * number // 60])
        try:
            loaded = Pretrainer.load(path)
        except ValueError as error:
            assert path.name in str(error)  # noqa: PT017 - a flip of a date in the zip is harmless
            n_refused += 1
        else:
            state = Pretrainer.load(model).net_.module_.state_dict()
            for name, value in loaded.net_.module_.state_dict().items():
                assert torch.equal(value, state[name])
    assert n_refused > 55


def test_a_folder_with_the_weights_of_another_model_is_refused(model, tmp_path):
    Pretrainer.load(model).save(tmp_path / "one")
    weights = load((tmp_path / "one" / NAMES[0]).read_bytes())
    moved = {
        name: value + 1 if value.is_floating_point() else value for name, value in weights.items()
    }
    (tmp_path / "one" / NAMES[0]).write_bytes(save(moved))
    refused(tmp_path / "one", "checksum")
