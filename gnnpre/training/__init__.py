"""The training loop on skorch, its batches, its schedules, and models on disk."""

from ._average import LossTotals
from ._checkpoint import load_checkpoint, save_checkpoint
from ._loader import BatchLoader, CrystalDataset
from ._net import CrystalNet, StopTraining
from ._schedules import CosineSchedule, PlateauSchedule
from ._settings import TrainingSettings, draw_seed
from ._specs import from_spec, to_spec
from ._split import split_train_valid
from ._trainer import ModelSpec, predict_batches, restore_net, train

__all__ = [
    "BatchLoader",
    "CosineSchedule",
    "CrystalDataset",
    "CrystalNet",
    "LossTotals",
    "ModelSpec",
    "PlateauSchedule",
    "StopTraining",
    "TrainingSettings",
    "draw_seed",
    "from_spec",
    "load_checkpoint",
    "predict_batches",
    "restore_net",
    "save_checkpoint",
    "split_train_valid",
    "to_spec",
    "train",
]
