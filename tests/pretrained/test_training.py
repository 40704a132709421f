"""`python -m benchmarks pretrained`, in small: all trainings, their starts, cards and keys."""

import argparse
from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks.pretrained import frames, run
from benchmarks.pretrained.recipes import RECIPES
from benchmarks.pretrained.structures import LABELS
from gnnpre import Crystals, FrameLabels, Pretrainer, TorchMDNet, load_estimator
from gnnpre.datasets import make_emt_frames
from gnnpre.model_selection import structure_groups
from gnnpre.pretrained import LeakKeys, describe_pretrained

SETTINGS = {"max_epochs": 1, "batch_size": 16, "validation_fraction": 0.2}


def small(recipe):
    """Return a recipe with a narrow network and one epoch."""
    # The base model and its start are wider than the other two, which are alike.
    channels = 16 if recipe.name in ("gnnpre-1", "gnnpre-1-first") else 8
    backbone = TorchMDNet(channels, 1, n_heads=2)
    return replace(recipe, backbone=backbone, settings={**recipe.settings, **SETTINGS})


def read_structures(data):
    structures, _ = make_emt_frames(60, random_state=0)
    crystals = Crystals.from_structures(structures)
    rng = np.random.default_rng(0)
    info = {name: rng.normal(size=60) for name in LABELS}
    info |= {"formula": structure_groups(crystals), "id": np.array([f"mp-{i}" for i in range(60)])}
    return crystals, FrameLabels(crystals.n_atoms, info=info)


def read_frames(data):
    structures, labels = make_emt_frames(60, random_state=1)
    crystals = Crystals.from_structures(structures)
    files = np.repeat(["mptrj-random-1k", "mpf-TP", "emmet"], 20)
    energy = np.where(files == "emmet", np.nan, labels.energy)
    info = {"file": files, "group": files, "formula": structure_groups(crystals)}
    return crystals, FrameLabels(
        labels.n_atoms, energy=energy, forces=labels.forces, stress=labels.stress, info=info
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pretrained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GNNPRE_DATA", str(folder))
        patch.setattr(run, "read_training_set", read_structures)
        patch.setattr(run, "read_training_frames", read_frames)
        for name, recipe in RECIPES.items():
            patch.setitem(RECIPES, name, small(recipe))
        run.run(argparse.Namespace(folder=folder, only=None, install=False))
    return folder


def test_released_models(folder):
    released = sorted(path.stem for path in (folder / "released").iterdir())
    assert released == ["gnnpre-1", "gnnpre-1-forces", "gnnpre-1-small"]
    for name in released:
        path = folder / "released" / f"{name}.gnnpre"
        assert isinstance(load_estimator(path), Pretrainer)
        card = describe_pretrained(path).metadata
        assert card["name"] == name
        assert ("start" in card["training"]) == (RECIPES[name].start is not None)
        assert str(folder) not in str(card)


def test_a_training_goes_on_from_the_network_before(folder, monkeypatch):
    """Without a step, the second training has the weights that the first one ended with."""
    first = load_estimator(folder / "gnnpre-1-first.gnnpre").net_.module_
    recipe = small(RECIPES["gnnpre-1"])
    # An average of a few steps would still hold the random weights before the start.
    still = {"learning_rate": 1e-12, "ema_decay": None}
    recipe = replace(recipe, settings={**recipe.settings, **still})
    graphs, labels = run.training_data(recipe, folder)
    pretrainer = recipe.pretrainer(folder).set_params(checkpoint_dir=None, resume=False)
    pretrainer.fit(graphs, labels, groups=labels.groups(recipe.groups))
    second = pretrainer.net_.module_
    same = [
        (first.backbone, second.backbone),
        *((first.parts[name].head, second.parts[name].head) for name in LABELS),
    ]
    for source, target in same:
        values = target.state_dict()
        for name, value in source.state_dict().items():
            torch.testing.assert_close(values[name], value, rtol=1e-4, atol=1e-5)


def test_energies_on_one_scale(folder):
    """Energies of elements and formation energies of the base model are taken off."""
    recipe = RECIPES["gnnpre-1-forces"]
    graphs, labels = run.training_data(recipe, folder)
    original = read_frames(None)[1]
    is_aligned = np.isfinite(labels.energy)
    assert is_aligned.tolist() == np.isfinite(original.energy).tolist()
    base = load_estimator(folder / "gnnpre-1-first.gnnpre")
    predicted = np.ravel(base.predict(graphs)["formation_energy_eV_per_atom"])
    fitted = labels.info["file"] == "mptrj-random-1k"
    remainder = (labels.energy / labels.n_atoms - predicted)[fitted]
    assert abs(remainder.mean()) < 0.1  # eV/atom; total energies are of another size
    shifted = frames.align_energies(
        graphs, FrameLabels(labels.n_atoms, energy=original.energy + 7.0 * labels.n_atoms,
                            forces=labels.forces, stress=labels.stress, info=labels.info), base
    )  # fmt: skip
    np.testing.assert_allclose(shifted.energy, labels.energy, atol=1e-6)


def test_keys(folder):
    keys = LeakKeys.from_bytes((folder / "keys" / "structures.safetensors").read_bytes())
    assert len(keys.ids) == 60
