"""Tables of ``pretrained_gain.py``: gains over training from scratch, and other methods."""

from collections import defaultdict

import numpy as np

__all__ = ["METHODS", "ensemble_table", "gain_table", "machine_table"]

#: Models that are fitted; the network of the default is scored, too.
METHODS = ["scratch", "default", "kernel", "ensemble", "fingerprint kernel", "forest", "svr"]
#: Those that train no network, beside the one that they are compared with.
MACHINES = ["scratch", "kernel", "fingerprint kernel", "forest", "svr"]
#: Their rows are compared seed by seed, so that each seed needs all of them.
GAINS = ("scratch", "network", "default")
#: The ensemble should never be worse than the best of them.
RIVALS = ("scratch", "forest", "svr")
N_RESAMPLES = 2000


def errors_of(rows: list[dict]) -> dict[tuple[str, int, str], float]:
    return {(row["set"], row["seed"], row["model"]): row["mae"] for row in rows}


def gains(rows: list[dict], model: str) -> dict[str, list[float]]:
    """Return for each set the relative gains of its seeds over training from scratch."""
    errors = errors_of(rows)
    result: dict[str, list[float]] = {}
    for (name, seed, fitted), error in errors.items():
        if fitted == model and all((name, seed, needed) in errors for needed in GAINS):
            result.setdefault(name, []).append(1 - error / errors[name, seed, "scratch"])
    return result


def interval(by_set: dict[str, list[float]]) -> tuple[float, float, float]:
    """Return the mean over sets of the mean over seeds, and its 95 % bootstrap interval."""
    generator = np.random.default_rng(0)
    values = list(by_set.values())
    means = []
    for _ in range(N_RESAMPLES):
        chosen = generator.integers(len(values), size=len(values))
        means.append(
            np.mean([np.mean(generator.choice(values[i], len(values[i]))) for i in chosen])
        )
    low, high = np.quantile(means, [0.025, 0.975])
    return float(np.mean([np.mean(value) for value in values])), float(low), float(high)


def mean_of(rows: list[dict], name: str, model: str, column: str, seeds: set[int]) -> float:
    """Return the mean of a column over the seeds of a set."""
    return float(
        np.mean(
            [
                row[column]
                for row in rows
                if row["set"] == name and row["model"] == model and row["seed"] in seeds
            ]
        )
    )


def gain_table(rows: list[dict]) -> list[str]:
    """Return a row for each set, and the mean gains with their intervals."""
    lines = [
        "| set | seeds | mean of y | scratch | fine-tuned network | default | gain of the network "
        "| gain of the default | share of the network | seconds, scratch | seconds, default |",
        "|---" * 11 + "|",
    ]
    network, default = gains(rows, "network"), gains(rows, "default")
    if not default:
        return ["Not run yet with these weights."]
    errors = errors_of(rows)
    for name, values in default.items():
        seeds = {
            row["seed"]
            for row in rows
            if all((name, row["seed"], model) in errors for model in GAINS)
        }
        maes = " | ".join(f"{mean_of(rows, name, model, 'mae', seeds):.4g}" for model in GAINS)
        lines.append(
            f"| {name} | {len(values)} | {mean_of(rows, name, 'scratch', 'mae_of_mean', seeds):.4g}"
            f" | {maes} | {np.mean(network[name]):+.1%} | {np.mean(values):+.1%} | "
            f"{mean_of(rows, name, 'default', 'share_of_network', seeds):.2f} | "
            f"{mean_of(rows, name, 'scratch', 'seconds', seeds):.0f} | "
            f"{mean_of(rows, name, 'default', 'seconds', seeds):.0f} |"
        )
    lines.append("")
    for title, by_set in (("fine-tuned network alone", network), ("default", default)):
        if by_set:
            mean, low, high = interval(by_set)
            lines.append(
                f"Average gain, {title}: {mean:.1%}, 95 % interval [{low:.1%}, {high:.1%}] over "
                f"{len(by_set)} sets."
            )
    return lines


def machine_table(rows: list[dict]) -> list[str]:
    """Return errors and seconds of methods that train no network, beside training from scratch."""
    lines, seeds_of = method_table(rows, MACHINES)
    if not seeds_of:
        return ["Not run yet."]
    gain, share = [], []
    for name, seeds in seeds_of.items():
        kernel, scratch = (
            [mean_of(rows, name, model, column, seeds) for column in ("mae", "seconds")]
            for model in ("kernel", "scratch")
        )
        gain.append(1 - kernel[0] / scratch[0])
        share.append(scratch[1] / kernel[1])
    return [
        *lines,
        "",
        f"The kernel machine on the model against training from scratch: {np.mean(gain):+.1%} on "
        f"average, {min(gain):+.1%} at worst, in 1/{np.median(share):.0f} of the time (median; "
        f"1/{max(share):.0f} to 1/{min(share):.0f}).",
    ]


def ensemble_table(rows: list[dict]) -> list[str]:
    """Return errors and seconds of all methods, and how the ensemble compares."""
    lines, seeds_of = method_table(rows, METHODS)
    if not seeds_of:
        return ["Not run yet."]
    ratios, members = [], []
    for name, seeds in seeds_of.items():
        ensemble = mean_of(rows, name, "ensemble", "mae", seeds)
        best = min(mean_of(rows, name, rival, "mae", seeds) for rival in RIVALS)
        ratios.append(1 - ensemble / best)
        members.append(ensemble / best_member(rows, name, seeds) - 1)
    return [
        *lines,
        "",
        f"The ensemble against the best of scratch, forest and svr: {np.mean(ratios):+.1%} on "
        f"average, {min(ratios):+.1%} at worst. Against its best member (known only after the "
        f"test): error {np.mean(members):+.1%} on average, {max(members):+.1%} at worst.",
    ]


def method_table(rows: list[dict], methods: list[str]) -> tuple[list[str], dict[str, set[int]]]:
    """Return a row for each set, and the seeds that it has of all methods."""
    errors = errors_of(rows)
    seeds_of: dict[str, set[int]] = defaultdict(set)
    for row in rows:
        if all((row["set"], row["seed"], method) in errors for method in methods):
            seeds_of[row["set"]].add(row["seed"])
    lines = [f"| set | seeds | {' | '.join(methods)} |", "|---" * (len(methods) + 2) + "|"]
    for name, seeds in seeds_of.items():
        cells = [
            f"{mean_of(rows, name, method, 'mae', seeds):.4g} "
            f"({mean_of(rows, name, method, 'seconds', seeds):.0f} s)"
            for method in methods
        ]
        lines.append(f"| {name} | {len(seeds)} | {' | '.join(cells)} |")
    return lines, seeds_of


def best_member(rows: list[dict], name: str, seeds: set[int]) -> float:
    """Return the error of the member with the least mean error over seeds."""
    by_member: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        if row["set"] == name and row["model"] == "ensemble" and row["seed"] in seeds:
            for member, mae in row["members"].items():
                by_member[member].append(mae)
    return float(min(np.mean(values) for values in by_member.values()))
