"""Tables computed from crystals have the row labels that the crystals carry."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from sklearn.base import TransformerMixin

from ._crystal_graphs import CrystalGraphs
from ._crystals import Crystals

__all__ = ["IndexedTransformerMixin", "index_of"]


def index_of(X: Any) -> Any:
    """Return the pandas Index that crystals, graphs, a Series or a DataFrame carry, or None."""
    if isinstance(X, (Crystals, CrystalGraphs)) or hasattr(X, "iloc"):
        return X.index
    return None


class IndexedTransformerMixin(TransformerMixin):
    """Transformer whose pandas output has the index that X carries.

    scikit-learn labels the rows of pandas output like the rows of X if X is a Series or DataFrame,
    and by 0 to n-1 otherwise. ``pandas.concat``, and with it ColumnTransformer and FeatureUnion,
    aligns rows by their labels: those of :class:`Crystals` and :class:`CrystalGraphs` therefore
    have to be labelled like the table that the crystals come from.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)  # wraps transform for set_output
        for name in ("transform", "fit_transform"):
            # Only methods of the class itself: those that it inherits are wrapped already.
            if name in vars(cls):
                setattr(cls, name, _label_rows(vars(cls)[name]))


def _label_rows(method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def wrapped(self: Any, X: Any, *args: Any, **kwargs: Any) -> Any:
        output = method(self, X, *args, **kwargs)
        if isinstance(X, (Crystals, CrystalGraphs)) and X.index is not None:
            output = _with_index(output, X.index)
        return output

    return wrapped


def _with_index(output: Any, index: Any) -> Any:
    if hasattr(output, "iloc"):  # pandas, not an array or a polars table
        output.index = index
    return output
