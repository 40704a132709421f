"""Studies: data sets x backbones x strategies x seeds or folds, resumable, to tables and pages."""

from .declare._data_set import DataSet
from .declare._networks import Network, Pretraining
from .declare._strategy import Recipe, Strategy
from .declare._study import BASELINES, Study
from .declare._toml import load_study
from .report._read_results import read_results
from .report._report import write_report
from .report._results import StudyResults
from .run._estimate import estimate_study
from .run._estimate_table import Estimate, EstimateRow
from .run._evaluate import RecipeContext
from .run._run_study import StudyRun, run_study

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
