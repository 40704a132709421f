"""Errors on MatBench's test crystals with and without those that pre-training saw.

    python benchmarks/overlap.py [--folder benchmarks/results/matbench]

Reads the predictions that a study by MatBench's protocol left in a folder, and audits the crystals
of their data sets against the structures of pre-training (``mp_form_gap_37k`` and ``perovskites``
of ``downstream/``). Prints a Markdown table, and writes ``overlap.md`` and ``overlap.json`` into
that folder. Reads the crystals from where ``GNNPRE_DATA`` says.
"""

import argparse
import gzip
import json
import os
from pathlib import Path

import numpy as np
from common import ROOT, where_and_when

PRETRAINING = ("mp_form_gap_37k", "perovskites")
FOLDER = ROOT / "benchmarks" / "results" / "matbench"


def read_structures(name: str) -> list:
    from gnnpre.datasets import read_matbench

    path = Path(os.environ["GNNPRE_DATA"]) / "downstream" / f"{name}.json.gz"
    return read_matbench(path)[0]


def matched(names: set[str]) -> dict[str, np.ndarray]:
    """Which crystals of each data set have the structure of one of pre-training."""
    from gnnpre.model_selection import leak_audit

    seen = [structure for name in PRETRAINING for structure in read_structures(name)]
    audits = {name: leak_audit(seen, read_structures(name)) for name in sorted(names)}
    return {name: audit.matches["structure"] >= 0 for name, audit in audits.items()}


def errors(prediction: dict, in_pretraining: np.ndarray) -> dict:
    """Mean absolute errors over all test crystals, and over those with and without a match."""
    pairs = [
        np.abs(np.subtract(prediction["targets"][fold], prediction["folds"][fold]))
        for fold in range(len(prediction["folds"]))
    ]
    error = np.concatenate(pairs)
    seen = in_pretraining[np.concatenate(prediction["test_indices"])]
    return {
        "data": prediction["data"],
        "backbone": prediction["backbone"],
        "strategy": prediction["strategy"],
        "unit": prediction["unit"],
        "all": float(error.mean()),
        "with a match": float(error[seen].mean()) if seen.any() else None,
        "without": float(error[~seen].mean()) if (~seen).any() else None,
        "n": [len(seen), int(seen.sum()), int((~seen).sum())],
    }


def to_lines(rows: list[dict], about: dict) -> list[str]:
    lines = [
        "# Test crystals that pre-training saw, and those it did not",
        "",
        "Written by `benchmarks/overlap.py`. Mean absolute errors over the test crystals of all "
        "five folds. A crystal has a match if `leak_audit` finds its structure among "
        f"{' and '.join(PRETRAINING)}; its property is in neither.",
        "",
        "| data | row | all | with a match | without | crystals |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells = [
            "" if row[key] is None else f"{row[key]:.2f}"
            for key in ("all", "with a match", "without")
        ]
        name = " ".join(text for text in (row["backbone"], row["strategy"]) if text)
        counts = " = {} + {}".format(*row["n"][1:])
        lines.append(
            f"| {row['data']} ({row['unit']}) | {name} | {' | '.join(cells)} | "
            f"{row['n'][0]}{counts} |"
        )
    return [*lines, "", f"{about['machine']}; {about['date']}; commit {about['commit']}."]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=FOLDER)
    arguments = parser.parse_args()
    paths = sorted(arguments.folder.glob("*_predictions.json.gz"))
    if not paths:
        parser.error(f"{arguments.folder} holds no *_predictions.json.gz: run the study first.")
    predictions = [json.loads(gzip.decompress(path.read_bytes())) for path in paths]
    in_pretraining = matched({prediction["data"] for prediction in predictions})
    rows = [errors(prediction, in_pretraining[prediction["data"]]) for prediction in predictions]
    about = where_and_when()
    lines = to_lines(rows, about)
    (arguments.folder / "overlap.json").write_text(json.dumps({"rows": rows, **about}, indent=1))
    (arguments.folder / "overlap.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
