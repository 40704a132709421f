"""One training as an object that other processes can be sent."""

import pickle
from dataclasses import dataclass, replace
from pathlib import Path

import cloudpickle
import joblib
import numpy as np

from ._loader import CrystalDataset
from ._model_spec import ModelSpec
from ._ranks import Ranks
from ._settings import TrainingSettings

__all__ = ["TrainingWork"]

SPEC_FILE, DATA_FILE = "spec.pkl", "data.joblib"


@dataclass(frozen=True)
class TrainingWork:
    """Model, data and settings of one training.

    Attributes
    ----------
    spec : ModelSpec
        Describes the model.
    dataset : CrystalDataset
        Crystals and targets.
    train, valid : ndarray of int
        Crystals to train on, and to validate on (perhaps none).
    settings : TrainingSettings
        The user's settings.
    seed : int
        Seed of the training.
    """

    spec: ModelSpec
    dataset: CrystalDataset
    train: np.ndarray
    valid: np.ndarray
    settings: TrainingSettings
    seed: int

    def save(self, folder: Path) -> None:
        """Write the work to a folder, so that processes can map one copy of the arrays."""
        # Labels are for the callbacks of the leader.
        arrays = (replace(self.dataset, labels=None), self.train, self.valid)
        joblib.dump(arrays, folder / DATA_FILE)
        # Classes of a notebook or a script travel by value: nobody could import them.
        rest = cloudpickle.dumps((self.spec, self.settings, self.seed))
        (folder / SPEC_FILE).write_bytes(rest)

    @classmethod
    def load(cls, folder: Path) -> "TrainingWork":
        """Read the work that :meth:`save` wrote; arrays stay in the file until they are used."""
        spec, settings, seed = pickle.loads((folder / SPEC_FILE).read_bytes())
        dataset, train, valid = joblib.load(folder / DATA_FILE, mmap_mode="r")
        return cls(spec, dataset, np.array(train), np.array(valid), settings, seed)

    def check_same(self, ranks: Ranks) -> None:
        """Check that all processes of a launcher have the same work.

        Raises
        ------
        ValueError
            If one has other data or parameters; in all processes.
        """
        settings = replace(self.settings, device="", verbose=0)
        description = (repr(self.spec), repr(settings), self.seed)
        digests = ranks.gather(joblib.hash((description, self.dataset, self.train, self.valid)))
        different = [number for number, digest in enumerate(digests) if digest != digests[0]]
        if different:
            raise ValueError(
                f"Process {different[0]} of {ranks.size} has other data or parameters than process "
                "0. All processes have to call fit in the same order, with the same crystals in "
                "the same order: sort what is read from folders, and set seeds."
            )
