"""Training steps of SchNet on energies, forces and stresses: gnnpre's beside schnetpack's.

    python benchmarks/schnet_speed.py --peer-home ~/.gnnpre-peers

Both have the sizes of the paper's network for forces, the same crystals, edges and batches, float32
and one pinned core; they take turns, and the first round warms up. Results go to
benchmarks/results/schnet_speed.{json,md}. The peer needs an environment of its own
(benchmarks/peers/schnetpack.txt).
"""

import argparse
import json
import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch reads it

import torch
from common import ROOT, origin_lines, pin_to_one_core, race, where_and_when
from speed.crystals import plan, read_crystals
from speed.peers import close, start_peers
from speed.training import Setting
from speed.works import OURS, TORCH, forces

from gnnpre import ForceField, SchNet

CHANNELS, LAYERS, BATCH_SIZE, STEPS = 128, 4, 32, 3
PEER = "schnetpack SchNet"


def main() -> None:
    """Run the race, print the ratios and keep them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--crystals", type=int, default=1000)
    parser.add_argument("--peer-home", type=Path, default=Path.home() / ".gnnpre-peers")
    arguments = parser.parse_args()
    pin_to_one_core()
    torch.set_num_threads(1)
    crystals = read_crystals(arguments.crystals)
    work = forces(
        f"SchNet {CHANNELS}x{LAYERS}",
        SchNet(CHANNELS, LAYERS),
        ForceField(),
        STEPS,
        peers=("schnetpack",),
        peer_settings={"channels": CHANNELS, "layers": LAYERS},
    )
    setting = Setting(work, crystals)
    batches = plan(arguments.crystals, BATCH_SIZE)
    peers, absent = start_peers(setting, crystals, batches, arguments.peer_home)
    if absent:
        raise SystemExit(f"schnetpack is {absent['schnetpack']}")
    contenders = {
        OURS: setting.trainer(setting.our_model(), batches, STEPS),
        TORCH: setting.trainer(setting.our_model(compile=False), batches, STEPS),
        PEER: peers["schnetpack"].contender(PEER),
    }
    raced = race(contenders, arguments.rounds)
    close(peers)
    write(raced, {"rounds": arguments.rounds, "crystals": arguments.crystals, **where_and_when()})


def write(raced: dict, origin: dict) -> None:
    """Write the page and the numbers."""
    of_peer = raced[PEER]["median"]
    lines = [
        "# SchNet beside schnetpack",
        "",
        "Written by `python benchmarks/schnet_speed.py`. Steps of training on energies, forces and",
        f"stresses: {CHANNELS} channels, {LAYERS} layers, 5 Å, batches of {BATCH_SIZE} real",
        "crystals, float32. Milliseconds of processor time of a step, medians; contenders took",
        "turns.",
        "",
        "| | ms a step | edges a round | faster than schnetpack |",
        "|---|---|---|---|",
    ]
    for name, result in raced.items():
        step = 1e3 * result["median"] / STEPS
        edges, ratio = result["work"]["edges"], of_peer / result["median"]
        lines.append(f"| {name} | {step:.1f} | {edges} | {ratio:.2f} |")
    lines += ["", *origin_lines(origin)]
    print("\n".join(lines))
    path = ROOT / "benchmarks" / "results" / "schnet_speed.json"
    path.write_text(json.dumps({"contenders": raced, **origin}, indent=1) + "\n")
    path.with_suffix(".md").write_text("\n".join([*lines, ""]))


if __name__ == "__main__":
    main()
