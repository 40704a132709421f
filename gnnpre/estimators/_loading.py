"""A fitted estimator from its file, whichever class it has."""

import json
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from gnnpre.pretrained import resolve_model

from ._pretrainer import Pretrainer
from ._property_classifier import PropertyClassifier
from ._property_ensemble import PropertyEnsemble
from ._property_regressor import PropertyRegressor

__all__ = ["load_estimator"]

CONFIG = "config.json"
ESTIMATORS = {
    cls.__name__: cls
    for cls in (Pretrainer, PropertyClassifier, PropertyRegressor, PropertyEnsemble)
}
# Bytes; the largest configs, with calibration and history, have some MB.
LARGEST_CONFIG = 2**28


def load_estimator(path: str | Path, *, classes: Iterable[type] = ()) -> Any:
    """Load a fitted estimator from the file or folder that its ``save`` wrote, or by its name.

    Parameters
    ----------
    path : str or Path
        The file or folder, or the name of a model in the package (:func:`gnnpre.list_pretrained`).
    classes : iterable of type
        Backbones and objectives of your own that are not imported elsewhere.

    Returns
    -------
    Pretrainer, PropertyRegressor, PropertyClassifier or PropertyEnsemble
        The estimator.

    Raises
    ------
    ValueError
        If the file is damaged, or of another format.
    FileNotFoundError
        If there is no such file or model; the message lists the names.

    See Also
    --------
    PropertyRegressor.load : The same for one class, with an error for any other.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from gnnpre import CGCNN, PropertyRegressor, load_estimator
    >>> from gnnpre.datasets import make_emt_property
    >>> structures, y = make_emt_property(12, random_state=0)
    >>> regressor = PropertyRegressor(CGCNN(8, 1), max_epochs=1, random_state=0)
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "model.gnnpre"
    >>> regressor.fit(structures, y).save(path)
    >>> type(load_estimator(path)).__name__
    'PropertyRegressor'
    """
    path = resolve_model(path, "path")
    name = _class_name(path)
    if name not in ESTIMATORS:
        raise ValueError(
            f"{str(path)!r} holds {name!r}; expected one of {', '.join(ESTIMATORS)}. Was it saved "
            "by a later version of gnnpre?"
        )
    return ESTIMATORS[name].load(path, classes=classes)


def _class_name(path: Path) -> Any:
    """Return the name of the class that the config of a checkpoint states."""
    try:
        if path.is_dir():
            text = (path / CONFIG).read_bytes()
        else:
            with zipfile.ZipFile(path) as archive:
                if archive.getinfo(CONFIG).file_size > LARGEST_CONFIG:
                    raise ValueError(f"its {CONFIG} is too large")
                text = archive.read(CONFIG)
        return json.loads(text)["kind"]
    except Exception as error:  # whatever a damaged file provokes
        raise ValueError(
            f"{str(path)!r} cannot be read as a model of gnnpre ({error}): expected a file that "
            "an estimator's save wrote, such as model.gnnpre."
        ) from error
