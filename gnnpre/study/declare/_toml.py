"""Studies in files: TOML, or Python that defines ``study``."""

import runpy
import tomllib
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from sklearn.base import BaseEstimator

from gnnpre import backbones, fingerprints, objectives, training
from gnnpre.backbones import Backbone
from gnnpre.graphs import StructureToGraph
from gnnpre.objectives import Objective

from ..plan._known_data import is_path
from ._checks import check_keys
from ._data_set import DataSet
from ._networks import Network, Pretraining
from ._strategy import Strategy
from ._study import Study

__all__ = ["load_study"]

# Fields of a backbone's table that are the study's; all others are the config's.
NETWORK_FIELDS = ("graphs", "pretraining", "finetuning")


def load_study(path: str | Path) -> Study:
    """Read the declaration of a study.

    Parameters
    ----------
    path : str or Path
        A TOML file, or a Python file that defines ``study = Study(...)``. In TOML, paths are
        relative to the file.

    Returns
    -------
    Study
        The study.

    Raises
    ------
    ValueError
        If the file is no TOML, has an unknown key, class or name, or defines no study; the
        message says which, and what is known.
    FileNotFoundError
        If there is no such file.

    See Also
    --------
    run_study : Run it.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from gnnpre.study import load_study
    >>> text = '''
    ... name = "small"
    ... protocol = "papers"
    ... data = ["jdft2d", {name = "gap", source = "mp_gap", sample = 1000}]
    ... graphs = {cutoff = 5.0}
    ... finetuning = {max_epochs = 100, ema_decay = 0.99}
    ... [backbones.cgcnn]
    ... class = "CGCNN"
    ... [pretrainings.ead]
    ... sources = ["mp_form_gap_37k"]
    ... objective = {class = "FingerprintTargets", fingerprint = {class = "EAD"}}
    ... [strategies.scratch]
    ... [strategies.ead]
    ... pretraining = "ead"
    ... '''
    >>> path = Path(tempfile.mkdtemp()) / "study.toml"
    >>> _ = path.write_text(text)
    >>> load_study(path).strategy_names
    ['scratch', 'ead']
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no study file {str(path)!r}.")
    if path.suffix == ".py":
        return _from_python(path)
    if path.suffix != ".toml":
        raise ValueError(f"{str(path)!r} ends in {path.suffix!r}; expected .toml or .py.")
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no TOML: {error}.") from error
    return _study_from(table, path.parent)


def _from_python(path: Path) -> Study:
    study = runpy.run_path(str(path)).get("study")
    if not isinstance(study, Study):
        raise ValueError(
            f"{path} defines study={study!r}; expected a Study: study = Study(name=..., ...)."
        )
    return study


def _study_from(table: dict[str, Any], folder: Path) -> Study:
    known = [field.name for field in fields(Study) if field.name != "estimators"]
    check_keys("the study file", table, known)
    for name in ("name", "data"):
        if name not in table:
            raise ValueError(f"the study file has no {name!r}, which every study needs.")
    given = {key: _settings(key, value) for key, value in table.items()}
    readers: dict[str, Any] = {"data": _data, "graphs": _graphs}
    readers |= dict.fromkeys(("backbones", "pretrainings", "strategies"), _named)
    makers = {"backbones": _network, "pretrainings": _pretraining, "strategies": _strategy}
    for key, read in readers.items():
        if key in given:
            extra = (makers[key],) if key in makers else ()
            given[key] = read(key, given[key], *extra, folder=folder)
    return Study(**given)


def _settings(what: str, value: Any) -> Any:
    """Make configs of all tables that name a class, at any depth."""
    if isinstance(value, Mapping):
        inner = {key: _settings(f"{what}.{key}", item) for key, item in value.items()}
        # That of a network stays a table: some of its fields are the study's.
        is_network = what.startswith("backbones.") and what.count(".") == 1
        return _config(what, inner) if "class" in inner and not is_network else inner
    if isinstance(value, list):
        return [_settings(f"{what}[{index}]", item) for index, item in enumerate(value)]
    return value


def _classes() -> dict[str, type]:
    modules = (backbones, fingerprints, objectives, training)
    named = {name: getattr(module, name) for module in modules for name in module.__all__}
    abstract = {"Backbone", "Objective", "Fingerprint"}
    return {
        name: value
        for name, value in named.items()
        if isinstance(value, type) and issubclass(value, BaseEstimator) and name not in abstract
    }


def _config(what: str, table: Mapping[str, Any]) -> Any:
    known = _classes()
    name = table["class"]
    if name not in known:
        raise ValueError(f"{what} has class={name!r}; expected one of {', '.join(sorted(known))}.")
    parameters = {key: value for key, value in table.items() if key != "class"}
    if name == "Mixture":
        parameters["parts"] = _parts(what, parameters.get("parts", []))
    signature = [p for p in known[name]._get_param_names()]  # type: ignore[attr-defined]
    check_keys(f"{what} ({name})", parameters, signature)
    return known[name](**parameters)


def _parts(what: str, parts: Any) -> list[tuple[str, Any, float]]:
    """Give the parts of a mixture: tables of name, objective and weight."""
    found = []
    for index, part in enumerate(parts):
        check_keys(f"{what}.parts[{index}]", part, ("name", "objective", "weight"))
        if "name" not in part or "objective" not in part:
            raise ValueError(f"{what}.parts[{index}] needs name and objective; it has {part}.")
        found.append((part["name"], part["objective"], part.get("weight", 1.0)))
    return found


def _data(what: str, items: Any, folder: Path) -> list[DataSet | str]:
    if not isinstance(items, list):
        raise TypeError(f"{what} is {items!r}; expected a list of names and tables.")
    known = [field.name for field in fields(DataSet)]
    found: list[DataSet | str] = []
    for item in items:
        if isinstance(item, str):
            found.append(item)
            continue
        check_keys(f"an item of {what}", item, known)
        path = item.get("path")
        found.append(DataSet(**{**item, "path": None if path is None else str(folder / path)}))
    return found


def _graphs(what: str, table: Any, folder: Path | None = None) -> StructureToGraph:
    known = sorted(set(StructureToGraph().get_params()) - {"n_jobs", "device"})
    check_keys(what, table, known)
    return StructureToGraph(**table)


def _named(what: str, tables: Any, make: Any, folder: Path) -> list[Any]:
    if not isinstance(tables, Mapping) or not all(
        isinstance(table, Mapping) for table in tables.values()
    ):
        raise TypeError(f"{what} is {tables!r}; expected tables such as [{what}.one].")
    return [make(f"{what}.{name}", name, dict(table), folder) for name, table in tables.items()]


def _network(what: str, name: str, table: dict[str, Any], folder: Path) -> Network:
    if "class" not in table:
        raise ValueError(f"{what} has no class; expected class = 'CGCNN', say.")
    own = {key: table.pop(key) for key in NETWORK_FIELDS if key in table}
    if "graphs" in own:
        own["graphs"] = _graphs(f"{what}.graphs", own["graphs"])
    backbone: Backbone = _config(what, table)
    return Network(name=name, backbone=backbone, **own)


def _pretraining(what: str, name: str, table: dict[str, Any], folder: Path) -> Pretraining:
    _check_fields(what, table, Pretraining, ("sources", "objective"))
    if not isinstance(table["objective"], Objective):
        raise ValueError(
            f"{what}.objective is {table['objective']!r}; expected a table with class."
        )
    sources = [str(folder / s) if is_path(s) else s for s in table["sources"]]
    return Pretraining(name=name, **{**table, "sources": sources})


def _strategy(what: str, name: str, table: dict[str, Any], folder: Path) -> Strategy:
    _check_fields(what, table, Strategy, ())
    return Strategy(name=name, **table)


def _check_fields(what: str, table: Mapping[str, Any], kind: Any, needed: tuple[str, ...]) -> None:
    check_keys(what, table, [field.name for field in fields(kind) if field.name != "name"])
    for name in needed:
        if name not in table:
            raise ValueError(f"{what} has no {name!r}, which it needs.")
