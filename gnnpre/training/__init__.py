"""The training loop, its batches and schedules, the skorch net that it trains, and models on disk.

The schedules are for users. The other names serve the estimators.
"""

from ._average import LossTotals as LossTotals
from ._checkpoint import load_checkpoint as load_checkpoint
from ._checkpoint import save_checkpoint as save_checkpoint
from ._epochs import WriteEpoch as WriteEpoch
from ._interrupt import TrainingInterrupted as TrainingInterrupted
from ._interrupt import allow_ctrl_c as allow_ctrl_c
from ._interrupt import delay_ctrl_c as delay_ctrl_c
from ._launch import agreed_seed as agreed_seed
from ._loader import BatchLoader as BatchLoader
from ._loader import CrystalDataset as CrystalDataset
from ._model_spec import ModelSpec as ModelSpec
from ._net import CrystalNet as CrystalNet
from ._nets import hold_pretrained as hold_pretrained
from ._nets import restore_net as restore_net
from ._predict import ordinary_mode as ordinary_mode
from ._predict import predict_batches as predict_batches
from ._reporting import ReportEpoch as ReportEpoch
from ._reporting import ScoreEpoch as ScoreEpoch
from ._schedules import CosineSchedule, PlateauSchedule
from ._settings import STRATEGIES as STRATEGIES
from ._settings import TrainingSettings as TrainingSettings
from ._settings import draw_seed as draw_seed
from ._settings import resolve_compile as resolve_compile
from ._specs import from_spec as from_spec
from ._specs import to_spec as to_spec
from ._split import split_train_valid as split_train_valid
from ._time_limit import seconds_of as seconds_of
from ._trainer import train as train

__all__ = ["CosineSchedule", "PlateauSchedule"]
