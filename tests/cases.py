"""What several test files share: the lists that tests run over, structures and small models.

A backbone, objective or readout that is added to a list here is covered by ``test_physics`` and by
the estimator contract without a further line.
"""

import os
from typing import Any, NamedTuple

import numpy as np
import torch
from ase import Atoms
from ase.build import bulk
from ase.geometry import cellpar_to_cell
from ase.neighborlist import neighbor_list
from sklearn.base import clone

from gnnpre.backbones import CGCNN, Backbone, SchNet, TorchMDNet
from gnnpre.fingerprints import EAD, GMP, WACSF
from gnnpre.graphs import CrystalBatch, CrystalGraphs, FrameLabels, StructureToGraph
from gnnpre.objectives import (
    AtomTargets,
    Denoising,
    ElementMasking,
    EmbeddingTargets,
    FingerprintTargets,
    ForceField,
    LossTerm,
    Mixture,
    Objective,
    ObjectiveModel,
    PropertyTargets,
    Targets,
    TwoViews,
)

#: Where the tests of physics compute: benchmarks/gpu/run.sh sets it to "cuda".
DEVICE = os.environ.get("GNNPRE_TEST_DEVICE", "cpu")
#: Cutoff (Å) of the graphs in tests of physics; small, so that graphs are too.
CUTOFF = 4.0
MEAN_NEIGHBORS = 12.5

SMALL = {"hidden_channels": 8, "n_layers": 2, "n_radial": 16}
SMALL_ET = {"hidden_channels": 8, "n_layers": 2, "n_heads": 2, "n_radial": 8}
BACKBONES: dict[str, Backbone] = {
    "cgcnn": CGCNN(**SMALL),
    "cgcnn_cosine": CGCNN(**SMALL, envelope="cosine"),
    "cgcnn_sum": CGCNN(**SMALL, aggregation="sum"),
    "cgcnn_batch_norm": CGCNN(**SMALL, batch_norm=True),
    "cgcnn_papers": CGCNN(
        **SMALL,
        envelope=None,
        aggregation="mean",
        activation="softplus",
        element_start="uniform",
    ),
    "schnet": SchNet(**SMALL),
    "torchmdnet": TorchMDNet(**SMALL_ET),
    "torchmdnet_papers": TorchMDNet(
        **SMALL_ET, vector_cutoff=False, aggregation="sum", element_start="normal"
    ),
}

#: Published forms whose energy jumps when a neighbour crosses the cutoff. Tests assert the jump.
JUMPS_AT_CUTOFF = frozenset({"cgcnn_papers", "torchmdnet_papers"})


class ReadoutCase(NamedTuple):
    """A form of readout, and what the energy of a force field keeps with it.

    With ``pooling="mean"`` a readout gives the energy per atom, which the force field multiplies
    by the number of atoms.
    """

    order: str
    pooling: str
    #: What ``Readout.extensive`` says: whether its own value grows with a supercell.
    value_extensive: bool
    #: Whether the total energy of a supercell is that of its cells, and its forces theirs.
    energy_extensive: bool
    #: Whether the energies of parts that are out of each other's reach add up.
    additive: bool


READOUTS = {
    "late_sum": ReadoutCase("late", "sum", True, True, True),
    "late_mean": ReadoutCase("late", "mean", False, True, True),
    # The perceptron of a sum grows as it likes. That of a mean is the same for any supercell, but
    # mixes parts that do not touch.
    "early_sum": ReadoutCase("early", "sum", False, False, False),
    "early_mean": ReadoutCase("early", "mean", False, True, False),
}

