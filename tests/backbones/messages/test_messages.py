"""Every fast path of a message against autograd of its formula, edge by edge."""

import pytest
import torch

from gnnpre.backbones.messages import (
    DIRECTION,
    PAIR,
    SILU,
    SOFTPLUS,
    SOURCE,
    TARGET,
    AttentionMessage,
    EdgeMessage,
    FilteredMessage,
    GatedMessage,
    LinearMap,
    Neighbors,
    _blocks,
    _kernel_sums,
    _neighbors,
)
from gnnpre.graphs import EdgePairs

N_ATOMS, N_PAIRS, CHANNELS, HEADS, N_FEATURES = 5, 7, 4, 2, 3


class Whirl(EdgeMessage):
    """A message of one's own, by its formula alone."""

    roles = (DIRECTION, SOURCE, TARGET, PAIR)

    def formula(self, direction, source, target, distance):
        scalar = torch.tanh(source * target) * torch.sigmoid(distance)
        return scalar, direction[:, :, None] * scalar[:, None] ** 2


def attention(vectors, vector_cutoff):
    n_chunks = 4 if vectors else 3
    shapes = [(CHANNELS,), (n_chunks * CHANNELS,), (n_chunks * CHANNELS,), (), (3,)]
    message = AttentionMessage(HEADS, vectors=vectors, vector_cutoff=vector_cutoff)
    return message, [*shapes, (3, CHANNELS)][: n_chunks + 2]


#: Each message with the shapes of a row of its inputs.
MESSAGES = {
    "gated-silu": (GatedMessage(SILU), [(2 * CHANNELS,)] * 3 + [()]),
    "gated-softplus": (GatedMessage(SOFTPLUS), [(2 * CHANNELS,)] * 3 + [()]),
    "filtered": (FilteredMessage(), [(CHANNELS,)] * 2),
    "attention-no-vectors": attention(False, False),
    "attention-no-vectors-cutoff": attention(False, True),
    "attention": attention(True, False),
    "attention-cutoff": attention(True, True),
    "whirl": (Whirl(), [(3,), (CHANNELS,), (CHANNELS,), (1,)]),
}
#: Those that have a kernel in C.
CASES = [name for name, (message, _) in MESSAGES.items() if message.kernel((4, 4)) is not None]


class FormulaAlone(EdgeMessage):
    """A message without its fast paths."""

    def __init__(self, message):
        self.formula, self.roles = message.formula, message.roles


FormulaAlone.__abstractmethods__ = frozenset()


@pytest.fixture(params=[1, 2], ids=["one-way", "both-ways"])
def pairs(request):
    generator = torch.Generator().manual_seed(request.param)
    # The last atom has no neighbours.
    ends = torch.randint(0, N_ATOMS - 1, (2, N_PAIRS), generator=generator)
    both = torch.stack([ends, ends.flip(0)])[: request.param]  # (k, 2, P)
    return EdgePairs(torch.arange(N_PAIRS), both[:, 0], both[:, 1])


ENGINES = {"blocks": 3, "one-block": 100, "formula": 3, "kernel": None}


@pytest.fixture(params=ENGINES)
def sums(request, monkeypatch):
    """Return the sums of a message by blocks of some pairs, its formula alone, or a kernel."""
    size = ENGINES[request.param]
    monkeypatch.setattr(_blocks.Blocks, "blocks", blocks_of(size or 3))

    def sum_messages(message, pairs, inputs):
        joined = with_map(message, inputs)
        if request.param == "formula":
            message = FormulaAlone(message)
        if request.param == "kernel" and message.kernel((4, 4)) is not None:
            monkeypatch.setattr(_neighbors, "Blocks", None)
        return Neighbors(pairs, N_ATOMS, compiled=size is None).sum(message, *joined)

    return sum_messages


def blocks_of(size):
    def blocks(job, inputs):
        for start in range(0, max(1, job.pairs.target.shape[1]), size):
            rows = slice(start, start + size)
            target, source = job.pairs.target[:, rows], job.pairs.source[:, rows]
            ends = _blocks.Ends(target.flatten(), source.flatten(), len(target))
            yield _blocks.Block(rows, ends)

    return blocks


def make_inputs(name, seed=0, n_pairs=N_PAIRS, n_atoms=N_ATOMS, dtype=torch.float64):
    """Tensors of atoms and pairs; of a linear map the features, with weight and bias at the end."""
    message, shapes = MESSAGES[name]
    generator = torch.Generator().manual_seed(seed)
    n_rows = {TARGET: n_atoms, SOURCE: n_atoms, PAIR: n_pairs, DIRECTION: n_pairs}
    sizes = [(n_rows[role], *shape) for role, shape in zip(message.roles, shapes, strict=True)]
    if (mapped := mapped_input(message)) is not None:
        (width,) = shapes[mapped]
        sizes[mapped] = (n_pairs, N_FEATURES)
        sizes += [(width, N_FEATURES), (width,)]
    numbers = [torch.randn(size, dtype=torch.float64, generator=generator) for size in sizes]
    return [x.to(dtype).requires_grad_() for x in numbers]


