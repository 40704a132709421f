"""Model selection: splits and audits of crystals, searches that prune bad trials early."""

from ._cache._cache_entry import CacheEntry
from ._cache._memory import ContentMemory
from ._leaks._key_audit import audit_by_keys as audit_by_keys
from ._leaks._key_audit import make_leak_keys as make_leak_keys
from ._leaks._leak_audit import drop_leaks, leak_audit
from ._leaks._leak_report import LeakAudit
from ._leaks._overlaps import Side as Side
from ._masked_scorer import masked_scorer
from ._search._pruning_search import PruningSearchCV
from ._search._suggest_params import suggest_params
from ._splits._cluster_folds import FingerprintClusterKFold
from ._splits._structure_folds import ChemicalSystemKFold, CompositionKFold, PrototypeKFold
from ._splits._structure_groups import structure_groups
from ._splits._train_test_split import structure_train_test_split

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
