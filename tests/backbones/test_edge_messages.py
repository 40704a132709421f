"""Messages and their two derivatives by hand, against autograd of their formulas."""

from itertools import product

import pytest
import torch

from gnnpre.backbones import _edge_blocks, _edge_kernel, _edge_sum
from gnnpre.backbones._attention_message import AttentionMessage, FilteredMessage
from gnnpre.backbones._edge_message import PAIR, LinearMap
from gnnpre.backbones._edge_sum import Neighbors
from gnnpre.backbones._functions import SILU, SOFTPLUS
from gnnpre.backbones._gated_message import GatedMessage
from gnnpre.graphs import EdgePairs

N_ATOMS, N_PAIRS, CHANNELS, HEADS, N_FEATURES = 5, 7, 4, 2, 3


def gated(activation):
    def formula(sign, target, source, edge, weight):
        gate, core = (target + source + edge).chunk(2, dim=1)
        return (weight[:, None] * torch.sigmoid(gate) * activation(core),)

    return formula


def filtered(sign, filters, source):
    return (filters * source,)


def attention(vector_cutoff):
    silu = torch.nn.functional.silu

    def formula(sign, query, sent, edge, envelope, direction, *vectors):
        parts = (sent * silu(edge)).chunk(4 if vectors else 3, dim=1)
        key, scalar, along = parts[:3]
        meeting = (query * key).unflatten(1, (HEADS, -1))
        weight = silu(meeting.sum(dim=2, keepdim=True)) * envelope[:, None, None]
        scalars = (weight * scalar.unflatten(1, (HEADS, -1))).flatten(1)
        arrows = sign * direction[:, :, None] * along[:, None]
        if vectors:
            gate = parts[3] * envelope[:, None] if vector_cutoff else parts[3]
            arrows = arrows + vectors[0] * gate[:, None]
        return scalars, arrows

    return formula


def attention_case(vectors, vector_cutoff):
    message = AttentionMessage(HEADS, vectors=vectors, vector_cutoff=vector_cutoff)
    parts = 4 if vectors else 3
    shapes = [(CHANNELS,), (parts * CHANNELS,), (parts * CHANNELS,), (), (3,)]
    return message, attention(vector_cutoff), [*shapes, (3, CHANNELS)][: parts + 2]


CASES = {
    "gated-silu": (
        GatedMessage(SILU),
        gated(torch.nn.functional.silu),
        [(2 * CHANNELS,)] * 3 + [()],
    ),
    "gated-softplus": (
        GatedMessage(SOFTPLUS),
        gated(torch.nn.functional.softplus),
        [(2 * CHANNELS,)] * 3 + [()],
    ),
    "filtered": (FilteredMessage(), filtered, [(CHANNELS,)] * 2),
    **{
        f"attention-vectors={vectors}-cutoff={cutoff}": attention_case(vectors, cutoff)
        for vectors, cutoff in product([False, True], [False, True])
    },
}


@pytest.fixture(params=[1, 2], ids=["one-way", "both-ways"])
def pairs(request):
    generator = torch.Generator().manual_seed(request.param)
    # The last atom has no neighbours.
    ends = torch.randint(0, N_ATOMS - 1, (2, N_PAIRS), generator=generator)
    both = torch.stack([ends, ends.flip(0)])[: request.param]  # (k, 2, P)
    return EdgePairs(torch.arange(N_PAIRS), both[:, 0], both[:, 1])


@pytest.fixture(params=[3, 100, None], ids=["many-blocks", "one-block", "kernel"])
def neighbors(request, monkeypatch):
    """Neighbours whose sums are made in blocks of some pairs, or by a kernel in C."""
    if request.param is None:
        monkeypatch.setattr(_edge_sum, "Blocks", None)
        return lambda pairs: Neighbors(pairs, N_ATOMS, compiled=True)
    monkeypatch.setattr(_edge_blocks.Blocks, "blocks", blocks_of(request.param))
    return lambda pairs: Neighbors(pairs, N_ATOMS)


def blocks_of(size):
    def blocks(job, inputs):
        for start in range(0, max(1, job.pairs.target.shape[1]), size):
            rows = slice(start, start + size)
            target, source = job.pairs.target[:, rows], job.pairs.source[:, rows]
            place = _edge_blocks._Place(target.flatten(), source.flatten(), len(target))
            yield _edge_blocks._Block(rows, place)

    return blocks