def mapped_input(message):
    spec = message.kernel((4, 4))
    return None if spec is None else spec.mapped


def with_map(message, tensors):
    """Join features, weight and bias to a linear map."""
    mapped = mapped_input(message)
    if mapped is None:
        return list(tensors)
    *inputs, weight, bias = tensors
    inputs[mapped] = LinearMap(inputs[mapped], weight, bias)
    return inputs


def formula_sums(message, pairs, tensors):
    """Sums of the formula, one direction of the edges after the other."""
    inputs = [x.product() if isinstance(x, LinearMap) else x for x in with_map(message, tensors)]
    totals = None
    for sign, target, source in zip((1.0, -1.0), pairs.target, pairs.source, strict=False):
        of_edges = {
            TARGET: lambda x, index=target: x[index],
            SOURCE: lambda x, index=source: x[index],
            PAIR: lambda x: x,
            DIRECTION: lambda x, sign=sign: sign * x,
        }
        rows = [of_edges[role](x) for role, x in zip(message.roles, inputs, strict=True)]
        sums = [
            torch.zeros(N_ATOMS, *m.shape[1:], dtype=m.dtype).index_add(0, target, m)
            for m in message.formula(*rows)
        ]
        totals = sums if totals is None else [a + b for a, b in zip(totals, sums, strict=True)]
    return totals


def derivatives(sums, inputs, moving):
    """Values, gradients, and the gradients of a function of both, which mixes all."""
    cotangents = [torch.cos(s) for s in sums]  # depends on the inputs itself
    inner = sum((s * c).sum() for s, c in zip(sums, cotangents, strict=True))
    gradients = torch.autograd.grad(inner, moving, create_graph=True)
    outer = sum((torch.sin(g) * (1 + i)).sum() for i, g in enumerate(gradients))
    outer = outer + sum((s * s).sum() for s in sums)
    return [*sums, *gradients, *torch.autograd.grad(outer, inputs)]


