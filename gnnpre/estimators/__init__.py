"""Estimators on crystals, in the manner of scikit-learn."""

from ._pretrainer import Pretrainer
from ._property_regressor import PropertyRegressor

__all__ = ["Pretrainer", "PropertyRegressor"]
