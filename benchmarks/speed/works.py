"""The measurements: sizes, settings, and the ratios that are aimed at."""

from dataclasses import dataclass, field
from typing import Any

from gnnpre import CGCNN, ForceField, PropertyTargets, StructureToGraph, TorchMDNet
from gnnpre.backbones import Backbone

__all__ = ["OURS", "PLAIN", "PREDICTIONS", "TORCH", "TRAININGS", "Prediction", "Training"]

#: The contenders: ours as it comes, with compiled kernels; with torch's functions alone; the plain
#: reference.
OURS, TORCH, PLAIN = "gnnpre", "gnnpre, compile=False", "plain"

PUBLISHED_CGCNN = {
    "envelope": None,
    "aggregation": "mean",
    "activation": "softplus",
    "element_start": "uniform",
    "smearing_width": 0.2,
}
PUBLISHED_ET = {"vector_cutoff": False, "aggregation": "sum", "element_start": "normal"}
PUBLISHED_HEAD: dict[str, Any] = {"readout": "early", "head_layers": 3, "head_channels": 150}
PUBLISHED_FORCES = ForceField(
    1, 1, 1, energy_per="cell", reference_energies=None, scale=False, **PUBLISHED_HEAD
)
PUBLISHED_PROPERTY = PropertyTargets(standardize=False, **PUBLISHED_HEAD)
NEAREST = StructureToGraph(8.0, max_neighbors=12, neighbor_cut="exact")
FORCES_ASKED = {OURS: 4.0, TORCH: 2.5}
ET_ASKED = {OURS: 4.0, TORCH: 2.0}


@dataclass(frozen=True)
class Training:
    """Training steps on batches of one size: ``steps`` of them are a round."""

    title: str
    backbone: Backbone
    objective: Any
    graphs: StructureToGraph
    batch_size: int
    steps: int
    #: Speed over the plain reference that each contender has to reach.
    asked: dict[str, float] = field(default_factory=dict)
    #: Adapters in peers/ that run beside it: their models are not the same, but the sizes are.
    peers: tuple[str, ...] = ()
    peer_settings: dict[str, Any] = field(default_factory=dict)
    memory_asked: float | None = None


@dataclass(frozen=True)
class Prediction:
    """Prediction of a property from structures on, ``count`` of them a round."""

    title: str
    backbone: Backbone
    objective: Any
    graphs: StructureToGraph
    batch_size: int
    count: int
    asked: dict[str, float] = field(default_factory=dict)


def forces(title: str, backbone: Backbone, objective: Any, steps: int, **options: Any) -> Training:
    return Training(title, backbone, objective, StructureToGraph(5.0), 32, steps, **options)


TRAININGS: dict[str, Training] = {
    "cgcnn_100x4_forces": forces(
        "CGCNN 100x4, E+F+S training, 5 Å, papers' form",
        CGCNN(100, 4, **PUBLISHED_CGCNN),
        PUBLISHED_FORCES,
        5,
        asked=FORCES_ASKED,
        memory_asked=2.0,
    ),
    "cgcnn_64x3_forces": forces(
        "CGCNN 64x3, E+F+S training, 5 Å, papers' form",
        CGCNN(64, 3, **PUBLISHED_CGCNN),
        PUBLISHED_FORCES,
        10,
        asked=FORCES_ASKED,
        memory_asked=2.0,
    ),
    "cgcnn_100x4_forces_default": forces(
        "CGCNN 100x4, E+F+S training, 5 Å, gnnpre's default form",
        CGCNN(100, 4),
        ForceField(),
        5,
        asked=FORCES_ASKED,
        memory_asked=2.0,
    ),
    "cgcnn_64x3_forces_default": forces(
        "CGCNN 64x3, E+F+S training, 5 Å, gnnpre's default form",
        CGCNN(64, 3),
        ForceField(),
        10,
        asked=FORCES_ASKED,
        memory_asked=2.0,
    ),
    "cgcnn_100x4_property": Training(
        "CGCNN 100x4, property training, 12 neighbours, papers' form",
        CGCNN(100, 4, **PUBLISHED_CGCNN),
        PUBLISHED_PROPERTY,
        NEAREST,
        100,
        5,
        asked={OURS: 3.0},
    ),
    "et_64x3_forces": forces(
        "ET 64x3, E+F+S training, 5 Å, papers' form",
        TorchMDNet(64, 3, **PUBLISHED_ET),
        PUBLISHED_FORCES,
        3,
        asked=ET_ASKED,
        memory_asked=2.0,
        peers=("torchmd-net",),
        peer_settings={"channels": 64, "layers": 3},
    ),
    "et_128x4_forces": forces(
        "ET 128x4, E+F+S training, 5 Å, papers' form",
        TorchMDNet(128, 4, **PUBLISHED_ET),
        PUBLISHED_FORCES,
        1,
        asked=ET_ASKED,
        memory_asked=2.0,
        peers=("torchmd-net",),
        peer_settings={"channels": 128, "layers": 4},
    ),
    "et_64x3_forces_default": forces(
        "ET 64x3, E+F+S training, 5 Å, gnnpre's default form",
        TorchMDNet(64, 3),
        ForceField(),
        3,
        asked=ET_ASKED,
        memory_asked=2.0,
    ),
    "et_128x4_forces_default": forces(
        "ET 128x4, E+F+S training, 5 Å, gnnpre's default form",
        TorchMDNet(128, 4),
        ForceField(),
        1,
        asked=ET_ASKED,
        memory_asked=2.0,
    ),
    "peers_64x3_forces": forces(
        "Other architectures of 64 channels and 3 layers, E+F+S training, 5 Å",
        CGCNN(64, 3),
        ForceField(),
        1,
        peers=("schnetpack", "graph-pes", "matgl", "mace-torch", "chgnet"),
        peer_settings={"channels": 64, "layers": 3},
    ),
}

PREDICTIONS: dict[str, Prediction] = {
    "predict_property_12": Prediction(
        "CGCNN 100x4, a property from structures on, 12 neighbours, papers' form",
        CGCNN(100, 4, **PUBLISHED_CGCNN),
        PUBLISHED_PROPERTY,
        NEAREST,
        100,
        500,
        asked={OURS: 5.0},
    ),
    "predict_property_5": Prediction(
        "CGCNN 64x3, a property from structures on, 5 Å, papers' form",
        CGCNN(64, 3, **PUBLISHED_CGCNN),
        PUBLISHED_PROPERTY,
        StructureToGraph(5.0),
        100,
        500,
        asked={OURS: 5.0},
    ),
}