def assert_equal(results, expected):
    for a, b in zip(results, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", MESSAGES)
def test_values_gradients_and_second_derivatives(name, pairs, sums):
    message, inputs = MESSAGES[name][0], make_inputs(name)
    results = derivatives(sums(message, pairs, inputs), inputs, inputs)
    assert_equal(results, derivatives(formula_sums(message, pairs, inputs), inputs, inputs))


@pytest.mark.parametrize("name", MESSAGES)
def test_second_derivatives_where_only_pairs_move(name, pairs, sums):
    """As for forces: other inputs have no tangents."""
    message, inputs = MESSAGES[name][0], make_inputs(name, seed=1)
    roles = zip(inputs, message.roles, strict=False)
    moving = [x for x, role in roles if role in (PAIR, DIRECTION)]
    results = derivatives(sums(message, pairs, inputs), inputs, moving)
    assert_equal(results, derivatives(formula_sums(message, pairs, inputs), inputs, moving))


@pytest.mark.parametrize("name", MESSAGES)
def test_finite_differences(name, pairs, sums):
    message, inputs = MESSAGES[name][0], make_inputs(name, seed=2)
    function = lambda *x: sums(message, pairs, x)  # noqa: E731
    assert torch.autograd.gradcheck(function, inputs, fast_mode=True)
    assert torch.autograd.gradgradcheck(function, inputs, fast_mode=True)


@pytest.mark.parametrize("name", MESSAGES)
def test_no_edges_at_all(name, sums):
    empty = torch.empty(2, 0, dtype=torch.long)
    inputs = make_inputs(name, n_pairs=0)
    results = sums(MESSAGES[name][0], EdgePairs(torch.arange(0), empty, empty), inputs)
    for x in derivatives(results, inputs, inputs):
        assert not x.abs().sum() > 0


@pytest.mark.parametrize("name", MESSAGES)
def test_inputs_without_a_gradient(name, pairs, sums):
    message, inputs = MESSAGES[name][0], make_inputs(name, seed=3)
    for constant in range(len(inputs)):
        mixed = [x.detach() if i == constant else x for i, x in enumerate(inputs)]
        moving = [x for i, x in enumerate(mixed) if i != constant]
        results = derivatives(sums(message, pairs, mixed), moving, moving)
        assert_equal(results, derivatives(formula_sums(message, pairs, mixed), moving, moving))


@pytest.mark.parametrize("name", MESSAGES)
def test_tensors_that_are_not_contiguous(name, pairs, sums):
    message, inputs = MESSAGES[name][0], make_inputs(name)
    strided = [x if x.dim() < 2 else x.detach().mT.contiguous().mT for x in inputs]
    strided = [x.detach().requires_grad_() for x in strided]
    assert not any(x.is_contiguous() for x in strided if x.dim() > 1 and x.shape[-1] > 1)
    results = derivatives(sums(message, pairs, strided), strided, strided)
    assert_equal(results, derivatives(formula_sums(message, pairs, inputs), inputs, inputs))


@pytest.mark.parametrize("limit", [0, 10**9])
def test_states_of_large_batches_are_prepared_again(limit, monkeypatch):
    monkeypatch.setattr(_blocks, "STATE_BYTES", limit)
    message = MESSAGES["gated-silu"][0]
    prepared = []
    monkeypatch.setattr(
        message, "prepare", lambda *x: prepared.append(1) or GatedMessage.prepare(message, *x)
    )
    ends = torch.randint(0, N_ATOMS, (2, 1, N_PAIRS), generator=torch.Generator().manual_seed(0))
    pairs = EdgePairs(torch.arange(N_PAIRS), ends[0], ends[1])
    inputs = make_inputs("gated-silu")
    sums = Neighbors(pairs, N_ATOMS).sum(message, *with_map(message, inputs))
    n_blocks = len(prepared)
    results = derivatives(sums, inputs, inputs)
    assert_equal(results, derivatives(formula_sums(message, pairs, inputs), inputs, inputs))
    assert (len(prepared) == n_blocks) == (limit > 0)


def smooth_derivatives(sums, inputs):
    """The same of a function that does not make more of rounding errors."""
    inner = sum((s * torch.linspace(0, 1, s.shape[-1])).sum() for s in sums)
    gradients = torch.autograd.grad(inner, inputs, create_graph=True)
    outer = sum((g * g).sum() for g in gradients)
    return [*sums, *gradients, *torch.autograd.grad(outer, inputs)]


def large_case(name, dtype, n_crystals=40, n_atoms=5, n_pairs=200):
    """Inputs and pairs of some crystals, pairs of one after those of another."""
    generator = torch.Generator().manual_seed(0)
    ends = torch.randint(0, n_atoms, (2, n_crystals, n_pairs), generator=generator)
    ends = (ends + n_atoms * torch.arange(n_crystals)[:, None]).flatten(1)
    pairs = EdgePairs(torch.arange(ends.shape[1]), ends, ends.flip(0))
    total = n_crystals * n_atoms
    inputs = make_inputs(name, n_pairs=ends.shape[1], n_atoms=total, dtype=dtype)
    return MESSAGES[name][0], pairs, total, inputs


@pytest.mark.parametrize("name", CASES)
def test_threads_of_a_kernel_change_nothing(name, monkeypatch):
    message, pairs, n_atoms, inputs = large_case(name, torch.float64)
    monkeypatch.setattr(_kernel_sums, "MAX_PAIRS_PER_SUM", 1_000)
    cut_pairs, ranges = _kernel_sums.cut_pairs, []
    monkeypatch.setattr(
        _kernel_sums, "cut_pairs", lambda *x: ranges.append(cut_pairs(*x)) or ranges[-1]
    )
    results = []
    for n_threads in (1, 3):
        monkeypatch.setattr(torch, "get_num_threads", lambda n=n_threads: n)
        sums = Neighbors(pairs, n_atoms, compiled=True).sum(message, *with_map(message, inputs))
        results.append(smooth_derivatives(sums, inputs))
    assert_equal(*results)  # not the same bits: gradients of weights add up in another order
    assert {len(bounds) for bounds in ranges} == {8, 9}


def test_pairs_are_cut_between_crystals_for_threads(monkeypatch):
    cut_pairs = _kernel_sums.cut_pairs
    ends = torch.tensor([[0, 1, 1, 2, 3, 3, 4, 5], [1, 0, 1, 2, 3, 4, 3, 5]])
    assert cut_pairs(ends, ends.flip(0), 3) == [(0, 3), (3, 7), (7, 8)]
    assert cut_pairs(ends[:, :3], ends[:, :3], 3) == [(0, 3)]
    assert cut_pairs(ends, ends.flip(0), 1) == [(0, 8)]
    monkeypatch.setattr(_kernel_sums, "MAX_PAIRS_PER_SUM", 3)
    assert cut_pairs(ends, ends.flip(0), 1) == [(0, 2), (2, 5), (5, 8)]
    assert cut_pairs(ends[:, :0], ends[:, :0], 1) == [(0, 0)]


@pytest.mark.parametrize("name", CASES)
def test_single_precision_of_a_kernel_is_that_of_torch(name):
    errors = []
    for compiled in (True, False):
        results = []
        for dtype in (torch.float64, torch.float32):
            message, pairs, n_atoms, inputs = large_case(name, dtype)
            neighbors = Neighbors(pairs, n_atoms, compiled=compiled)
            sums = neighbors.sum(message, *with_map(message, inputs))
            results.append(smooth_derivatives(sums, inputs))
        pairs_of_results = zip(*results, strict=True)
        errors.append([((a - b).norm() / a.norm()).item() for a, b in pairs_of_results])
    for of_kernel, of_torch in zip(*errors, strict=True):
        assert of_kernel < max(3e-6, 2 * of_torch)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("activation", [SILU, SOFTPLUS], ids=["silu", "softplus"])
def test_extreme_numbers_in_a_kernel(activation, dtype):
    pairs = EdgePairs(torch.arange(1), *torch.zeros(2, 1, 1, dtype=torch.long))
    lowest = torch.finfo(dtype).min
    values = [0.0, 1e-30, 1e-4, 0.3, 5.0, 30.0, 87.0, 89.0, 700.0, 1e4, torch.inf, torch.nan]
    for value in [*values, *(-x for x in values[:-2]), lowest]:
        for gate_value in (0.5, -200.0):
            core = torch.full((1, CHANNELS), value, dtype=dtype)
            gate = torch.full((1, CHANNELS), gate_value, dtype=dtype)
            edge = torch.cat([gate, core], dim=1)
            zero = torch.zeros_like(edge)
            no_edge = LinearMap(zero[:, :1], torch.zeros(2 * CHANNELS, 1, dtype=dtype))
            weight = torch.ones(1, dtype=dtype)
            for source in (edge, edge.roll(CHANNELS, dims=1)):
                by_kernel, by_torch = (
                    Neighbors(pairs, 1, compiled=compiled).sum(
                        GatedMessage(activation), zero, source, no_edge, weight
                    )[0]
                    for compiled in (True, False)
                )
                torch.testing.assert_close(
                    by_kernel, by_torch, rtol=1e-5, atol=1e-37, equal_nan=True
                )


def test_subnormal_numbers_are_zero_in_a_kernel_and_nowhere_else():
    pairs = EdgePairs(torch.arange(1), *torch.zeros(2, 1, 1, dtype=torch.long))
    for small in (1e-30, 1e-39):  # a subnormal product, and a subnormal factor
        filters, sources = torch.full((1, CHANNELS), small), torch.full((1, CHANNELS), 1e-9)
        neighbors = Neighbors(pairs, 1, compiled=True)
        (total,) = neighbors.sum(FilteredMessage(), filters, sources)
        assert (total == 0).all()
    assert (filters * 1).all()  # the setting of this thread is the old one


def test_rows_of_the_wrong_width_do_not_reach_a_kernel(pairs):
    message = MESSAGES["gated-silu"][0]
    target, source, edge, weight, *linear = make_inputs("gated-silu")
    inputs = with_map(message, [target, source[:, :-1], edge, weight, *linear])
    with pytest.raises(ValueError, match="Rows of gated have"):
        Neighbors(pairs, N_ATOMS, compiled=True).sum(message, *inputs)


@pytest.mark.parametrize("compiled", [False, True])
def test_too_few_rows_do_not_reach_a_kernel(pairs, compiled):
    message = MESSAGES["gated-silu"][0]
    neighbors = Neighbors(pairs, N_ATOMS, compiled=compiled)
    for number, expected in enumerate(["5, .* atoms", "5, .* atoms", "7, .* pairs", "7, .* pairs"]):
        inputs = make_inputs("gated-silu")
        inputs[number] = inputs[number][:2]
        with pytest.raises(
            ValueError, match=f"Input {number} of GatedMessage has 2 rows; expected {expected}"
        ):
            neighbors.sum(message, *with_map(message, inputs))


def test_roles_have_to_fit_the_inputs(pairs):
    class PairsAlone(EdgeMessage):
        roles = (PAIR,)

        def formula(self, x):
            return (x,)

    neighbors, x = Neighbors(pairs, N_ATOMS), torch.ones(N_PAIRS, 2)
    with pytest.raises(ValueError, match=r"PairsAlone .*expected one role .*'target' or 'source'"):
        neighbors.sum(PairsAlone(), x)
    with pytest.raises(ValueError, match="FilteredMessage has 1 inputs"):
        neighbors.sum(FilteredMessage(), x)
