"""MatBench's own runner records predictions and deviations, and scores them as scikit-learn does.

The table is read from the folder that GNNPRE_DATA names, or else downloaded.
"""

import os
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from matbench.bench import MatbenchBenchmark
from sklearn.model_selection import KFold

from gnnpre import PropertyRegressor
from gnnpre.datasets import fetch_matbench, read_matbench


def main() -> None:
    """Record the five folds of jdft2d, and read the file of the submission again."""
    home = os.environ.get("GNNPRE_DATA")
    table = fetch_matbench("jdft2d") if home is None else read_jdft2d(Path(home))
    structures, y = table[0], np.asarray(table[1], dtype=float)
    benchmark = MatbenchBenchmark(autoload=False, subset=["matbench_jdft2d"])
    (task,) = benchmark.tasks
    names = [f"mb-jdft2d-{row:03d}" for row in range(1, len(y) + 1)]
    # task.load() would download the same table once more, and make the same DataFrame.
    task.df = pd.DataFrame({"structure": list(structures), "exfoliation_en": y}, index=names)
    errors = []
    for fold, (_, test) in enumerate(KFold(5, shuffle=True, random_state=18012019).split(y)):
        model = PropertyRegressor(pretrained="gnnpre-1-small", strategy="kernel", random_state=0)
        model.fit(*task.get_train_and_val_data(fold))
        inputs = task.get_test_data(fold)
        assert inputs.index.tolist() == [names[row] for row in test]
        predicted, std = model.predict(inputs, return_std=True)
        task.record(fold, predicted, std=std, params={"strategy": "kernel"})
        errors.append(np.abs(predicted - y[test]).mean())
    np.testing.assert_allclose([task.scores.mae.mean], [np.mean(errors)])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "results.json.gz"
        benchmark.to_file(str(path))
        again = MatbenchBenchmark.from_file(str(path))
    assert again.is_valid
    assert again.matbench_jdft2d.all_folds_recorded
    print(f"jdft2d, five official folds: mean absolute error {np.mean(errors):.2f} meV/atom")


def read_jdft2d(home: Path) -> tuple:
    """Read the table from a folder of MatBench files."""
    return read_matbench(home / "downstream" / "jdft2d.json.gz")


if __name__ == "__main__":
    main()
