"""Kernels in Triton against the formulas; run as a script by Triton's interpreter, on the CPU.

``TRITON_INTERPRET=1 python triton_cases.py`` prints the largest errors of each case as JSON. The
tests of a GPU import it.
"""

import json
import sys

import torch

from gnnpre.backbones.messages import (
    DIRECTION,
    PAIR,
    SILU,
    SOFTPLUS,
    SOURCE,
    TARGET,
    AttentionMessage,
    FilteredMessage,
    GatedMessage,
    LinearMap,
    Neighbors,
    _neighbors,
)
from gnnpre.backbones.messages.triton_kernels import TritonSums, _sums, find_triton_kernel
from gnnpre.graphs import EdgePairs

N_ATOMS, N_FEATURES = 4, 3


def gated(activation, channels):
    shapes = [(2 * channels,), (2 * channels,), (2 * channels,), ()]
    return GatedMessage(activation), shapes


def filtered(channels):
    return FilteredMessage(), [(channels,), (channels,)]


def attention(channels, heads, vectors, vector_cutoff):
    width = (4 if vectors else 3) * channels
    shapes = [(channels,), (width,), (width,), (), (3,)] + [(3, channels)] * vectors
    return AttentionMessage(heads, vectors=vectors, vector_cutoff=vector_cutoff), shapes


#: Message, number of pairs, and ways that each pair is an edge. No width is a power of two; 40
#: channels and 36 are two blocks; 40 pairs are three tiles and two ranges.
CASES = {
    "gated-silu": (*gated(SILU, 5), 40, 1),
    "gated-softplus-both-ways": (*gated(SOFTPLUS, 3), 12, 2),
    "gated-two-blocks": (*gated(SILU, 40), 12, 1),
    "gated-no-edges": (*gated(SILU, 5), 0, 1),
    "filtered": (*filtered(5), 40, 1),
    "filtered-both-ways": (*filtered(5), 12, 2),
    "attention": (*attention(6, 2, True, False), 20, 1),
    "attention-cutoff-both-ways": (*attention(6, 2, True, True), 6, 2),
    "attention-two-blocks": (*attention(36, 6, True, True), 6, 1),
    "attention-no-vectors": (*attention(6, 2, False, False), 6, 1),
    "attention-no-vectors-cutoff": (*attention(6, 2, False, True), 40, 1),
    "attention-no-edges": (*attention(6, 2, True, True), 0, 1),
}


