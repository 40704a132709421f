"""The scripts of ``examples/clients``, each where its client is installed."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "examples" / "clients"
#: Modules that a script needs beside gnnpre.
CLIENTS = {
    "dask_ml_search": ["dask_ml"],
    "dask_search": ["distributed"],
    "dill_processes": ["dill", "cloudpickle"],
    "imbalanced_learn": ["imblearn"],
    "mapie_intervals": ["mapie"],
    "matbench_record": ["matbench", "matminer"],
    "mlflow_model": ["mlflow"],
    "ray_search": ["ray"],
    "search_dashboard": ["optuna_dashboard"],
    "skops_file": ["skops"],
}


def test_each_script_has_a_client_and_a_line_in_the_readme():
    assert {path.stem for path in FOLDER.glob("*.py")} == set(CLIENTS)
    readme = (FOLDER / "README.md").read_text()
    assert all(f"`{name}.py`" in readme for name in CLIENTS)


@pytest.mark.parametrize("name", sorted(CLIENTS))
def test_script(name, tmp_path):
    for module in CLIENTS[name]:
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    done = subprocess.run(
        [sys.executable, str(FOLDER / f"{name}.py")],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
