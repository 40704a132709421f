"""Peers: which are installed, their inputs, and how they are started and ended."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from common import ROOT, Peer

from .crystals import Crystals
from .training import Setting

__all__ = ["close", "python_of", "start_peers"]


class ModelPeer(Peer):
    """A peer in its environment; it has ``models``, each of which is a contender."""

    def __init__(self, name: str, python: str, payload: dict[str, Any]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            script = str(ROOT / "benchmarks")
            super().__init__(python, script, payload, Path(folder), "peer", name)
            self.models = self.ask("models")


def python_of(name: str, home: Path) -> str | None:
    """Return the Python of a peer's environment, or None."""
    path = home / name / "bin" / "python"
    return str(path) if path.exists() else None


def start_peers(
    setting: Setting, crystals: Crystals, batches: list[list[int]], home: Path
) -> tuple[dict[str, ModelPeer], dict[str, str]]:
    """Start the peers of a work; say of those that are missing or fail why they are not there."""
    work = setting.work
    payload = make_payload(setting, crystals, batches) if work.peers else {}
    peers, absent = {}, {}
    for name in work.peers:
        python = python_of(name, home)
        if python is None:
            absent[name] = f"not installed: no {home / name} (benchmarks/peers/{name}.txt)"
            continue
        try:
            peers[name] = ModelPeer(name, python, payload)
        except RuntimeError as error:
            absent[name] = f"failed: {error}"
    return peers, absent


def close(peers: dict[str, ModelPeer]) -> None:
    for peer in peers.values():
        peer.close()


def make_payload(setting: Setting, crystals: Crystals, batches: list[list[int]]) -> dict[str, Any]:
    """Return crystals with gnnpre's edges, labels and batches, as NumPy arrays alone."""
    graphs = setting.graphs
    return {
        "cutoff": graphs.cutoff,
        "batches": batches,
        "steps": setting.work.steps,
        "mean_neighbors": setting.mean_neighbors,
        **setting.work.peer_settings,
        "crystals": [
            {
                "numbers": data.z.numpy(),
                "positions": data.pos.numpy(),
                "cell": data.cell[0].numpy(),
                "edge_index": data.edge_index.numpy(),
                "edge_shift": data.edge_shift.numpy().astype(np.float64),
                "energy": float(crystals.energy[index]),
                "forces": crystals.forces[index],
                "stress": crystals.stress[index],
            }
            for index, data in enumerate(graphs.to_data_list())
        ],
    }
