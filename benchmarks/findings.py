"""Findings of studies on pre-training: the papers' claims, and the gain by number of structures.

    python benchmarks/findings.py claims FOLDER_OF_OBJECTIVES FOLDER_OF_OBJECTIVES_CGCNN
    python benchmarks/findings.py growth FOLDER_OF_POOL_SIZE

read the records of ``benchmarks/studies/objectives.toml`` and ``objectives_cgcnn.toml``, and of
``pool_size.toml``, and write ``results/claims.md`` and ``results/growth.md``. Intervals are at
95 %, from resamples of the seeds of each data set and, within each, of the test crystals, which
all methods, and the backbones of both studies, share.
"""

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from common import ROOT

from gnnpre.study import StudyResults, read_results

RESULTS = ROOT / "benchmarks" / "results"
N_RESAMPLES = 2000
HEADER = "| claim | rows | smaller error | by set | first row better |"
#: A claim, and the pairs of rows (better, worse) that test it.
Claim = tuple[str, list[tuple[str, str]]]
#: Claims of the papers, and the pairs of rows (better, worse) that test them.
CLAIMS: list[Claim] = [
    ("explicit pre-training (forces) beats none", [("forces_1_1_1", "scratch")]),
    (
        "implicit pre-training (denoising) beats none",
        [("denoising_derivative", "scratch"), ("denoising_head", "scratch")],
    ),
    ("the derivative beats the head", [("denoising_derivative", "denoising_head")]),
    (
        "explicit beats implicit",
        [("forces_1_1_1", "denoising_derivative"), ("forces_1_1_1", "denoising_frames")],
    ),
    (
        "energy, forces and stress together beat fewer labels",
        [
            ("forces_1_1_1", "forces_0_1_1"),
            ("forces_1_1_1", "forces_0_1_0"),
            ("forces_1_1_1", "forces_1_0_0"),
        ],
    ),
    (
        "fingerprints beat none",
        [("ead", "scratch"), ("wacsf", "scratch"), ("gmp", "scratch")],
    ),
    (
        "fingerprints come close to forces",
        [("ead_frames", "forces_1_1_1"), ("ead", "forces_1_1_1")],
    ),
    ("the fingerprint matters little", [("ead", "wacsf"), ("ead", "gmp")]),
]
#: What the papers did not compare.
BEYOND: list[Claim] = [
    ("the cell's strain helps denoising", [("denoising_strain", "denoising_derivative")]),
    ("relaxed crystals beat frames", [("ead", "ead_frames")]),
    (
        "masking, views, both with denoising",
        [("masking", "scratch"), ("views", "scratch"), ("label_free", "scratch")],
    ),
    (
        "a foreign potential as teacher beats fingerprints",
        [("embeddings", "scratch"), ("embeddings", "ead")],
    ),
    ("labels beside the fingerprint help", [("mixture", "scratch"), ("mixture", "ead")]),
]

#: Absolute errors of the test crystals: by data set, seed and row.
Errors = dict[str, dict[int, dict[str, np.ndarray]]]


def errors_of(results: StudyResults, backbone: str) -> Errors:
    """Return the errors of all rows of a backbone, and of rows without one."""
    errors: Errors = {}
    for record in results.evaluations:
        if record.method.backbone in (backbone, None):
            seeds = errors.setdefault(str(record.data), {})
            seeds.setdefault(int(record.seed or 0), {})[record.method.strategy] = record.errors
    return errors


def test_crystals(results: StudyResults) -> dict[tuple[str, int], list[int]]:
    """Return the rows of the test crystals of each data set and seed."""
    return {
        (str(record.data), int(record.seed or 0)): record.test_indices.tolist()
        for record in results.evaluations
    }


def errors_of_backbones(studies: list[StudyResults]) -> dict[str, Errors]:
    """Return the errors of each backbone; all must have been tested on the same crystals."""
    tested: dict[tuple[str, int], list[int]] = {}
    errors: dict[str, Errors] = {}
    for results in studies:
        for run, rows in test_crystals(results).items():
            if tested.setdefault(run, rows) != rows:
                raise SystemExit(f"The studies have other test crystals of {run[0]}, seed {run[1]}")
        errors |= {backbone: errors_of(results, backbone) for backbone in results.backbones}
    return errors