def make_inputs(message, shapes, seed=0, rows=None, dtype=torch.float64):
    """Tensors of atoms and pairs, features for a linear map, whose weight and bias come last."""
    generator = torch.Generator().manual_seed(seed)
    rows = rows or {PAIR: N_PAIRS, "atoms": N_ATOMS}
    sizes = [
        (rows[PAIR] if role == PAIR else rows["atoms"], *shape)
        for role, shape in zip(message.roles, shapes, strict=True)
    ]
    if (mapped := mapped_input(message)) is not None:
        width = shapes[mapped][0]
        sizes[mapped] = (rows[PAIR], N_FEATURES)
        sizes += [(width, N_FEATURES), (width,)]
    numbers = [torch.randn(size, dtype=torch.float64, generator=generator) for size in sizes]
    return [x.to(dtype).requires_grad_() for x in numbers]


def mapped_input(message):
    return None if isinstance(message, FilteredMessage) else 2


def folded(message, tensors):
    """Put features, weight and bias together as a linear map."""
    mapped = mapped_input(message)
    if mapped is None:
        return list(tensors)
    *inputs, weight, bias = tensors
    inputs[mapped] = LinearMap(inputs[mapped], weight, bias)
    return inputs


def direct(message, formula, pairs, inputs):
    """Sums of the formula, edge by edge."""
    sums = None
    inputs = folded(message, inputs)
    if (mapped := mapped_input(message)) is not None:
        features, weight, bias = inputs[mapped]
        inputs[mapped] = features @ weight.t() + bias
    n_atoms = next(len(x) for x, role in zip(inputs, message.roles, strict=True) if role != PAIR)
    for sign, target, source in zip((1.0, -1.0), pairs.target, pairs.source, strict=False):
        index = {"target": target, "source": source, "pair": slice(None)}
        at = [x[index[role]] for role, x in zip(message.roles, inputs, strict=True)]
        parts = [
            torch.zeros(n_atoms, *m.shape[1:], dtype=m.dtype).index_add(0, target, m)
            for m in formula(sign, *at)
        ]
        sums = parts if sums is None else [a + b for a, b in zip(sums, parts, strict=True)]
    return sums


def derivatives(sums, inputs, moving):
    """Values, gradients, and the gradients of a function of both, which mixes all."""
    cotangents = [torch.cos(s) for s in sums]  # depends on the inputs itself
    inner = sum((s * c).sum() for s, c in zip(sums, cotangents, strict=True))
    gradients = torch.autograd.grad(inner, moving, create_graph=True)
    outer = sum((torch.sin(g) * (1 + i)).sum() for i, g in enumerate(gradients))
    outer = outer + sum((s * s).sum() for s in sums)
    return [*sums, *gradients, *torch.autograd.grad(outer, inputs)]


@pytest.mark.parametrize("case", CASES)
def test_values_gradients_and_second_derivatives(case, pairs, neighbors):
    message, formula, shapes = CASES[case]
    inputs = make_inputs(message, shapes)
    ours = neighbors(pairs).sum(message, *folded(message, inputs))
    theirs = direct(message, formula, pairs, inputs)
    found = derivatives(ours, inputs, inputs)
    expected = derivatives(theirs, inputs, inputs)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("case", CASES)