#: Every objective, to be tried with every backbone; :func:`make_labels` gives each its y.
OBJECTIVES: dict[str, Objective] = {
    "force_field": ForceField(),
    "properties": PropertyTargets(),
    "atoms": AtomTargets(),
    "denoising": Denoising(),
    "denoising_head": Denoising(through="head", scale="running"),
    "ead": FingerprintTargets(EAD(L=1, rs=(1.5, 2.5, 3.5))),
    "wacsf": FingerprintTargets(WACSF(4.0), loss="mse"),
    "gmp": FingerprintTargets(GMP((0.5,), (-1, 0, 1))),
    "denoising_strain": Denoising(strain=0.05),
    "element_masking": ElementMasking(0.3),
    "embeddings": EmbeddingTargets(EAD(L=0, rs=(1.5, 2.5)), cache=False),
    "two_views": TwoViews(0.05, channels=8),
    "mixture": Mixture(
        [
            ("forces", ForceField(), 1.0),
            ("noise", Denoising(0.05), 0.1),
            ("ead", FingerprintTargets(EAD(L=0)), 0.1),
        ]
    ),
}

#: Those whose model predicts an energy, and forces and stress as its derivatives.
DERIVATIVE_OBJECTIVES: dict[str, Objective] = {
    name: OBJECTIVES[name] for name in ("force_field", "denoising")
}


def make_labels(objective: Objective, graphs: CrystalGraphs, seed: int = 0) -> Any:
    """Random labels of the kind that an objective takes; None where it takes none."""
    rng = np.random.default_rng(seed)
    if not objective.needs_labels:
        return None
    if isinstance(objective, (ForceField, Mixture)):
        return make_frame_labels(graphs.atom_counts, seed)
    if isinstance(objective, AtomTargets):
        return [rng.normal(size=count) for count in graphs.atom_counts]
    return rng.normal(size=len(graphs))


def make_frame_labels(n_atoms: Any, seed: int = 0) -> FrameLabels:
    """Random energies, forces and symmetric stresses, none missing."""
    rng = np.random.default_rng(seed)
    n, total = len(n_atoms), int(np.sum(n_atoms))
    stress = rng.normal(scale=0.05, size=(n, 3, 3))
    return FrameLabels(
        n_atoms,
        energy=rng.normal(-4.0, 1.0, size=n) * np.asarray(n_atoms),
        forces=rng.normal(size=(total, 3)),
        stress=stress + stress.transpose(0, 2, 1),
    )


def loss_targets(
    model: ObjectiveModel, targets: Targets, batch: CrystalBatch, indices: np.ndarray
) -> dict[str, torch.Tensor]:
    """Targets of a batch in the units of the losses, as training makes them."""
    return model.standardize(targets.batch(indices, torch.float64), batch)


def compute_losses(
    model: ObjectiveModel, graphs: CrystalGraphs, targets: Targets, indices: Any = None
) -> dict[str, LossTerm]:
    """Losses of some crystals in float64, without noise."""
    indices = np.arange(len(graphs)) if indices is None else np.asarray(indices)
    batch = graphs.batch(indices, torch.float64)
    return model.losses(model(batch), loss_targets(model, targets, batch, indices), batch)


def make_model(
    backbone: Backbone,
    objective: Objective,
    *,
    cutoff: float = CUTOFF,
    layout: dict[str, Any] | None = None,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
) -> ObjectiveModel:
    """Build a model in eval mode with weights from a seed, and no constant left at 0 or 1.

    Its weights are larger than a training would start from: the network is far from linear, and
    its forces far from zero.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        module = clone(backbone).build(cutoff, MEAN_NEIGHBORS)
        model = clone(objective).build(module, layout or {})
        for module in model.modules():
            # The statistics of objectives and of normalisation, not the constants of a backbone.
            if not isinstance(module, (ObjectiveModel, torch.nn.BatchNorm1d)):
                continue
            for name, buffer in module.named_buffers(recurse=False):
                if name in ("reference_energies", "running_mean"):
                    buffer.normal_(0.0, 0.3)
                elif name in ("scale", "running_var"):
                    buffer.uniform_(1.5, 2.5)
        for parameter in model.parameters():
            if not parameter.any():
                parameter.data.normal_(0.0, 0.03)
            parameter.data *= 3.0
    return model.to(device=DEVICE, dtype=dtype).eval()


def evaluate(
    model: ObjectiveModel,
    structures: list[Atoms],
    *,
    cutoff: float = CUTOFF,
    dtype: torch.dtype = torch.float64,
    **settings: Any,
) -> dict[str, np.ndarray]:
    """Predict for structures, from their graphs on: ``settings`` are StructureToGraph's."""
    graphs = StructureToGraph(cutoff, **settings).transform(structures)
    predictions = model.predict(graphs.batch(dtype=dtype).to(DEVICE))
    return {name: values.cpu().numpy() for name, values in predictions.items()}