def joined(errors_by_backbone: dict[str, Errors]) -> Errors:
    """Return the errors of all backbones as rows named "backbone row"."""
    errors: Errors = {}
    for backbone, sets in errors_by_backbone.items():
        for name, seeds in sets.items():
            for seed, rows in seeds.items():
                row_errors = errors.setdefault(name, {}).setdefault(seed, {})
                row_errors |= {f"{backbone} {row}": values for row, values in rows.items()}
    return errors


def with_rows(errors: Errors, names: list[str]) -> Errors:
    """Return the seeds that have all of some rows."""
    complete = {
        name: {seed: rows for seed, rows in seeds.items() if set(names) <= set(rows)}
        for name, seeds in errors.items()
    }
    return {name: seeds for name, seeds in complete.items() if seeds}


def resamples(errors: Errors, names: list[str]) -> Iterator[list[dict[str, float]]]:
    """Yield the mean errors of some rows on each set: as they are first, then resampled."""
    rng = np.random.default_rng(0)
    tables = [
        [np.stack([rows[name] for name in names]) for rows in seeds.values()]
        for seeds in errors.values()
    ]
    yield [
        dict(zip(names, np.mean([t.mean(1) for t in runs], axis=0), strict=True)) for runs in tables
    ]
    for _ in range(N_RESAMPLES):
        means = []
        for runs in tables:
            chosen = [runs[index] for index in rng.integers(len(runs), size=len(runs))]
            columns = [run[:, rng.integers(run.shape[1], size=run.shape[1])] for run in chosen]
            values = np.mean([table.mean(axis=1) for table in columns], axis=0)
            means.append(dict(zip(names, values, strict=True)))
        yield means


def estimate(
    errors: Errors, names: list[str], statistic: Callable[[dict[str, float]], float]
) -> tuple[list[float], float, float, float]:
    """Return a statistic of each set, its mean over sets, and the interval of the mean."""
    values = [[statistic(means) for means in sets] for sets in resamples(errors, names)]
    low, high = np.quantile(np.mean(values[1:], axis=1), [0.025, 0.975])
    return values[0], float(np.mean(values[0])), float(low), float(high)


def gain_of(*pairs: tuple[str, str]) -> Callable[[dict[str, float]], float]:
    """Return a function that computes the mean gain of the first row of each pair."""
    return lambda means: float(
        np.mean([1 - means[better] / means[worse] for better, worse in pairs])
    )


def claim_lines(errors: Errors, claims: list[Claim], backbones: list[str]) -> Iterator[str]:
    """Yield a line for each pair of rows, with the verdict that its interval allows.

    The rows of `errors` are named "backbone row"; gains are averaged over `backbones`.
    """
    for title, pairs in claims:
        for better, worse in pairs:
            compared = [(f"{name} {better}", f"{name} {worse}") for name in backbones]
            names = [row for pair in compared for row in pair]
            chosen = with_rows(errors, names)
            if not chosen:
                yield f"| {title} | {better} against {worse} | not run | | |"
                continue
            values, mean, low, high = estimate(chosen, names, gain_of(*compared))
            verdict = "yes" if low > 0 else "no" if high < 0 else "not told apart"
            sets = ", ".join(
                f"{name} {value:+.0%}" for name, value in zip(chosen, values, strict=True)
            )
            yield (
                f"| {title} | {better} against {worse} | {mean:+.1%} [{low:+.1%}, {high:+.1%}] | "
                f"{sets} | {verdict} |"
            )


