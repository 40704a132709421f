"""Time an audit of leaks on the development sets, and count the overlaps.

    python benchmarks/leak_audit_speed.py [--n-jobs 2]

Pre-training: all frames of ``upstream/`` and ``mp_form_gap_37k``; evaluation: five sets of
``downstream/``, and all of them at once. Reads the folder that ``GNNPRE_DATA`` names and writes
``results/leak_audit.json`` and ``.md``.
"""

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

from common import ROOT, in_words, resident, where_and_when

RESULTS = ROOT / "benchmarks" / "results" / "leak_audit.json"
UPSTREAM = (
    "mptrj-random-1k",
    "mptrj-highest-stress-1k",
    "alexandria-random-1k",
    "mpf-TP",
    "mpf-alkali-TP",
)
LARGE = "mp_form_gap_37k"
EVALUATION = ("jdft2d", "phonons", "perovskites", "mp_elastic_5k", "refractive_index")
# Sets whose index in the file is a Materials Project id.
WITH_IDS = {LARGE, "mp_elastic_5k"}
LEVELS = ("id", "structure", "prototype", "composition", "none")


def read_pretraining(folder: Path) -> tuple[list, list]:
    from gnnpre.datasets import read_frames

    files = [folder / "upstream" / f"{name}.extxyz.gz" for name in UPSTREAM]
    frames, _ = read_frames(files)
    structures, ids = read_downstream(folder, LARGE)
    return frames + structures, [None] * len(frames) + ids


def read_downstream(folder: Path, name: str) -> tuple[list, list]:
    from gnnpre.datasets import read_matbench

    structures, y = read_matbench(folder / "downstream" / f"{name}.json.gz")
    return structures, y.index.tolist() if name in WITH_IDS else [None] * len(structures)


def audit(pretraining: tuple[list, list], evaluation: tuple[list, list], n_jobs: int) -> dict:
    from gnnpre.model_selection import leak_audit

    start = time.perf_counter()
    audit = leak_audit(
        pretraining[0],
        evaluation[0],
        pretraining_ids=pretraining[1],
        evaluation_ids=evaluation[1],
        n_jobs=n_jobs,
    )
    return {
        "crystals": len(audit),
        "seconds": time.perf_counter() - start,
        "load": os.getloadavg()[0],
        **audit.counts(),
        "same id, other structure": int(
            ((audit.matches["id"] >= 0) & (audit.matches["structure"] < 0)).sum()
        ),
    }


def measure(folder: Path, n_jobs: int) -> dict:
    from gnnpre.model_selection import drop_leaks

    pretraining = read_pretraining(folder)
    sets = {name: read_downstream(folder, name) for name in EVALUATION}
    rows: dict[str, Any] = {}
    for name, evaluation in sets.items():
        rows[name] = audit(pretraining, evaluation, n_jobs)
        print(name, rows[name], flush=True)
    everything = tuple(
        [item for each in sets.values() for item in each[column]] for column in (0, 1)
    )
    rows["all five at once"] = audit(pretraining, everything, n_jobs)
    start = time.perf_counter()
    remaining = drop_leaks(pretraining[0], everything[0], n_jobs=n_jobs)
    return {
        "pretraining": len(pretraining[0]),
        "n_jobs": n_jobs,
        "rows": rows,
        "drop": {"kept": len(remaining), "seconds": time.perf_counter() - start},
        "peak_gb": resident("VmHWM"),
        **where_and_when(),
    }


def to_lines(result: dict) -> list[str]:
    drop, peak = result["drop"], result["peak_gb"]
    lines = [
        "# Audit of leaks: counts and time",
        "",
        "Written by `benchmarks/leak_audit_speed.py`.",
        "",
        f"{result['pretraining']} pre-training crystals: the frames of {', '.join(UPSTREAM)}, and "
        f"{LARGE}. Default tolerances, n_jobs={result['n_jobs']}. A column counts the evaluation "
        "crystals that occur in the pre-training set with the same id, structure "
        "(StructureMatcher), prototype (reduced formula and space group), reduced formula, or in "
        "none of these ways; one crystal counts in each column that fits. Ids are the Materials "
        f"Project's, known of {' and '.join(sorted(WITH_IDS))} only.",
        "",
        "| evaluation set | crystals | " + " | ".join(LEVELS) + " | s |",
        "|---" * (len(LEVELS) + 3) + "|",
    ]
    for name, row in result["rows"].items():
        counts = " | ".join(str(row[level]) for level in LEVELS)
        lines.append(f"| {name} | {row['crystals']} | {counts} | {row['seconds']:.0f} |")
    n_different = result["rows"]["mp_elastic_5k"]["same id, other structure"]
    return [
        *lines,
        "",
        f"`drop_leaks(level='structure')` against all five, without ids: {drop['kept']} of "
        f"{result['pretraining']} pre-training crystals are kept, {drop['seconds']:.0f} s. "
        f"Of mp_elastic_5k's crystals with a known id, {n_different} match no structure of the "
        "pre-training set.",
        "",
        "Wall time from lists of structures, other jobs running (load "
        f"{max(row['load'] for row in result['rows'].values()):.1f} at most)."
        + ("" if peak is None else f" Peak memory: {peak:.1f} GB."),
        "",
        f"gnnpre at commit {result['commit']}: {in_words(result['versions'])}.",
        "",
        f"{result['machine'].removesuffix(', one thread')}; {result['date']}.",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n-jobs", type=int, default=2)
    arguments = parser.parse_args()
    if "GNNPRE_DATA" not in os.environ:
        parser.error("set GNNPRE_DATA to the folder that holds upstream/ and downstream/")
    result = measure(Path(os.environ["GNNPRE_DATA"]), arguments.n_jobs)
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")
    lines = to_lines(result)
    RESULTS.with_suffix(".md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
