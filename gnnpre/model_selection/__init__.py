"""Choosing models: splits and audits of crystals, searches that give up early on bad ones."""

from ._cache_entry import CacheEntry
from ._cluster_folds import FingerprintClusterKFold
from ._leak_audit import drop_leaks, leak_audit
from ._leak_report import LeakAudit
from ._masked_scorer import masked_scorer
from ._memory import ContentMemory
from ._pruning_search import PruningSearchCV
from ._structure_folds import ChemicalSystemKFold, CompositionKFold, PrototypeKFold
from ._structure_groups import structure_groups
from ._suggest_params import suggest_params
from ._train_test_split import structure_train_test_split

__all__ = [
    "CacheEntry",
    "ChemicalSystemKFold",
    "CompositionKFold",
    "ContentMemory",
    "FingerprintClusterKFold",
    "LeakAudit",
    "PrototypeKFold",
    "PruningSearchCV",
    "drop_leaks",
    "leak_audit",
    "masked_scorer",
    "structure_groups",
    "structure_train_test_split",
    "suggest_params",
]
