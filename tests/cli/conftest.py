"""Crystals and models of the tests of commands."""

import numpy as np
import pandas as pd
import pytest

from gnnpre import (
    CGCNN,
    ForceField,
    Pretrainer,
)
from gnnpre.cli import main
from gnnpre.datasets import make_emt_frames, make_emt_property

FAST = ["--max-epochs", "1"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder of CIF files with a table of labels, one row of them without a label."""
    path = tmp_path_factory.mktemp("cifs")
    structures, y = make_emt_property(24, random_state=0, max_atoms=4)
    for number, structure in enumerate(structures):
        structure.to(str(path / f"alloy{number}.cif"))
    names = [f"alloy{number}.cif" for number in range(24)]
    table = pd.DataFrame({"file": names, "K": y, "hard": np.where(y > np.median(y), "yes", "no")})
    table["group"] = [number // 3 for number in range(24)]
    table["batch"] = ["first", None] * 12
    table.loc[5, "K"] = np.nan
    table.to_csv(path / "labels.csv", index=False)
    return path


@pytest.fixture(scope="module")
def model(folder, tmp_path_factory):
    output = tmp_path_factory.mktemp("model") / "out"
    command = ["train", str(folder / "labels.csv"), "--target", "K", "--cv", "3", *FAST]
    assert main([*command, "--calibration-fraction", "0.4", "--output", str(output)]) == 0
    return output


@pytest.fixture(scope="module")
def force_field(tmp_path_factory):
    frames, labels = make_emt_frames(12, random_state=0)
    path = tmp_path_factory.mktemp("forces") / "forces.gnnpre"
    pretrainer = Pretrainer(CGCNN(8, 1), ForceField(), max_epochs=1, random_state=0)
    pretrainer.fit(frames, labels).save(path)
    return str(path)
