"""Write measurements as JSON and as tables."""

import json
from typing import Any

from common import ROOT, in_words

from .breakdown import breakdown_words
from .remarks import REMARKS
from .works import OURS, PLAIN, TORCH

RESULTS = ROOT / "benchmarks" / "results" / "speed.json"


def keep(section: str, name: str, result: dict) -> None:
    """Add a result to those that are written, and write the table anew."""
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    results.setdefault(section, {})[name] = result
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    RESULTS.with_suffix(".md").write_text("\n".join(table(results)) + "\n")


def table(results: dict[str, dict]) -> list[str]:
    lines = ["# Speed beside plain references and peers", ""]
    lines += ["Written by `python -m benchmarks speed`; ratios of medians of processor time."]
    for name, result in results.get("works", {}).items():
        lines += ["", f"## {result['title']}", "", *work_lines(name, result)]
    lines += ["", "## On a GPU", ""]
    devices = results.get("cuda", {})
    if not devices:
        lines.append("Not run: no GPU at hand (`python -m benchmarks speed --device cuda`).")
    for name, result in devices.items():
        lines += [f"### {result['title']}", "", *cuda_lines(name, result), ""]
    return lines


def work_lines(name: str, result: dict) -> list[str]:
    reference = result["contenders"][result["reference"]]
    lines = [
        f"`{name}`: {setting_words(result)}",
        "",
        "| contender | crystals/s | on the clock | edges a round | "
        f"speed over {result['reference']} | asked | |",
        "|---|---|---|---|---|---|---|",
    ]
    for contender, row in result["contenders"].items():
        ratio = reference["seconds_per_crystal"] / row["seconds_per_crystal"]
        asked = result["asked"].get(contender)
        lines.append(
            f"| {contender} | {1 / row['seconds_per_crystal']:.1f} | "
            f"{per_second(row.get('clock_per_crystal'))} | {row['edges']} | {ratio:.2f} | "
            f"{'' if asked is None else f'{asked:g}'} | {verdict(ratio, asked)} |"
        )
    lines += ["", f"- {edge_words(result)}", *result.get("notes", [])]
    lines += [f"- {contender}: {note}." for contender, note in result.get("absent", {}).items()]
    lines += floor_lines(result) + memory_lines(result) + missed_lines(name, result)
    lines += [
        f"- {peer}: {in_words(versions)}." for peer, versions in result.get("peers", {}).items()
    ]
    where = f"gnnpre at commit {result['commit']}, {in_words(result['versions'])}"
    return [*lines, "", f"{result['machine']}; {result['date']}; {where}."]


def missed_lines(name: str, result: dict) -> list[str]:
    """Return the shares of the time, and remarks where a ratio is not reached."""
    lines = [
        f"- Where the time of {model} goes: {breakdown_words(shares)}."
        for model, shares in result.get("time goes", {}).items()
    ]
    reference = result["contenders"][result["reference"]]["seconds_per_crystal"]
    missed = any(
        reference / result["contenders"][contender]["seconds_per_crystal"] < asked
        for contender, asked in result["asked"].items()
        if contender in result["contenders"]
    )
    return [*lines, f"- {REMARKS[name]}"] if missed and name in REMARKS else lines


def edge_words(result: dict) -> str:
    """Return whether all contenders counted the same edges, as text."""
    counts = {name: row["edges"] for name, row in result["contenders"].items() if row["edges"]}
    if len(set(counts.values())) > 1:
        counted = ", ".join(f"{name} {count}" for name, count in counts.items())
        return f"Edges differ, and with them the work: {counted}."
    return "All that count edges count the same." if counts else "Edges are not counted here."


def setting_words(result: dict) -> str:
    return f"{result['crystals']} crystals, {result['rounds']} rounds in turn. {result['setting']}"


def per_second(seconds: float | None) -> str:
    return "" if seconds is None else f"{1 / seconds:.1f}"


def verdict(ratio: float, asked: float | None) -> str:
    if asked is None:
        return ""
    return "reached" if ratio >= asked else f"{100 * ratio / asked:.0f} % of what is asked"


def floor_lines(result: dict) -> list[str]:
    floor = result.get("floor")
    if floor is None:
        return []
    terms = (
        f"{floor['operations'] / 1e9:.2f} GFLOP of matrix products at "
        f"{floor['operations_per_s'] / 1e9:.0f} GFLOP/s and {floor['bytes'] / 1e6:.0f} MB of edge "
        f"tensors at {floor['bytes_per_s'] / 1e9:.1f} GB/s"
    )
    return [
        f"- Floor of a step: {1e3 * floor['seconds']:.0f} ms ({terms}); gnnpre takes "
        f"{1e3 * floor['step_s']:.0f} ms, {floor['step_s'] / floor['seconds']:.1f} times that. The "
        f"plain reference multiplies {floor['plain_operations'] / 1e9:.2f} GFLOP."
    ]


def memory_lines(result: dict) -> list[str]:
    memory = result.get("memory")
    if memory is None:
        return []
    if None in memory["mb"].values():
        return ["- Peak memory of a step: not to be had on this system."]
    plain = memory["mb"][PLAIN]
    lines = [
        "- Peak memory of a step (growth of resident memory in a fresh process): plain "
        f"{plain:.0f} MB; asked for {memory['asked']:g} times less."
    ]
    for model in (OURS, TORCH):
        growth = memory["mb"][model]
        ratio = plain / max(growth, 1e-3)
        text = f"{growth:.0f} MB, {ratio:.2f} times less: {verdict(ratio, memory['asked'])}"
        lines.append(f"- Peak memory of {model}: {text}.")
    return lines


def cuda_lines(name: str, result: dict) -> list[str]:
    lines = ["| batch | crystals/s |", "|---|---|"]
    lines += [f"| {batch} | {speed:.0f} |" for batch, speed in result["crystals_per_s"].items()]
    where = f"{result['device']}; {result['date']}; gnnpre at commit {result['commit']}"
    words = [result["projection"], result["limit"], f"{where}, {in_words(result['versions'])}."]
    return [f"`{name}`", "", *lines, *[line for paragraph in words for line in ("", paragraph)]]


def printed(name: str, result: dict[str, Any]) -> None:
    print("\n".join(["", f"## {result['title']}", *work_lines(name, result)]), flush=True)
