"""Readout and pooling."""

import pytest
import torch

from cases import CUTOFF, READOUTS, random_structures
from gnnpre import CGCNN, Denoising, ForceField, StructureToGraph
from gnnpre.backbones import Readout, pool


@pytest.fixture(scope="module")
def batch():
    structures = [random_structures()[name] for name in ("small", "random", "wire")]
    return StructureToGraph(CUTOFF).transform(structures).batch(dtype=torch.float64)


@pytest.fixture(scope="module")
def features(batch):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(len(batch.atomic_numbers), 4, dtype=torch.float64, generator=generator)


def crystals(values: torch.Tensor, batch) -> list[torch.Tensor]:
    assert batch.n_atoms.tolist() == [1, 5, 3]
    return list(values.split([1, 5, 3]))


@pytest.mark.parametrize("pooling", ["sum", "mean"])
def test_pool(batch, features, pooling):
    expected = torch.stack([getattr(atoms, pooling)(dim=0) for atoms in crystals(features, batch)])
    torch.testing.assert_close(pool(features, batch, pooling), expected)


@pytest.mark.parametrize("pooling", ["sum", "mean"])
def test_late_reads_atoms_and_early_reads_crystals(batch, features, pooling):
    for order in ("late", "early"):
        torch.manual_seed(0)
        head = Readout(4, 2, order=order, pooling=pooling, hidden_channels=6, n_layers=2).double()
        rows = []
        for atoms in crystals(features, batch):
            read = head.mlp(atoms) if order == "late" else atoms
            pooled = getattr(read, pooling)(dim=0)
            rows.append(pooled if order == "late" else head.mlp(pooled))
        torch.testing.assert_close(head(features, batch), torch.stack(rows))


def test_largest_value(batch, features):
    expected = torch.stack([atoms.amax(dim=0) for atoms in crystals(features, batch)])
    torch.testing.assert_close(pool(features, batch, "max"), expected)


def test_cumulants_of_features(batch, features):
    expected = []
    for atoms in crystals(features, batch):
        centred = atoms - atoms.mean(dim=0)
        moments = [(centred**power).mean(dim=0) for power in (2, 3)]
        expected.append(torch.cat([atoms.mean(dim=0), *moments]))
    torch.testing.assert_close(pool(features, batch, "cumulants"), torch.stack(expected))


@pytest.mark.parametrize("order", ["late", "early"])
def test_attention_is_a_mean_with_weights_from_the_features(batch, features, order):
    torch.manual_seed(0)
    head = Readout(4, 2, order=order, pooling="attention").double()
    # Scores far beyond what an exponential holds.
    head.attention.score.weight.data *= 2000.0
    rows = []
    for atoms in crystals(features, batch):
        weights = torch.softmax(head.attention.score(atoms)[:, 0], dim=0)
        read = head.mlp(atoms) if order == "late" else atoms
        pooled = weights @ read
        rows.append(pooled if order == "late" else head.mlp(pooled))
    torch.testing.assert_close(head(features, batch), torch.stack(rows))


def test_cumulants_are_read_early():
    assert Readout(4, 1, order="early", pooling="cumulants").mlp[0].in_features == 12
    with pytest.raises(ValueError, match=r"pooling='cumulants'.*order='early'"):
        Readout(4, 1, pooling="cumulants")


@pytest.mark.parametrize("pooling", ["max", "attention", "cumulants"])
@pytest.mark.parametrize("objective", [ForceField, Denoising])
def test_energies_are_sums_or_means(objective, pooling):
    with pytest.raises(ValueError, match=f"^pooling='{pooling}'; expected one of .'sum', 'mean'"):
        objective(pooling=pooling, readout="early").build(CGCNN(8, 1).build(4.0), {})


@pytest.mark.parametrize("name", READOUTS)
def test_declares_what_it_keeps(name):
    form = READOUTS[name]
    head = Readout(4, 1, order=form.order, pooling=form.pooling)
    assert head.extensive is form.value_extensive


def test_hidden_width_is_that_of_the_features_by_default():
    assert Readout(5, 1).mlp[0].out_features == 5
    assert Readout(5, 1, hidden_channels=7).mlp[0].out_features == 7


@pytest.mark.parametrize(
    ("parameters", "name"),
    [
        ({"order": "last"}, "order"),
        ({"order": None}, "order"),
        ({"pooling": "median"}, "pooling"),
        ({"hidden_channels": 0}, "hidden_channels"),
        ({"hidden_channels": 1.5}, "hidden_channels"),
        ({"n_layers": -1}, "n_layers"),
        ({"n_layers": 1.0}, "n_layers"),
    ],
)
def test_bad_parameters_are_named(parameters, name):
    with pytest.raises(ValueError, match=f"^{name}="):
        Readout(4, 1, **parameters)
