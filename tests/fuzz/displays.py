"""Attack: arguments of displays and reports, of stores, and of what takes a fitted model."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from gnnpre import CGCNN, PropertyRegressor, describe_pretrained, load_estimator
from gnnpre.datasets import open_crystals, write_crystals
from gnnpre.estimators import export_model
from gnnpre.graphs import Crystals
from gnnpre.inspection import (
    CalibrationDisplay,
    EmbeddingMapDisplay,
    ErrorByElementDisplay,
    LossCurveDisplay,
    ParityDisplay,
    report,
)

from .labels import column
from .shared import QUICK, Shared
from .values import pick, strange_value


def make_case(
    rng: np.random.Generator, folder: Path, shared: Shared
) -> tuple[str, Callable[[], Any]]:
    """Choose a function, and make one of its arguments strange."""
    targets = _displays(shared) | _pages(shared) | _stores(shared)
    name = pick(rng, list(targets))
    function, arguments = targets[name]
    chosen = pick(rng, list(arguments))
    value = column(rng, len(shared.graphs)) if rng.random() < 0.4 else strange_value(rng)
    return f"{name}({chosen}={value!r:.150})", lambda: _use(function, {**arguments, chosen: value})


def _use(function: Callable[..., Any], arguments: dict[str, Any]) -> Any:
    from matplotlib import pyplot

    result = function(**arguments)
    if hasattr(result, "figure_"):
        result.figure_.canvas.draw()  # some errors wait until then
    pyplot.close("all")
    return result


def _displays(shared: Shared) -> dict[str, tuple[Callable[..., Any], dict[str, Any]]]:
    """Return methods that draw, with the arguments of a call that works."""
    X, y, model = shared.graphs, shared.crystals[1], shared.models["regressor"]
    fitted = {"estimator": model, "X": X, "y": y, "target": None, "ax": None}
    pairs = {"y_true": y, "y_pred": y + 1.0, "ax": None}
    picture = {"method": "pca", "value_label": "K", "random_state": 0, "ax": None}
    return {
        "ParityDisplay": (
            ParityDisplay.from_predictions,
            {**pairs, "lower": y, "upper": y + 2.0, "unit": "eV"},
        ),
        "ParityDisplay of a model": (
            ParityDisplay.from_estimator,
            {**fitted, "confidence": None, "unit": "eV"},
        ),
        "CalibrationDisplay": (
            CalibrationDisplay.from_predictions,
            {**pairs, "y_std": np.ones(len(y)), "confidences": (0.5, 0.9)},
        ),
        "ErrorByElementDisplay": (
            ErrorByElementDisplay.from_predictions,
            {**pairs, "X": X, "unit": "eV", "min_crystals": 1},
        ),
        "ErrorByElementDisplay of a model": (
            ErrorByElementDisplay.from_estimator,
            {**fitted, "unit": "eV", "min_crystals": 1},
        ),
        "LossCurveDisplay": (
            LossCurveDisplay.from_estimator,
            {"estimator": model, "columns": None, "ax": None},
        ),
        "EmbeddingMapDisplay": (
            EmbeddingMapDisplay.from_embeddings,
            {"embeddings": model.embed(X), "values": y, **picture},
        ),
        "EmbeddingMapDisplay of a model": (
            EmbeddingMapDisplay.from_estimator,
            {**fitted, **picture, "layer": -1, "pooling": "mean"},
        ),
    }


def _pages(shared: Shared) -> dict[str, tuple[Callable[..., Any], dict[str, Any]]]:
    """Return functions that take a fitted model and write or describe it."""
    X, y = shared.graphs, shared.crystals[1]
    forces = {"estimator": shared.models["forces"], "X": shared.frame_graphs}
    texts = {"path": "report.html", "ids": None, "title": "t", "notes": ("a",)}
    number = {"estimator": shared.models["regressor"], "X": X, "y": y, "y_pred": None}
    classes = {"estimator": shared.models["classifier"], "X": X, "y": y > np.median(y)}
    return {
        "report": (report, {**number, **texts, "target": None, "unit": "eV"}),
        "report of classes": (report, {**classes, **texts}),
        "report of forces": (report, {**forces, **texts, "y": shared.frames[1]}),
        "export_model": (export_model, {"estimator": None}),
        "load_estimator": (load_estimator, {"path": "none", "classes": ()}),
        "describe_pretrained": (describe_pretrained, {"model": "none"}),
    }


def _stores(shared: Shared) -> dict[str, tuple[Callable[..., Any], dict[str, Any]]]:
    """Return functions that write a store, or fit and predict with one."""
    crystals = Crystals.from_structures(shared.crystals[0])
    return {
        "write_crystals": (
            _write,
            {"folder": "store", "batches": [crystals[:4], crystals[4:]], "shard_rows": 3,
             "n_jobs": None},
        ),
        "open_crystals": (_open, {"shuffle_rows": 4, "n_threads": 1, "batches": [crystals]}),
        "fit(store)": (_fit_store, {"y": shared.crystals[1], "groups": None,
                                    "sample_weight": None, "batches": [crystals]}),
        "predict_to_parquet": (
            lambda **k: len(shared.models["regressor"].predict_to_parquet(**k).read_bytes()),
            {"X": crystals, "path": "p.parquet"},
        ),
    }  # fmt: skip


def _write(**arguments: Any) -> Any:
    store = write_crystals(arguments.pop("folder"), arguments.pop("batches"), **arguments)
    return [store[:2].positions]


def _open(batches: Any, **arguments: Any) -> Any:
    write_crystals("store", batches)
    return [open_crystals("store", **arguments)[:2].positions]


def _fit_store(batches: Any, y: Any, groups: Any, sample_weight: Any) -> Any:
    store = write_crystals("store", batches)
    model = PropertyRegressor(CGCNN(4, 1), **QUICK).fit(store, y, groups, sample_weight)
    return model.predict(store)