def make_pairs(n_pairs, k, device):
    """Random edges: more than a tile of them end at atom 0, none at the last."""
    generator = torch.Generator().manual_seed(n_pairs)
    ends = torch.randint(0, N_ATOMS - 1, (2, n_pairs), generator=generator)
    ends[0, : n_pairs // 2] = 0
    both = torch.stack([ends, ends.flip(0)])[:k].to(device)  # (k, 2, P)
    return EdgePairs(torch.arange(n_pairs, device=device), both[:, 0], both[:, 1])


def make_inputs(message, shapes, n_pairs, dtype, device):
    """Tensors of atoms and pairs; of a linear map the features, with weight and bias at the end."""
    generator = torch.Generator().manual_seed(0)
    rows = {TARGET: N_ATOMS, SOURCE: N_ATOMS, PAIR: n_pairs, DIRECTION: n_pairs}
    sizes = [(rows[role], *shape) for role, shape in zip(message.roles, shapes, strict=True)]
    mapped = message.kernel((6, 6)).mapped
    if mapped is not None:
        (width,) = shapes[mapped]
        sizes[mapped] = (n_pairs, N_FEATURES)
        sizes += [(width, N_FEATURES), (width,)]
    numbers = [torch.randn(size, dtype=torch.float64, generator=generator) for size in sizes]
    return [(0.5 * x).to(device, dtype).requires_grad_() for x in numbers]


def joined(message, tensors):
    """Join features, weight and bias to a linear map."""
    mapped = message.kernel((6, 6)).mapped
    if mapped is None:
        return list(tensors)
    *inputs, weight, bias = tensors
    inputs[mapped] = LinearMap(inputs[mapped], weight, bias)
    return inputs


def formula_sums(message, pairs, inputs):
    """Sums of the formula, one direction of the edges after the other."""
    inputs = [x.product() if isinstance(x, LinearMap) else x for x in inputs]
    totals = []
    for sign, target, source in zip((1.0, -1.0), pairs.target, pairs.source, strict=False):
        rows = [
            {TARGET: x[target], SOURCE: x[source]}[role]
            if role in (TARGET, SOURCE)
            else (sign * x if role == DIRECTION else x)
            for role, x in zip(message.roles, inputs, strict=True)
        ]
        messages = message.formula(*rows)
        totals.append(
            [x.new_zeros(N_ATOMS, *x.shape[1:]).index_add(0, target, x) for x in messages]
        )
    return [sum(sums) for sums in zip(*totals, strict=True)]


def derivatives(sums, inputs, moving):
    """Values, gradients, and the gradients of a function of both, which mixes all."""
    # In single precision, functions that do not make more of rounding errors.
    is_rough = sums[0].dtype == torch.float64
    inner = sum((s * (torch.cos(s) if is_rough else s)).sum() for s in sums)
    gradients = torch.autograd.grad(inner, moving, create_graph=True)
    outer = sum(
        ((torch.sin(g) if is_rough else g * g) * (1 + i)).sum() for i, g in enumerate(gradients)
    )
    outer = outer + sum((s * s).sum() for s in sums)
    return [*sums, *gradients, *torch.autograd.grad(outer, inputs)]


def errors(name, dtype=torch.float64, device="cpu", moves=(TARGET, SOURCE, PAIR, DIRECTION)):
    """Return the largest error of each result, relative to one and the largest number in it."""
    message, shapes, n_pairs, k = CASES[name]
    pairs = make_pairs(n_pairs, k, device)
    inputs = make_inputs(message, shapes, n_pairs, dtype, device)
    moving = [x for number, x in enumerate(inputs) if (*message.roles, PAIR, PAIR)[number] in moves]
    if moves == (PAIR, DIRECTION):  # as for forces: no other input has a tangent
        moving = [x for x, role in zip(inputs, message.roles, strict=False) if role in moves]
    neighbors = Neighbors(pairs, N_ATOMS, compiled=True)
    engine, _ = neighbors._engine(message, joined(message, inputs))
    assert isinstance(engine, TritonSums), engine
    by_kernel = derivatives(neighbors.sum(message, *joined(message, inputs)), inputs, moving)
    by_formula = derivatives(formula_sums(message, pairs, joined(message, inputs)), inputs, moving)
    return [
        float((a - b).detach().abs().max() / b.detach().abs().max().clamp(min=1.0))
        if b.numel()
        else 0.0
        for a, b in zip(by_kernel, by_formula, strict=True)
    ]


#: Largest error by precision.
TOLERANCES = {"float64": 1e-10, "float32": 1e-4}
#: Name of a case, precision, and whether pairs alone move.
RUNS = [
    *((name, "float64", False) for name in CASES),
    ("gated-softplus-both-ways", "float64", True),
    ("attention-no-vectors", "float64", True),
    ("gated-softplus-both-ways", "float32", False),
    ("filtered-both-ways", "float32", False),
    ("attention-cutoff-both-ways", "float32", False),
]


def run(name, precision, pairs_alone, device="cpu"):
    """Return the errors of one run."""
    moves = (PAIR, DIRECTION) if pairs_alone else (TARGET, SOURCE, PAIR, DIRECTION)
    return errors(name, getattr(torch, precision), device, moves)


if __name__ == "__main__":
    # The interpreter works on the CPU, where the kernels in C would be taken.
    _neighbors.find_kernel = find_triton_kernel
    _sums.MAX_RANGES = 2
    names = [f"{name} {precision} {pairs_alone}" for name, precision, pairs_alone in RUNS]
    wanted = sys.argv[1:] or names
    results = {key: run(*case) for key, case in zip(names, RUNS, strict=True) if key in wanted}
    print(json.dumps(results))
