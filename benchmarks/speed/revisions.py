"""The same works by this revision and by earlier ones, in turns: is anything slower than before?"""

import argparse
import json
import statistics
from contextlib import ExitStack
from pathlib import Path

from common import NOW, ROOT, origin_lines, pin_to_one_core, revision, where_and_when

from .fingerprints import WORKS as FINGERPRINTS
from .graphs import WORKS as GRAPHS
from .works import PREDICTIONS, TRAININGS

__all__ = ["run"]

RESULTS = ROOT / "benchmarks" / "results"
SCRIPT = Path(__file__).with_name("one_revision.py")


def run(arguments: argparse.Namespace) -> None:
    """Measure the works that were asked for; those of earlier runs stay in the results."""
    available = [*TRAININGS, *GRAPHS, *PREDICTIONS, *FINGERPRINTS]
    names = [name for name in arguments.only.split(",") if name] or available
    if unknown := sorted(set(names) - set(available)):
        raise SystemExit(f"--only names {unknown}; expected {', '.join(available)}.")
    pin_to_one_core()
    before = [name for name in arguments.before.split(",") if name]
    seconds = take_turns(before, names, arguments)
    path = RESULTS / "speed_revisions.json"
    works = json.loads(path.read_text()) if path.exists() else {}
    origin = {**where_and_when(), "rounds": arguments.rounds, "crystals": arguments.crystals}
    for name in seconds:
        works[name] = {"seconds": seconds[name], **origin}
    path.write_text(json.dumps(works, indent=1) + "\n")
    lines = report(works)
    path.with_suffix(".md").write_text("\n".join([*lines, ""]))
    print("\n".join(lines))


def take_turns(
    before: list[str], names: list[str], arguments: argparse.Namespace
) -> dict[str, dict[str, list[float]]]:
    """Return seconds of the processor for a round of each contender, by revision."""
    seconds: dict[str, dict[str, list[float]]] = {}
    with ExitStack() as stack:
        payload = (names, arguments.crystals)
        peers = {
            name: stack.enter_context(revision(name, SCRIPT, payload)) for name in (*before, NOW)
        }
        contenders = peers[NOW].ask("names")[0]
        for number in range(arguments.rounds + 1):
            for contender in contenders:
                row = seconds.setdefault(contender, {peer: [] for peer in peers})
                for name, peer in peers.items():
                    (processor, _), _ = peer.ask(contender)
                    if number:  # the first round warms up
                        row[name].append(processor)
    return seconds


def report(works: dict) -> list[str]:
    """Return the page."""
    lines = [
        "# Speed beside earlier revisions",
        "",
        "Written by `python -m benchmarks speed --before REVISION --only WORK`. Milliseconds of",
        "processor time of a round, medians; revisions take turns on one core. The plain reference",
        "is the same code in all revisions: its ratio shows the noise.",
        "",
        "| work: contender | before | ms before | ms now | now / before | crystals, rounds, at |",
        "|---|---|---|---|---|---|",
    ]
    for name, work in works.items():
        now = 1e3 * statistics.median(work["seconds"][NOW])
        origin = f"{work['crystals']}, {work['rounds']}, {work['commit']}, {work['date']}"
        for before, values in work["seconds"].items():
            if before != NOW:
                then = 1e3 * statistics.median(values)
                cells = [name, before, f"{then:.1f}", f"{now:.1f}", f"{now / then:.2f}", origin]
                lines.append(f"| {' | '.join(cells)} |")
    return [*lines, "", *origin_lines(list(works.values())[-1])]
