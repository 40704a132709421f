import hashlib
import json

import numpy as np
import pytest

from gnnpre import CGCNN, EAD, FingerprintTargets, Pretrainer
from gnnpre.datasets import make_emt_property
from gnnpre.graphs import as_crystals
from gnnpre.model_selection._leaks._key_audit import make_leak_keys
from gnnpre.pretrained import _catalogue, write_release

CARD = {
    "name": "tiny",
    "summary": "For tests.",
    "license": "BSD-3-Clause",
    "network": {"backbone": "CGCNN(8, 1)", "weights": 1234},
    "training": {"objective": "FingerprintTargets(EAD())", "CPU hours": 0.001},
    "data": [
        {"name": "EMT", "n": 20, "labels": {"K": 20}, "license": "CC0-1.0", "from": "made here"}
    ],
    "elements": {"Cu": 7, "Au": 9},
    "errors": [{"label": "K", "unit": "GPa", "mae": 1.5, "baseline": 9.0, "n": 4}],
    "limits": ["Anything but tests."],
}


@pytest.fixture(scope="session")
def training_set():
    return make_emt_property(20, random_state=0)


@pytest.fixture(scope="session")
def released_file(tmp_path_factory, training_set):
    """A model with card and leak keys, as `python -m benchmarks pretrained` writes them."""
    structures, _ = training_set
    path = tmp_path_factory.mktemp("release") / "tiny.gnnpre"
    objective = FingerprintTargets(EAD(cutoff=4.0))
    Pretrainer(CGCNN(8, 1), objective, max_epochs=1, random_state=0).fit(structures).save(path)
    has_modulus = np.arange(20) % 2 == 0
    labels = {"structure": np.ones(20, dtype=bool), "K": has_modulus}
    ids = [f"mp-{row}" for row in range(20)]
    write_release(path, CARD, make_leak_keys(as_crystals(structures), labels, ids))
    return path


@pytest.fixture
def tiny(monkeypatch, tmp_path, released_file):
    """The package with a small model, "tiny", in a folder that tests may damage.

    The force field, whose embeddings are features by default, is beside it.
    """
    force_field = _catalogue.FOLDER / "gnnpre-1-forces.gnnpre"
    contents = {"tiny": released_file.read_bytes(), force_field.stem: force_field.read_bytes()}
    for name, content in contents.items():
        (tmp_path / f"{name}.gnnpre").write_bytes(content)
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    (tmp_path / "checksums.json").write_text(json.dumps(sums))
    monkeypatch.setattr(_catalogue, "FOLDER", tmp_path)
    _catalogue._checksums.cache_clear()
    yield tmp_path / "tiny.gnnpre"
    _catalogue._checksums.cache_clear()
