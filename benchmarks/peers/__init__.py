"""Training steps of other packages, each run by the Python of an environment of its own.

An adapter is a module here with ``make(payload)``, which gives one :class:`PeerTrainer` for each of
its models. Nothing of gnnpre is imported.
"""

import argparse
import importlib
import pickle
import warnings
from pathlib import Path
from typing import Any

from common import serve, stopwatch

LEARNING_RATE, CLIP = 1e-4, 10.0


class PeerTrainer:
    """A round of steps on the next batches of the plan, as gnnpre's own contenders do it."""

    labels = ("energy", "forces", "stress")

    def __init__(self, model: Any, graphs: list, payload: dict[str, Any]) -> None:
        import torch

        self.model = model.train()
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(self.parameters, lr=LEARNING_RATE)
        self.graphs = graphs
        self.payload = payload
        self.next = 0

    def predict(self, graphs: list) -> tuple[dict, dict, Any, int]:
        """Collate; return predictions and targets by label, atoms of each, and edges in all."""
        raise NotImplementedError

    def step(self, indices: list[int]) -> int:
        import torch

        predicted, expected, n_atoms, n_edges = self.predict([self.graphs[i] for i in indices])
        loss = 0.0
        for name in self.labels:
            prediction, target = predicted[name], expected[name].reshape(predicted[name].shape)
            if name == "energy":
                prediction, target = prediction / n_atoms, target / n_atoms
            loss = loss + torch.nn.functional.l1_loss(prediction, target)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, CLIP)
        self.optimizer.step()
        return n_edges

    def rehearse(self) -> None:
        """Fail now, if at all, and not in the middle of a race."""
        self.step(self.payload["batches"][0])

    def __call__(self) -> tuple[list[float], dict[str, int]]:
        batches, steps = self.payload["batches"], self.payload["steps"]
        chosen = [batches[(self.next + i) % len(batches)] for i in range(steps)]
        self.next += steps
        seconds, edges = stopwatch(lambda: sum(int(self.step(indices)) for indices in chosen))
        return seconds, {"crystals": sum(map(len, chosen)), "edges": edges}


def serve_adapter(arguments: list[str]) -> None:
    """Be the subprocess: ``peer NAME --serve-peer PAYLOAD``."""
    import torch

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # they are for the developers of the peers
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("--serve-peer", required=True, type=Path)
    parsed = parser.parse_args(arguments)
    payload = pickle.loads(parsed.serve_peer.read_bytes())

    def contenders() -> dict:
        adapter = importlib.import_module("peers." + parsed.name.replace("-", "_"))
        models = adapter.make(payload)
        for model in models.values():
            model.rehearse()
        return {**models, "models": lambda: list(models)}

    serve(contenders)
