"""Studies in files: TOML, or Python that defines ``study``."""

import runpy
import tomllib
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from sklearn.base import BaseEstimator

from gnnpre import backbones, fingerprints, foundation, objectives, training
from gnnpre.graphs import StructureToGraph
from gnnpre.objectives import Objective

from ._checks import as_names, as_tuple, check_keys
from ._data_set import DataSet
from ._networks import Network, Pretraining
from ._paths import expand_path, is_path
from ._strategy import Strategy
from ._study import Study

__all__ = ["load_study"]

# Keys of a backbone's table that belong to the study; all others are parameters of the backbone.
NETWORK_FIELDS = ("graphs", "pretraining", "finetuning")


def load_study(path: str | Path) -> Study:
    """Read the declaration of a study.

    Parameters
    ----------
    path : str or Path
        A TOML file, or a Python file that defines ``study = Study(...)``. In TOML, paths are
        relative to the file; ``~`` and environment variables in them are expanded. A Python file
        is run: load only files that you trust.

    Returns
    -------
    Study
        The study.

    Raises
    ------
    ValueError
        If the file is not TOML, has an unknown key, class or name, or defines no study; the
        message names it and lists those expected.
    TypeError
        If a value has another type than expected.
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
    ... sources = ["mp_gap"]
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
        return _study_from(table, path.parent)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not TOML: {error}.") from error
    except RecursionError as error:
        raise ValueError(
            f"{path} is nested too deeply to be read: a study file has a handful of levels."
        ) from error


def _from_python(path: Path) -> Study:
    # Recipes hold functions, which TOML cannot: such a study is a Python file.
    study = runpy.run_path(str(path)).get("study")
    if not isinstance(study, Study):
        raise ValueError(
            f"{path} defines study={study!r}; expected a Study: study = Study(name=..., ...)."
        )
    return study


def _study_from(table: dict[str, Any], folder: Path) -> Study:
    """Build the study of a parsed file; ``folder`` is that of the file."""
    allowed = [field.name for field in fields(Study) if field.name != "estimators"]
    check_keys("the study file", table, allowed)
    for name in ("name", "data"):
        if name not in table:
            raise ValueError(f"the study file has no {name!r}, which every study needs.")
    # 1. tables that name a class become its objects, at any depth
    values = {key: _build_configs(key, value) for key, value in table.items()}
    # 2. the rest becomes the objects of the declaration
    if "data" in values:
        values["data"] = _data(values["data"], folder)
    if "graphs" in values:
        values["graphs"] = _graphs("graphs", values["graphs"])
    builders = {"backbones": _network, "pretrainings": _pretraining, "strategies": _strategy}
    for key, build in builders.items():
        if key in values:
            tables = _tables(key, values[key])
            values[key] = [build(f"{key}.{n}", n, dict(t), folder) for n, t in tables.items()]
    return Study(**values)


def _build_configs(where: str, value: Any) -> Any:
    """Replace all tables that name a class by an object of it, at any depth."""
    if isinstance(value, Mapping):
        inner = {key: _build_configs(f"{where}.{key}", item) for key, item in value.items()}
        # That of a network stays a table: some of its keys belong to the study.
        is_network = where.startswith("backbones.") and where.count(".") == 1
        return _config(where, inner) if "class" in inner and not is_network else inner
    if isinstance(value, list):
        return [_build_configs(f"{where}[{index}]", item) for index, item in enumerate(value)]
    return value


def _classes() -> dict[str, type]:
    # Only these: a file cannot name a class to import.
    modules = (backbones, fingerprints, foundation, objectives, training)
    named = {name: getattr(module, name) for module in modules for name in module.__all__}
    abstract = {"Backbone", "Objective", "Fingerprint"}
    return {
        name: value
        for name, value in named.items()
        if isinstance(value, type) and issubclass(value, BaseEstimator) and name not in abstract
    }


def _config(where: str, table: Mapping[str, Any]) -> Any:
    """Build the object of a table that names a class."""
    classes = _classes()
    name = table["class"]
    if not isinstance(name, str) or name not in classes:
        expected = ", ".join(sorted(classes))
        raise ValueError(f"{where} has class={name!r}; expected one of {expected}.")
    parameters = {key: value for key, value in table.items() if key != "class"}
    if name == "Mixture":
        parameters["parts"] = _mixture_parts(where, parameters.get("parts", []))
    allowed = classes[name]._get_param_names()  # type: ignore[attr-defined]
    check_keys(f"{where} ({name})", parameters, list(allowed))
    return classes[name](**parameters)


def _mixture_parts(where: str, tables: Any) -> list[tuple[str, Any, float]]:
    """Return the parts of a mixture from tables of name, objective and weight."""
    components = []
    for index, table in enumerate(as_tuple(f"{where}.parts", tables, "[{name = ...}]")):
        check_keys(f"{where}.parts[{index}]", table, ("name", "objective", "weight"))
        if "name" not in table or "objective" not in table:
            raise ValueError(f"{where}.parts[{index}] needs name and objective; it has {table}.")
        components.append((table["name"], table["objective"], table.get("weight", 1.0)))
    return components


def _data(items: Any, folder: Path) -> list[DataSet | str]:
    if not isinstance(items, list):
        raise TypeError(f"data is {items!r}; expected a list of names and tables.")
    return [item if isinstance(item, str) else _data_set(item, folder) for item in items]


def _data_set(table: Any, folder: Path) -> DataSet:
    check_keys("an item of data", table, [field.name for field in fields(DataSet)])
    if "name" not in table:
        raise ValueError(f"an item of data has no 'name', which it needs: {table}.")
    path = table.get("path")
    if path is not None:
        # Relative to the study file; "/" leaves an absolute path as it is.
        path = str(folder / expand_path(f"path of data set {table['name']!r}", path))
    return DataSet(**{**table, "path": path})


def _graphs(where: str, table: Any) -> StructureToGraph:
    allowed = sorted(set(StructureToGraph().get_params()) - {"n_jobs", "device"})
    check_keys(where, table, allowed)
    return StructureToGraph(**table)


def _tables(where: str, tables: Any) -> Mapping[str, Mapping[str, Any]]:
    is_mapping = isinstance(tables, Mapping)
    if not is_mapping or not all(isinstance(table, Mapping) for table in tables.values()):
        raise TypeError(f"{where} is {tables!r}; expected tables such as [{where}.one].")
    return tables


def _network(where: str, name: str, table: dict[str, Any], folder: Path) -> Network:
    settings = {key: table.pop(key) for key in NETWORK_FIELDS if key in table}
    if "model" in table:
        check_keys(where, table, ("model", *NETWORK_FIELDS))
        return Network(name=name, model=table["model"], **settings)
    if "class" not in table:
        raise ValueError(
            f"{where} has no class; expected class = 'CGCNN', for example, or model = 'gnnpre-1'."
        )
    if "graphs" in settings:
        settings["graphs"] = _graphs(f"{where}.graphs", settings["graphs"])
    return Network(name=name, backbone=_config(where, table), **settings)


def _pretraining(where: str, name: str, table: dict[str, Any], folder: Path) -> Pretraining:
    _check_fields(where, table, Pretraining, ("sources", "objective"))
    if not isinstance(table["objective"], Objective):
        raise ValueError(
            f"{where}.objective is {table['objective']!r}; expected a table with class."
        )
    sources = [
        str(folder / expand_path(f"{where}.sources", source)) if is_path(source) else source
        for source in as_names(f"{where}.sources", table["sources"])
    ]
    return Pretraining(name=name, **{**table, "sources": sources})


def _strategy(where: str, name: str, table: dict[str, Any], folder: Path) -> Strategy:
    _check_fields(where, table, Strategy, ())
    return Strategy(name=name, **table)


def _check_fields(
    where: str, table: Mapping[str, Any], declared_type: Any, needed: tuple[str, ...]
) -> None:
    allowed = [field.name for field in fields(declared_type) if field.name != "name"]
    check_keys(where, table, allowed)
    for name in needed:
        if name not in table:
            raise ValueError(f"{where} has no {name!r}, which it needs.")
