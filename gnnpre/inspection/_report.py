"""The report of a fitted estimator: one page of HTML that loads nothing."""

from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import is_classifier

from gnnpre._array_likes import to_numpy
from gnnpre._atomic import write_file
from gnnpre._labels import as_labels
from gnnpre._validation import check_path, check_text
from gnnpre._version import __version__
from gnnpre.datasets import reduced_formula
from gnnpre.estimators import describe_network
from gnnpre.graphs import Crystals, FrameLabels, as_crystals

from ._inputs import check_predicts, find_network
from ._loss_curve import LossCurveDisplay
from ._page import Plot, Section, page
from ._report_classes import class_sections
from ._report_forces import force_sections
from ._report_numbers import Evaluation, number_sections
from ._svg import draw
from ._table import Entry, Table

__all__ = ["report"]

PACKAGES = ("torch", "scikit-learn", "skorch", "pymatgen", "numpy")


def report(
    estimator: Any,
    X: Any,
    y: Any,
    path: str | Path,
    *,
    y_pred: Any = None,
    ids: Any = None,
    target: Any = None,
    unit: str = "",
    title: str | None = None,
    notes: Sequence[str] = (),
) -> Path:
    """Write a page about a fitted estimator: errors, plots, the worst crystals, and the model.

    The page is one HTML file that loads nothing, follows the light or dark scheme of the browser,
    and can be read on a phone.

    Parameters
    ----------
    estimator : estimator
        A fitted regressor or classifier of crystals, or a Pretrainer with a force field.
    X : container of n structures, Crystals or CrystalGraphs
        Crystals that the estimator has not been fitted on, or those of ``y_pred``.
    y : array-like of shape (n,) or (n, k), or FrameLabels
        Their labels, NaN where one is missing.
    path : str or Path
        The file to write.
    y_pred : array-like of shape (n,), optional
        Predictions to show in place of those of ``estimator``, such as those that
        ``cross_val_predict`` makes for crystals which the estimator has been fitted on.
    ids : array-like of shape (n,), optional
        Names of the crystals; those of X, or else numbers, by default.
    target : int or str, optional
        The column of y, if it has several.
    unit : str
        Unit of the property.
    title : str, optional
        Title of the page.
    notes : sequence of str
        Remarks below the title, such as where the labels come from.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    ValueError
        If lengths differ, or no row has a label.
    FileNotFoundError
        If there is no such folder.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from gnnpre import CGCNN, PropertyRegressor
    >>> from gnnpre.datasets import make_emt_property
    >>> from gnnpre.inspection import report
    >>> structures, y = make_emt_property(30, max_atoms=4, random_state=0)
    >>> model = PropertyRegressor(CGCNN(8, 1), max_epochs=1, random_state=0)
    >>> _ = model.fit(structures[:20], y[:20])
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "report.html"
    >>> report(model, structures[20:], y[20:], path, unit="GPa").name
    'report.html'
    """
    # 1. Check the inputs before anything is computed.
    path = _checked_path(path)
    check_predicts(estimator)
    crystals = as_crystals(X)
    _check_length(crystals, y)
    names, notes = _names(crystals, ids), _checked_notes(notes)
    check_text("unit", unit)
    if title is not None:
        check_text("title", title)
    # 2. Sections of errors, by the type of labels.
    if isinstance(y, FrameLabels):
        sections = force_sections(estimator, X, y, crystals, names)
    else:
        evaluation = Evaluation(estimator, X, y, crystals, names, y_pred, target, unit)
        # An estimator without scikit-learn's tags is taken for a regressor.
        has_classes = hasattr(estimator, "__sklearn_tags__") and is_classifier(estimator)
        make = class_sections if has_classes else number_sections
        sections = make(evaluation)
    # 3. Sections of the model.
    heading = title or f"Report of {_class_name(estimator)}"
    introduction = Section("", [_introduction(estimator, crystals, y_pred)], notes=notes)
    everything = [introduction, *sections, *_model_sections(estimator)]
    write_file(path, page(heading, everything))
    return path


def _checked_path(path: Any) -> Path:
    check_path("path", path)
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{str(path)!r} is a folder; expected the name of an HTML file.")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"There is no folder {str(path.parent)!r} to write {path.name} in.")
    return path


def _check_length(crystals: Crystals, y: Any) -> None:
    labels = y if isinstance(y, FrameLabels) else np.atleast_1d(to_numpy("y", y, len(crystals)))
    if len(crystals) != len(labels):
        raise ValueError(f"X has {len(crystals)} crystals, but y has {len(labels)} rows.")


def _names(crystals: Crystals, ids: Any) -> list[str]:
    ids = crystals.ids if ids is None else ids
    if ids is None:
        return [str(row) for row in range(len(crystals))]
    return [str(name) for name in as_labels("ids", ids, n_rows=len(crystals))]


def _checked_notes(notes: Any) -> list[str]:
    is_list = isinstance(notes, Sequence) and not isinstance(notes, (str, bytes))
    if not is_list or not all(isinstance(note, str) for note in notes):
        raise TypeError(f"notes={notes!r}; expected a list of texts.")
    return list(notes)


def _class_name(estimator: Any) -> str:
    network, _ = find_network(estimator)
    return type(estimator if network is None else network).__name__


def _introduction(estimator: Any, crystals: Crystals, y_pred: Any) -> str:
    source = (
        f"Predictions of the fitted {_class_name(estimator)}. Errors are those on new crystals "
        "only if it has not been fitted on these."
        if y_pred is None
        else "Predictions were passed to this report; each should come from a model that had not "
        "seen the crystal."
    )
    elements = len(np.unique(crystals.atomic_numbers))
    return (
        f"{len(crystals):,} crystals of {elements} elements, {len(crystals.atomic_numbers):,} "
        f"atoms, such as {reduced_formula(crystals.atomic_numbers[: crystals.n_atoms[0]])}. "
        f"{source}"
    )


def _model_sections(estimator: Any) -> list[Section]:
    """Return the losses of the training, the model and its parameters, and versions."""
    sections = []
    network, _ = find_network(estimator)
    if network is not None and network.history_:
        svg = draw(
            "report-losses",
            "Losses of the training by epoch",
            (5.4, 3.4),
            lambda figure: LossCurveDisplay(network.history_).plot(figure.subplots()),
        )
        caption = "Losses by epoch of the model that was fitted last."
        sections.append(Section("Training", plots=[Plot(svg, caption)]))
    rows = {} if network is None else describe_network(network)
    rows["parameters"] = " ".join(repr(estimator).split())
    sections.append(_rows_section("Model", rows))
    versions = {"gnnpre": __version__, **{name: _version(name) for name in PACKAGES}}
    written = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    text = ", ".join(f"{name} {number}" for name, number in versions.items())
    sections.append(_rows_section("Provenance", {"versions": text, "written": written}))
    return sections


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


def _rows_section(title: str, rows: dict[str, str]) -> Section:
    entries = [[Entry(name), Entry(text)] for name, text in rows.items()]
    return Section(title, tables=[Table(title, ["", ""], entries)])
