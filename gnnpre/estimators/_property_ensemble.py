"""Several kinds of models, blended by their errors on crystals that they have not seen."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from time import monotonic
from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.model_selection import GroupKFold, KFold
from sklearn.utils.validation import check_is_fitted

from gnnpre._labels import as_floats, flatten_column, label_codes
from gnnpre._progress_label import progress_label
from gnnpre._validation import check_number
from gnnpre._warnings import TrainingWarning, warn_user
from gnnpre.graphs import as_crystals
from gnnpre.objectives import Bounds, refuse_labels_outside

from ._blending import blend_weights, conformal_quantile, spread_of_members
from ._ensemble_files import read_ensemble, write_ensemble
from ._ensemble_members import default_members, fit_member, is_network, last_step, seeded
from ._files import check_recorded_paths
from ._inputs import check_sample_weight, warn_of_other_order
from ._settings import draw_seed

__all__ = ["PropertyEnsemble"]


class PropertyEnsemble(RegressorMixin, BaseEstimator):
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
        Named regressors on crystals. By default a network fine-tuned from `pretrained`
        (``"network"``), ``strategy="kernel"`` on its embeddings (``"embedding"``), and a kernel
        machine without a network (``"fingerprint"``).
    kernel_features : sequence of {"composition", "fingerprint"} or transformers
        Features of both kernel machines beside the embeddings, such as
        ``("composition", "fingerprint", FoundationFeatures("chgnet"))``.
    cv : int, default=5
        Number of folds, 2 or more. Each member is trained as many times.
    max_epochs : int, default=100
        Epochs of the default network.
    time_budget : float, optional
        Minutes that `fit` should take: the epochs of networks are cut to fit, after one epoch has
        been timed. Kernel machines take seconds for a thousand crystals and are not cut.
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
        kernel_features: Sequence[Any] = ("composition", "fingerprint"),
        cv: int = 5,
        max_epochs: int = 100,
        time_budget: float | None = None,
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
        self.time_budget = time_budget
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
        warn_of_other_order(X, y=y, groups=groups, sample_weight=sample_weight)
        crystals = as_crystals(X)
        labels_of_user = y
        y = as_floats("y", flatten_column("y", y), n_rows=len(crystals), n_dims=(1,))
        self._check_labels(y)
        refuse_labels_outside(y, self.bounds, labels_of_user)
        bounds = Bounds.of(self.bounds)
        weights = np.ones(len(y))
        if sample_weight is not None:
            weights = check_sample_weight(sample_weight, len(y))
        labels = None if groups is None else label_codes("groups", groups, n_rows=len(y))
        if not weights.all():  # of no weight is as good as not there, in folds too
            counted = np.flatnonzero(weights)
            crystals, y, weights = crystals[counted], y[counted], weights[counted]
            labels = None if labels is None else labels[counted]
        random = np.random.RandomState(draw_seed(self.random_state, resume=False))
        folds = self._folds(len(y), labels, random)

        # 2. Train each member on all folds but one, and predict the one left out.
        # Kernel machines first: the time that they leave is for the networks.
        order = sorted(members, key=lambda member: is_network(member[1]))
        predictions = np.empty((len(y), len(order)))
        self.members_ = {}
        for column, (name, member) in enumerate(order):
            member = seeded(clone(member), random)
            if self.time_budget is not None and is_network(member):
                seconds = 60 * self.time_budget - (monotonic() - started)
                member = self._cut_epochs(member, seconds, crystals, y, folds)
            models = []
            for number, (train, test) in enumerate(folds):
                rows = None if labels is None else labels[train]
                with progress_label(f"{name}, fold {number + 1} of {self.cv}"):
                    model = fit_member(
                        clone(member), crystals[train], y[train], rows, weights[train]
                    )
                predictions[test, column] = model.predict(crystals[test])
                models.append(model)
                self._report(name, number, y[test], predictions[test, column])
            self.members_[name] = models

        # 3. Weigh the members, and keep what uncertainties need.
        shares = blend_weights(predictions, y, weights)
        self.weights_ = {name: float(share) for (name, _), share in zip(order, shares, strict=True)}
        blend = bounds.clip(predictions @ shares)
        columns = [*predictions.T, blend]
        names = [*self.weights_, "blend"]
        self.errors_ = {
            name: float(np.average(np.abs(column - y), weights=weights))
            for name, column in zip(names, columns, strict=True)
        }
        spread = spread_of_members(predictions, shares)
        residuals = np.abs(blend - y)
        # More than half of the residuals may vanish, where most crystals have one value.
        floor = float(np.median(residuals) or residuals.mean())
        widths = spread + floor
        scores = np.sort(residuals / np.where(widths > 0, widths, np.inf))
        self.uncertainty_ = {
            "floor": floor,
            "scores": scores.tolist(),
            "bounds": [bounds.low, bounds.high],
        }
        return self

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
        if self.time_budget is not None:
            check_number("time_budget", self.time_budget)
        if self.members is None:
            return default_members(
                self.pretrained, self.kernel_features, self.max_epochs, self.device
            )
        if self.pretrained is not None:
            raise ValueError(
                "pretrained and members are both given: pass the pre-trained model to the members."
            )
        try:
            members = [(str(name), member) for name, member in self.members]
        except (TypeError, ValueError) as error:
            raise TypeError(
                f"members={self.members!r}; expected (name, estimator) pairs."
            ) from error
        # 'blend' is the name of the weighted mean in errors_ and predictions.
        names = [name for name, _ in members]
        if not names or len(set(names)) < len(names) or "blend" in names:
            raise ValueError(
                f"members are named {names}; expected one or more different names, and not 'blend'."
            )
        return members

    def _check_labels(self, y: np.ndarray) -> None:
        missing = np.flatnonzero(np.isnan(y))
        if len(missing):
            raise ValueError(
                f"y is missing in {len(missing)} of {len(y)} rows, the first of them {missing[0]}: "
                "leave these crystals out."
            )
        if len(y) < 2 * self.cv:
            raise ValueError(
                f"X has {len(y)} crystals; an ensemble with cv={self.cv} needs {2 * self.cv} at "
                "least. Lower cv, or use PropertyRegressor."
            )

    def _folds(self, n: int, groups: Any, random: Any) -> list[tuple[np.ndarray, np.ndarray]]:
        if groups is None:
            splitter: Any = KFold(self.cv, shuffle=True, random_state=random.randint(2**31))
        else:
            n_groups = len(set(groups.tolist()))
            if n_groups < self.cv:
                raise ValueError(f"groups has {n_groups} groups; cv={self.cv} folds need as many.")
            splitter = GroupKFold(self.cv)
        return list(splitter.split(np.zeros(n), groups=groups))

    def _cut_epochs(self, member: Any, seconds: float, crystals: Any, y: Any, folds: Any) -> Any:
        """Return the network with as many epochs as the folds have time for."""
        network = last_step(member)
        train = folds[0][0]
        started = monotonic()
        # One epoch on one fold tells the time of an epoch, with its compilation.
        trial = clone(member)
        last_step(trial).set_params(max_epochs=1)
        fit_member(trial, crystals[train], y[train], None, np.ones(len(train)))
        per_epoch = monotonic() - started
        epochs = int((seconds - per_epoch) / (len(folds) * per_epoch))
        if epochs < network.max_epochs:
            warn_user(
                f"time_budget={self.time_budget:g} minutes leave {max(epochs, 1)} of "
                f"{network.max_epochs} epochs for the networks.",
                TrainingWarning,
            )
            network.set_params(max_epochs=max(epochs, 1))
        return member

    def _report(self, name: str, fold: int, y: np.ndarray, predicted: np.ndarray) -> None:
        if self.verbose:
            error = np.abs(predicted - y).mean()
            print(f"{name}: fold {fold + 1} of {self.cv}, mean absolute error {error:.4g}")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        return tags
