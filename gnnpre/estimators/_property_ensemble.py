"""Several kinds of models, blended by their errors on crystals that they have not seen."""

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from time import monotonic
from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.utils.validation import check_is_fitted

from gnnpre._progress_label import progress_label
from gnnpre._row_order import warn_of_other_order
from gnnpre._validation import check_number
from gnnpre.graphs import as_crystals
from gnnpre.objectives import Bounds
from gnnpre.training import seconds_of

from ._blending import blend_weights, conformal_quantile, conformal_scores, spread_of_members
from ._ensemble_data import EnsembleData, Fold, checked_data, make_folds
from ._ensemble_files import read_ensemble, write_ensemble
from ._ensemble_members import (
    checked_members,
    crystals_for,
    cut_epochs,
    default_members,
    fit_member,
    network_of,
    seeded,
)
from ._files import check_recorded_paths
from ._named_members import NamedMembersMixin
from ._settings import draw_seed

__all__ = ["PropertyEnsemble"]


class PropertyEnsemble(NamedMembersMixin, RegressorMixin, BaseEstimator):
    """Blend networks and kernel machines by their out-of-fold errors.

    Which model is best depends on the property and on the number of labels: fine-tuned networks on
    elastic moduli, kernel machines on frozen embeddings or fingerprints on surfaces and with few
    labels. The ensemble trains each member on all folds but one in turn, and fits non-negative
    weights to the predictions of the crystals that were left out, to the least absolute error. A
    prediction is the blend of the members, each averaged over its folds.

    Parameters
    ----------
    pretrained : str, Path or FrozenEstimator, optional
        A pre-trained model, as :class:`PropertyRegressor` takes it.
    members : list of (str, estimator), optional
        Named regressors on crystals, whose parameters searches reach as ``name__parameter``. By
        default a network fine-tuned from `pretrained` (``"network"``), ``strategy="kernel"`` on
        its embeddings (``"embedding"``), and a kernel machine without a network
        (``"fingerprint"``).
    kernel_features : sequence of {"composition", "fingerprint", "force_field"} or transformers
        Features of both kernel machines beside the embeddings, such as
        ``("composition", "fingerprint", FoundationFeatures("chgnet"))``; ``"force_field"``, which
        is a network, is not among those of ``"fingerprint"``.
    cv : int, default=5
        Number of folds, 2 or more. Each member is trained as many times.
    max_epochs : int, default=100
        Epochs of the default network.
    max_time : float or str, optional
        Time that `fit` should take, in seconds or as text (``"10min"``, ``"1h 30min"``): the
        epochs of networks are cut to fit, after two epochs on the first fold have been timed.
        These, and kernel machines, which take seconds for a thousand crystals, are not cut: `fit`
        exceeds a limit that is shorter than they take.
    bounds : tuple of (float or None, float or None), optional
        Least and largest possible value, such as ``(0, None)``: predictions and the ends of
        intervals are clipped, and labels out of bounds are an error.
    device : str, default="auto"
        Where the default network runs.
    random_state : int, RandomState instance or None, default=None
        Seed of folds and members.
    verbose : int, default=0
        Whether to print a line for each member and fold.

    Attributes
    ----------
    weights_ : dict of str to float
        Share of each member in the predictions.
    errors_ : dict of str to float
        Mean absolute out-of-fold error of each member, and of the blend (``"blend"``), in the unit
        of y.
    members_ : dict of str to list
        The fitted models of each member, one for each fold.
    uncertainty_ : dict
        Scores of the out-of-fold errors, and the constant and the bounds of intervals.

    See Also
    --------
    PropertyRegressor : One network.
    KernelRegressor : One kernel machine, on a table.

    Notes
    -----
    Out-of-fold errors of the blend are slightly optimistic, as the weights were fitted to the same
    crystals; with a handful of weights and hundreds of crystals that is far below the noise.

    Examples
    --------
    >>> from gnnpre import CGCNN, PropertyEnsemble, PropertyRegressor
    >>> from gnnpre.datasets import make_emt_property
    >>> structures, y = make_emt_property(20, random_state=0)
    >>> small = PropertyRegressor(CGCNN(8, 1), max_epochs=1)
    >>> ensemble = PropertyEnsemble(members=[("network", small)], cv=2, random_state=0)
    >>> ensemble.fit(structures, y).weights_
    {'network': 1.0}
    """

    # Used by scikit-learn's metadata routing where it is enabled: requested by default.
    __metadata_request__fit: ClassVar[dict[str, bool]] = {"groups": True, "sample_weight": True}
    __metadata_request__score: ClassVar[dict[str, bool]] = {"sample_weight": True}

    def __init__(
        self,
        pretrained: Any = None,
        *,
        members: Sequence[tuple[str, Any]] | None = None,
        kernel_features: Sequence[Any] = ("composition", "fingerprint", "force_field"),
        cv: int = 5,
        max_epochs: int = 100,
        max_time: float | str | None = None,
        bounds: Any = None,
        device: str = "auto",
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.pretrained = pretrained
        self.members = members
        self.kernel_features = kernel_features
        self.cv = cv
        self.max_epochs = max_epochs
        self.max_time = max_time
        self.bounds = bounds
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def fit(
        self, X: Any, y: Any, groups: Any = None, sample_weight: Any = None
    ) -> "PropertyEnsemble":
        """Train all members on all folds, and fit their weights.

        Parameters
        ----------
        X : container of n structures, Crystals or CrystalGraphs
            The crystals.
        y : array-like of shape (n,)
            Their property.
        groups : array-like of shape (n,), optional
            Crystals of one group are in one fold.
        sample_weight : array-like of shape (n,), optional
            Weights of the crystals.

        Returns
        -------
        PropertyEnsemble
            This estimator.

        Raises
        ------
        ValueError, TypeError
            If a parameter, a crystal or a property is not as expected; the message names it.
        """
        started = monotonic()
        # 1. Check parameters and labels.
        check_recorded_paths(self.get_params())
        members = self._checked_members()
        time_limit = seconds_of(self.max_time)
        warn_of_other_order(X, y=y, groups=groups, sample_weight=sample_weight)
        data = checked_data(X, y, groups, sample_weight, self.bounds)
        random = np.random.RandomState(draw_seed(self.random_state, resume=False))
        folds = make_folds(data, self.cv, random)

        # 2. Train each member on all folds but one, and predict the one left out.
        # Kernel machines first: the time that they leave is for the networks.
        models, columns = {}, []
        n_networks = sum(network_of(member) is not None for _, member in members)
        for name, member in sorted(members, key=lambda pair: network_of(pair[1]) is not None):
            member = seeded(clone(member), random)
            if time_limit is not None and network_of(member) is not None:
                seconds = (time_limit - (monotonic() - started)) / n_networks
                cut_epochs(member, self.max_time, seconds, data, folds)
                n_networks -= 1
            models[name], predictions = self._fit_folds(name, member, data, folds)
            columns.append(predictions)

        # 3. Weigh the members, and keep what uncertainties need.
        self._blend(list(models), np.stack(columns, axis=1), data)
        self.members_ = models
        return self

    def _fit_folds(
        self, name: str, member: Any, data: EnsembleData, folds: list[Fold]
    ) -> tuple[list[Any], np.ndarray]:
        """Return a model for each fold, and predictions of the crystals that it left out, (n,)."""
        models, predictions = [], np.empty(len(data))
        for number, (train, test) in enumerate(folds, 1):
            with progress_label(f"{name}, fold {number} of {self.cv}"):
                model = fit_member(clone(member), data[train])
            predictions[test] = model.predict(crystals_for(model, data.crystals[test]))
            models.append(model)
            if self.verbose:
                error = np.abs(predictions[test] - data.y[test]).mean()
                line = f"{name}: fold {number} of {self.cv}, mean absolute error {error:.4g}"
                print(line, file=sys.stderr)  # as progress is everywhere
        return models, predictions

    def _blend(self, names: list[str], predictions: np.ndarray, data: EnsembleData) -> None:
        """Fit weights of the members to out-of-fold predictions ``(n, m)``."""
        bounds = Bounds.of(self.bounds)
        shares = blend_weights(predictions, data.y, data.weights)
        blend = bounds.clip(predictions @ shares)
        errors = [
            float(np.average(np.abs(column - data.y), weights=data.weights))
            for column in (*predictions.T, blend)
        ]
        floor, scores = conformal_scores(
            np.abs(blend - data.y), spread_of_members(predictions, shares)
        )
        self.weights_ = dict(zip(names, shares.tolist(), strict=True))
        self.errors_ = dict(zip([*names, "blend"], errors, strict=True))
        self.uncertainty_ = {
            "floor": floor,
            "scores": scores.tolist(),
            "bounds": [bounds.low, bounds.high],
        }

    def predict(self, X: Any, return_std: bool = False) -> Any:
        """Predict the property.

        Parameters
        ----------
        X : container of n structures, Crystals or CrystalGraphs
            The crystals.
        return_std : bool, default=False
            Also return standard deviations, calibrated on the out-of-fold predictions.

        Returns
        -------
        ndarray of shape (n,), or a pair of them
            The blend of the members, and standard deviations, in the unit of y.
        """
        blend, width = self._blend_and_width(X)
        if not return_std:
            return blend
        # For normal errors 68.3 % are within one standard deviation.
        return blend, width * conformal_quantile(self.uncertainty_["scores"], 0.683)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the coefficient of determination.

        Parameters
        ----------
        X : container of n structures, Crystals or CrystalGraphs
            The crystals.
        y : array-like of shape (n,)
            Their property.
        sample_weight : array-like of shape (n,), optional
            Weights of the crystals.

        Returns
        -------
        float
            R^2; 1 is perfect, 0 as good as the mean.
        """
        warn_of_other_order(X, y=y, sample_weight=sample_weight)
        return float(super().score(X, y, sample_weight))

    def predict_interval(self, X: Any, confidence: float = 0.9) -> tuple[np.ndarray, np.ndarray]:
        """Predict an interval for the property of each crystal.

        Its width is conformal: a constant plus the disagreement of the members, scaled so that
        the interval holds the property of a fraction `confidence` of the training crystals, each
        predicted by models that have not seen it.

        Parameters
        ----------
        X : container of n structures, Crystals or CrystalGraphs
            The crystals.
        confidence : float, default=0.9
            Fraction of new crystals of the same kind that lie within.

        Returns
        -------
        lower, upper : ndarray of shape (n,)
            The bounds, in the unit of y.
        """
        check_number("confidence", confidence, high=1.0, high_included=False)
        blend, width = self._blend_and_width(X)
        half = width * conformal_quantile(self.uncertainty_["scores"], confidence)
        return self._bounds().clip(blend - half), self._bounds().clip(blend + half)

    def _blend_and_width(self, X: Any) -> tuple[np.ndarray, np.ndarray]:
        check_is_fitted(self, "members_")
        crystals = as_crystals(X)
        # A member without a share decides nothing, and is not asked.
        shares_by_name = {name: share for name, share in self.weights_.items() if share > 0}
        columns = [
            np.mean([model.predict(crystals) for model in self.members_[name]], axis=0)
            for name in shares_by_name
        ]
        predictions, shares = np.stack(columns, axis=1), np.array(list(shares_by_name.values()))
        blend: np.ndarray = self._bounds().clip(predictions @ shares)
        return blend, spread_of_members(predictions, shares) + self.uncertainty_["floor"]

    def _bounds(self) -> Bounds:
        return Bounds(*self.uncertainty_["bounds"])

    def save(self, path: str | Path) -> None:
        """Write the fitted ensemble to disk: safetensors and JSON, nothing executable.

        Parameters
        ----------
        path : str or Path
            One zip file where it has a suffix (``model.gnnpre``), else a folder.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the ensemble is not fitted.
        TypeError
            If a member of your own cannot be written; the message names it.
        """
        check_is_fitted(self, "members_")
        write_ensemble(self, path)

    @classmethod
    def load(cls, path: str | Path, *, classes: Iterable[type] = ()) -> "PropertyEnsemble":
        """Read a fitted ensemble that :meth:`save` wrote.

        Parameters
        ----------
        path : str or Path
            File or folder.
        classes : iterable of type
            Classes that the file may name besides those of gnnpre.

        Returns
        -------
        PropertyEnsemble
            The fitted ensemble.

        Raises
        ------
        ValueError
            If the file is truncated, of another format, or holds another estimator.
        FileNotFoundError
            If there is no such file.
        """
        parameters, fitted = read_ensemble(path, cls.__name__, classes)
        ensemble = cls(**parameters)
        vars(ensemble).update(fitted)
        return ensemble

    def _checked_members(self) -> list[tuple[str, Any]]:
        check_number("cv", self.cv, integer=True, low=2, low_included=True)
        check_number("max_epochs", self.max_epochs, integer=True)
        check_number("verbose", self.verbose, integer=True, low_included=True)
        if self.members is None:
            return default_members(
                self.pretrained, self.kernel_features, self.max_epochs, self.device
            )
        if self.pretrained is not None:
            raise ValueError(
                "pretrained and members are both given: pass the pre-trained model to the members."
            )
        return checked_members(self.members, self.get_params(deep=False))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        return tags