def test_second_derivatives_where_only_pairs_move(case, pairs, neighbors):
    """As for forces: other inputs have no tangents."""
    message, formula, shapes = CASES[case]
    inputs = make_inputs(message, shapes, seed=1)
    moving = [x for x, role in zip(inputs, message.roles, strict=False) if role == PAIR]
    ours = neighbors(pairs).sum(message, *folded(message, inputs))
    theirs = direct(message, formula, pairs, inputs)
    found = derivatives(ours, inputs, moving)
    for a, b in zip(found, derivatives(theirs, inputs, moving), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("case", CASES)
def test_finite_differences(case, pairs, neighbors):
    message, _, shapes = CASES[case]
    inputs = make_inputs(message, shapes, seed=2)

    def sums(*x):
        return neighbors(pairs).sum(message, *folded(message, x))

    assert torch.autograd.gradcheck(sums, inputs, fast_mode=True)
    assert torch.autograd.gradgradcheck(sums, inputs, fast_mode=True)


@pytest.mark.parametrize("case", CASES)
def test_no_edges_at_all(case, neighbors):
    message, _, shapes = CASES[case]
    empty = torch.empty(2, 0, dtype=torch.long)
    inputs = [
        x[:0].detach().requires_grad_() if len(x) == N_PAIRS else x
        for x in make_inputs(message, shapes)
    ]
    pairs = EdgePairs(torch.arange(0), empty, empty)
    sums = neighbors(pairs).sum(message, *folded(message, inputs))
    for x in derivatives(sums, inputs, inputs):
        assert not x.abs().sum() > 0


@pytest.mark.parametrize("case", CASES)
def test_what_needs_no_gradient_gets_none(case, pairs, neighbors):
    message, formula, shapes = CASES[case]
    inputs = make_inputs(message, shapes, seed=3)
    for fixed in range(len(inputs)):
        given = [x.detach() if i == fixed else x for i, x in enumerate(inputs)]
        moving = [x for i, x in enumerate(given) if i != fixed]
        sums = neighbors(pairs).sum(message, *folded(message, given))
        expected = direct(message, formula, pairs, given)
        found = derivatives(sums, moving, moving)
        for a, b in zip(found, derivatives(expected, moving, moving), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("case", CASES)
def test_rows_that_are_not_next_to_each_other(case, pairs, neighbors):
    message, formula, shapes = CASES[case]
    inputs = make_inputs(message, shapes)
    strided = [x if x.dim() < 2 else x.detach().mT.contiguous().mT for x in inputs]
    strided = [x.detach().requires_grad_() for x in strided]
    assert not any(x.is_contiguous() for x in strided if x.dim() > 1)
    expected = derivatives(direct(message, formula, pairs, inputs), inputs, inputs)
    sums = neighbors(pairs).sum(message, *folded(message, strided))
    for a, b in zip(derivatives(sums, strided, strided), expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("most", [0, 10**9])
def test_states_of_large_batches_are_made_anew(most, monkeypatch):
    monkeypatch.setattr(_edge_blocks, "STATE_BYTES", most)
    message, formula, shapes = CASES["gated-silu"]
    prepared = []
    monkeypatch.setattr(
        message, "prepare", lambda *x: prepared.append(1) or GatedMessage.prepare(message, *x)
    )
    ends = torch.randint(0, N_ATOMS, (2, 1, N_PAIRS), generator=torch.Generator().manual_seed(0))
    pairs = EdgePairs(torch.arange(N_PAIRS), ends[0], ends[1])
    inputs = make_inputs(message, shapes)
    sums = Neighbors(pairs, N_ATOMS).sum(message, *folded(message, inputs))
    n_blocks = len(prepared)
    found = derivatives(sums, inputs, inputs)
    expected = derivatives(direct(message, formula, pairs, inputs), inputs, inputs)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)
    assert (len(prepared) == n_blocks) == (most > 0)


def smooth_derivatives(sums, inputs):
    """The same of a function that does not make more of rounding errors."""
    inner = sum((s * torch.linspace(0, 1, s.shape[-1])).sum() for s in sums)
    gradients = torch.autograd.grad(inner, inputs, create_graph=True)
    outer = sum((g * g).sum() for g in gradients)
    return [*sums, *gradients, *torch.autograd.grad(outer, inputs)]


def large_case(case, dtype, n_crystals=40, n_atoms=5, n_pairs=200):
    """Inputs and pairs of some crystals, pairs of one after those of another."""
    message, _, shapes = CASES[case]
    generator = torch.Generator().manual_seed(0)
    ends = torch.randint(0, n_atoms, (2, n_crystals, n_pairs), generator=generator)
    ends = (ends + n_atoms * torch.arange(n_crystals)[:, None]).flatten(1)
    pairs = EdgePairs(torch.arange(ends.shape[1]), ends, ends.flip(0))
    rows = {PAIR: ends.shape[1], "atoms": n_crystals * n_atoms}
    return message, pairs, rows["atoms"], make_inputs(message, shapes, 0, rows, dtype)


@pytest.mark.parametrize("case", CASES)
def test_threads_of_a_kernel_change_nothing(case, monkeypatch):
    message, pairs, n_atoms, inputs = large_case(case, torch.float64)
    monkeypatch.setattr(_edge_kernel, "PAIRS_OF_A_SUM", 1_000)
    cut, parts = _edge_kernel._parts, []
    monkeypatch.setattr(_edge_kernel, "_parts", lambda *x: parts.append(cut(*x)) or parts[-1])
    found = []
    for n_threads in (1, 3):
        monkeypatch.setattr(torch, "get_num_threads", lambda n=n_threads: n)
        sums = Neighbors(pairs, n_atoms, compiled=True).sum(message, *folded(message, inputs))
        found.append(smooth_derivatives(sums, inputs))
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)  # weights add up in another order
    assert {len(part) for part in parts} == {8, 9}


def test_pairs_are_cut_between_crystals_for_threads(monkeypatch):
    ends = torch.tensor([[0, 1, 1, 2, 3, 3, 4, 5], [1, 0, 1, 2, 3, 4, 3, 5]])
    assert _edge_kernel._parts(ends, ends.flip(0), 3) == [(0, 3), (3, 7), (7, 8)]
    assert _edge_kernel._parts(ends[:, :3], ends[:, :3], 3) == [(0, 3)]
    assert _edge_kernel._parts(ends, ends.flip(0), 1) == [(0, 8)]
    monkeypatch.setattr(_edge_kernel, "PAIRS_OF_A_SUM", 3)
    assert _edge_kernel._parts(ends, ends.flip(0), 1) == [(0, 2), (2, 5), (5, 8)]
    assert _edge_kernel._parts(ends[:, :0], ends[:, :0], 1) == [(0, 0)]


@pytest.mark.parametrize("case", CASES)
def test_single_precision_of_a_kernel_is_that_of_torch(case):
    errors = []
    for compiled in (True, False):
        found = []
        for dtype in (torch.float64, torch.float32):
            message, pairs, n_atoms, inputs = large_case(case, dtype)
            sums = Neighbors(pairs, n_atoms, compiled=compiled).sum(
                message, *folded(message, inputs)
            )
            found.append(smooth_derivatives(sums, inputs))
        errors.append([((a - b).norm() / a.norm()).item() for a, b in zip(*found, strict=True)])
    for ours, theirs in zip(*errors, strict=True):
        assert ours < max(3e-6, 2 * theirs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("activation", [SILU, SOFTPLUS], ids=["silu", "softplus"])
def test_large_and_small_and_no_numbers_in_a_kernel(activation, dtype):
    pairs = EdgePairs(torch.arange(1), *torch.zeros(2, 1, 1, dtype=torch.long))
    lowest = torch.finfo(dtype).min
    values = [0.0, 1e-30, 1e-4, 0.3, 5.0, 30.0, 87.0, 89.0, 700.0, 1e4, torch.inf, torch.nan]
    for value in [*values, *(-x for x in values[:-2]), lowest]:
        for other in (0.5, -200.0):
            core = torch.full((1, CHANNELS), value, dtype=dtype)
            gate = torch.full((1, CHANNELS), other, dtype=dtype)
            edge = torch.cat([gate, core], dim=1)
            zero = torch.zeros_like(edge)
            nothing = LinearMap(zero[:, :1], torch.zeros(2 * CHANNELS, 1, dtype=dtype))
            weight = torch.ones(1, dtype=dtype)
            for turn in (edge, edge.roll(CHANNELS, dims=1)):
                ours, theirs = (
                    Neighbors(pairs, 1, compiled=compiled).sum(
                        GatedMessage(activation), zero, turn, nothing, weight
                    )[0]
                    for compiled in (True, False)
                )
                torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-37, equal_nan=True)


def test_rows_of_the_wrong_width_do_not_reach_a_kernel(neighbors, pairs):
    message, _, shapes = CASES["gated-silu"]
    inputs = make_inputs(message, [*shapes[:2], (2 * CHANNELS - 1,), ()])
    with pytest.raises((ValueError, RuntimeError), match=r"Rows of gated have|size of tensor"):
        neighbors(pairs).sum(message, *folded(message, inputs))
