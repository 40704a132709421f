"""Models on tables of compositions and fingerprints."""

import numpy as np

from gnnpre.study import BASELINES, Study, run_study
from study.small_studies import crystals, records_of, small_study, write_table


def test_all_baselines_run_and_beat_the_mean_where_composition_decides(tmp_path):
    structures = crystals(60)[0]
    y = np.array([structure.composition.weight for structure in structures])
    path = write_table(tmp_path / "alloys.json", 60, weight=y)
    empty = {"backbones": [], "strategies": [], "pretrainings": [], "baselines": BASELINES}
    assert run_study(small_study(path, **empty), tmp_path / "run").failed == {}
    errors = {r["strategy"]: r["metrics"]["mae"] for r in records_of(tmp_path / "run").values()}
    assert set(errors) == set(BASELINES) == set(Study(name="s", data=["jdft2d"]).baselines)
    assert errors["ridge_composition"] < 0.01 * errors["mean"]
    assert max(errors[name] for name in BASELINES[1:]) < 0.7 * errors["mean"]
