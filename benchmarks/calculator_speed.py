"""How fast are ASE calculators on 8, 64 and 1,000 atoms, on one core?

    python benchmarks/calculator_speed.py [--contender gnnpre|gnnpre-1-forces|chgnet|mace]

Prints milliseconds of a call with energy, forces and stress, while atoms of copper move by 0.01 Å
at each call, as in dynamics. The median of the calls after the first is shown. CHGNet runs with
its published weights, MACE with the architecture of MACE-MP-0 small (128 scalars, two layers, 6 Å)
and random weights, and gnnpre with TorchMDNet(64, 2) and the weights of one epoch: weights do not
change the time. Each contender runs in an environment that has it. e3nn 0.4.4, which MACE needs,
reads its constants by pickle: set TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD=1. CHGNet needs more than 17 GB
for 1,000 atoms; --atoms leaves sizes out. gnnpre computes with no subnormal numbers, which some
processors are slow with; --flush-subnormals spares them the peers as well.
"""

import argparse
import statistics
import time
from typing import Any

import numpy as np
from ase.build import bulk

CUTOFF = 5.0
SIZES = {8: (2, 1, 1), 64: (4, 2, 2), 1000: (10, 5, 5)}  # cells of four atoms


def gnnpre_calculator() -> Any:
    from gnnpre import ForceField, Pretrainer, StructureToGraph, TorchMDNet
    from gnnpre.datasets import make_emt_frames

    frames, labels = make_emt_frames(30, random_state=0)
    pretrainer = Pretrainer(TorchMDNet(64, 2), ForceField(), max_epochs=1, random_state=0)
    return pretrainer.fit(StructureToGraph(CUTOFF).transform(frames), labels).calculator()


def shipped_calculator() -> Any:
    from gnnpre.calculators import ForceFieldCalculator

    return ForceFieldCalculator("gnnpre-1-forces")


def chgnet_calculator() -> Any:
    from chgnet.model.dynamics import CHGNetCalculator

    return CHGNetCalculator(use_device="cpu")


def mace_calculator() -> Any:
    import torch
    from e3nn import o3
    from mace import modules
    from mace.calculators import MACECalculator

    block = modules.interaction_classes["RealAgnosticResidualInteractionBlock"]
    model = modules.ScaleShiftMACE(
        atomic_inter_scale=1.0,
        atomic_inter_shift=0.0,
        r_max=6.0,
        num_bessel=10,
        num_polynomial_cutoff=5,
        max_ell=3,
        interaction_cls=block,
        interaction_cls_first=block,
        num_interactions=2,
        num_elements=1,
        hidden_irreps=o3.Irreps("128x0e"),
        MLP_irreps=o3.Irreps("16x0e"),
        atomic_energies=np.zeros(1),
        avg_num_neighbors=60.0,
        atomic_numbers=[29],
        correlation=3,
        gate=torch.nn.functional.silu,
    )
    return MACECalculator(models=[model.float()], device="cpu", default_dtype="float32")


CONTENDERS = {
    "gnnpre": gnnpre_calculator,
    "gnnpre-1-forces": shipped_calculator,
    "chgnet": chgnet_calculator,
    "mace": mace_calculator,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--contender", choices=CONTENDERS, default="gnnpre")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--atoms", type=int, nargs="*", choices=SIZES, default=list(SIZES))
    parser.add_argument("--flush-subnormals", action="store_true")
    arguments = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    torch.set_flush_denormal(arguments.flush_subnormals)
    calculator = CONTENDERS[arguments.contender]()
    for n_atoms in arguments.atoms:
        milliseconds = 1000 * median_call(calculator, SIZES[n_atoms], arguments.steps)
        print(f"{arguments.contender}\t{n_atoms} atoms\t{milliseconds:.1f} ms", flush=True)


def median_call(calculator: Any, cells: tuple[int, int, int], steps: int) -> float:
    """Return the median seconds of a call, the first one left out."""
    rng = np.random.default_rng(0)
    atoms = bulk("Cu", cubic=True).repeat(cells)
    atoms.calc = calculator
    seconds = []
    for _ in range(steps + 1):
        atoms.positions += rng.normal(scale=0.01, size=atoms.positions.shape)
        start = time.perf_counter()
        atoms.get_forces()
        atoms.get_stress()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[1:])


if __name__ == "__main__":
    main()