def perfect_crystals() -> dict[str, Atoms]:
    """Crystals whose symmetry leaves no force on any atom."""
    return {
        "Si": bulk("Si", "diamond", a=5.431, cubic=True),
        "Si primitive": bulk("Si", "diamond", a=5.431),
        "NaCl": bulk("NaCl", "rocksalt", a=5.64, cubic=True),
        "Fe": bulk("Fe", "bcc", a=2.866, cubic=True),
        "Fe primitive": bulk("Fe", "bcc", a=2.866),
    }


def random_structures() -> dict[str, Atoms]:
    """Structures without symmetry, of every kind of cell and periodicity.

    No distance is close to ``CUTOFF``, so that small steps change no set of neighbours.
    """
    rng = np.random.default_rng(7)
    left_handed = cellpar_to_cell([4.4, 4.2, 4.7, 80, 95, 104])[[1, 0, 2]]
    cells = {
        "random": (cellpar_to_cell([5.2, 4.8, 4.5, 78, 97, 109]), True, 5),
        "left-handed": (left_handed, True, 4),
        "small": (cellpar_to_cell([2.4, 2.6, 2.9, 85, 74, 95]), True, 1),
        "small skewed": (cellpar_to_cell([3.0, 4.1, 4.4, 44, 58, 66]), True, 2),
        "small skewed left-handed": (-cellpar_to_cell([3.3, 3.2, 4.6, 130, 77, 61]), True, 2),
        "slab": (cellpar_to_cell([3.6, 4.1, 15.0, 90, 90, 101]), (True, True, False), 4),
        "wire": (cellpar_to_cell([12.0, 3.4, 13.0, 90, 90, 90]), (False, True, False), 3),
        "molecule": (np.zeros((3, 3)), False, 4),
    }
    return {
        name: _random_atoms(rng, np.asarray(cell), pbc, count)
        for name, (cell, pbc, count) in cells.items()
    }


def _random_atoms(rng: np.random.Generator, cell: np.ndarray, pbc: Any, n_atoms: int) -> Atoms:
    """Draw elements and positions until no atoms collide and none is near the cutoff."""
    # Along directions that are not periodic, atoms stay within each other's reach.
    box = np.where(np.broadcast_to(pbc, 3)[:, None], cell, 3.5 * np.eye(3))
    for _ in range(10_000):
        numbers = rng.choice([1, 8, 13, 26, 29], size=n_atoms)
        atoms = Atoms(numbers, rng.random((n_atoms, 3)) @ box, cell=cell, pbc=pbc)
        distances = neighbor_list("d", atoms, CUTOFF + 0.5)
        if (distances > 1.2).all() and (np.abs(distances - CUTOFF) > 0.012).all():
            return atoms
    raise RuntimeError(f"no structure found in the cell {cell.tolist()}")


def random_rotation(rng: np.random.Generator, *, reflect: bool = False) -> np.ndarray:
    """Orthogonal 3x3 matrix of determinant 1, or -1 with a reflection."""
    matrix = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    wanted = -1.0 if reflect else 1.0
    return matrix if np.linalg.det(matrix) * wanted > 0 else -matrix


FRAME_CELL = 'Lattice="4 0 0 0 4 0 0 0 4"'


def extxyz(*comments, force="0.1 0.2 0.3", symbol="Cu"):
    """Text of extended XYZ frames of one atom in a cube of 4 Å, with these comment lines."""
    properties = "Properties=species:S:1:pos:R:3:forces:R:3"
    return "".join(
        f"1\n{FRAME_CELL} {properties} {comment}\n{symbol} 0.5 0.5 4.5 {force}\n"
        for comment in comments
    )