def write_claims(folders: list[Path]) -> None:
    """Write the claims and the findings of the studies: of all backbones together, then of each."""
    studies = [read_results(folder) for folder in folders]
    errors_by_backbone = errors_of_backbones(studies)
    errors = joined(errors_by_backbone)
    backbones = list(errors_by_backbone)
    names = " and ".join(f"“{results.name}”" for results in studies)
    lines = [
        "# Claims about pre-training",
        "",
        f"Written by `benchmarks/findings.py` from {names}: how much smaller the error of the "
        "first row is than that of the second, averaged over data sets, with its 95 % interval.",
    ]
    groups = [backbones] if len(backbones) > 1 else []
    for group in [*groups, *([backbone] for backbone in backbones)]:
        # Kernel machines on frozen networks have rows of the same names with an ending.
        for ending, what in (
            ("", "fine-tuned"),
            ("_kernel", "kernel machine on frozen embeddings"),
        ):
            lines += ["", f"## {' and '.join(group)}, {what}", ""]
            lines += [HEADER, "|---" * 5 + "|"]
            for claims in (CLAIMS, BEYOND):
                renamed = [with_ending(claim, ending) for claim in claims]
                lines += claim_lines(errors, renamed, group)
    write("claims", lines)


def with_ending(claim: Claim, ending: str) -> Claim:
    """Return a claim about kernel machines; without pre-training it is that on fingerprints."""
    title, pairs = claim

    def renamed(name: str) -> str:
        return f"{name}{ending}" if name != "scratch" or not ending else "kernel"

    return title, [(renamed(better), renamed(worse)) for better, worse in pairs]


def write_growth(folder: Path) -> None:
    """Write errors by number of structures, and the power law fitted to them."""
    results = read_results(folder)
    lines = [
        "# Gain by number of pre-training structures",
        "",
        f"Written by `benchmarks/findings.py` from the study “{results.name}”. The exponent a is "
        "that of error = A n^-a, fitted to the logarithms of the errors by least squares.",
    ]
    for backbone in results.backbones:
        errors = errors_of(results, backbone)
        for ending, reference in (("", "scratch"), ("_kernel", "kernel")):
            lines += ["", f"## {backbone}, {'fine-tuned' if not ending else 'kernel machine'}", ""]
            lines += growth_lines(errors, ending, reference)
    write("growth", lines)


def growth_lines(errors: Errors, ending: str, reference: str) -> list[str]:
    names = {row for seeds in errors.values() for rows in seeds.values() for row in rows}
    sizes = sorted(
        int(name.removeprefix("from_").removesuffix(ending))
        for name in names
        if name.startswith("from_") and name.endswith("_kernel") == bool(ending)
    )
    rows = [reference, *(f"from_{size}{ending}" for size in sizes)]
    chosen = with_rows(errors, rows)
    if not chosen or not sizes:
        return ["Not run yet."]
    means = next(resamples(chosen, rows))
    header = [f"without ({reference})", *(f"{size:,}" for size in sizes)]
    lines = [f"| set | seeds | {' | '.join(header)} | exponent |", "|---" * (len(rows) + 3) + "|"]

    def exponent(errors_of_rows: dict[str, float]) -> float:
        values = np.log([errors_of_rows[row] for row in rows[1:]])
        return -float(np.polyfit(np.log(sizes), values, 1)[0])

    values, mean, low, high = estimate(chosen, rows, exponent)
    for name, value, errors_of_rows in zip(chosen, values, means, strict=True):
        cells = " | ".join(f"{errors_of_rows[row]:.4g}" for row in rows)
        lines.append(f"| {name} | {len(chosen[name])} | {cells} | {value:.3f} |")
    gains = [
        f"{size:,}: {estimate(chosen, rows, gain_of((row, reference)))[1]:+.1%}"
        for size, row in zip(sizes, rows[1:], strict=True)
    ]
    return [
        *lines,
        "",
        f"- Mean gain over {reference}: {'; '.join(gains)}.",
        f"- Mean exponent {mean:.3f} [{low:.3f}, {high:.3f}]: ten times the structures leave "
        f"{10**-mean:.0%} of the error.",
    ]


def write(name: str, lines: list[str]) -> None:
    text = "\n".join(lines) + "\n"
    (RESULTS / f"{name}.md").write_text(text, encoding="utf-8")
    print(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("finding", choices=["claims", "growth"])
    parser.add_argument("folders", type=Path, nargs="+", help="folders of the studies")
    arguments = parser.parse_args()
    if arguments.finding == "claims":
        write_claims(arguments.folders)
    elif len(arguments.folders) == 1:
        write_growth(arguments.folders[0])
    else:
        parser.error("growth reads one folder")


if __name__ == "__main__":
    main()
