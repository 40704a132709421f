"""Studies: data sets x backbones x strategies x seeds or folds, resumable, to tables and pages."""

from ._data_set import DataSet
from ._declaration import BASELINES, Study
from ._estimate import estimate_study
from ._estimate_table import Estimate, EstimateRow
from ._evaluate import RecipeContext
from ._networks import Network, Pretraining
from ._read_results import read_results
from ._report import write_report
from ._results import StudyResults
from ._run import StudyRun, run_study
from ._strategy import Recipe, Strategy
from ._toml import load_study

__all__ = [
    "BASELINES",
    "DataSet",
    "Estimate",
    "EstimateRow",
    "Network",
    "Pretraining",
    "Recipe",
    "RecipeContext",
    "Strategy",
    "Study",
    "StudyResults",
    "StudyRun",
    "estimate_study",
    "load_study",
    "read_results",
    "run_study",
    "write_report",
]
