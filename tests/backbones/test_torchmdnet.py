"""TorchMDNet: its equations edge by edge, torchmd-net's own numbers, symmetries, derivatives."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from scipy.linalg import sqrtm
from sklearn.base import clone
from torch import Tensor, nn

from cases import (
    BACKBONES,
    CUTOFF,
    MEAN_NEIGHBORS,
    SMALL_ET,
    make_model,
    random_rotation,
    random_structures,
)
from gnnpre import CGCNN, ForceField, StructureToGraph, TorchMDNet
from gnnpre.backbones import Readout
from gnnpre.backbones._layers import ExpNormalSmearing, WhitenedNorm

REFERENCE = Path(__file__).with_name("torchmdnet_reference.json")
STRUCTURES = list(random_structures().values())


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def make_module(seed: int = 0, **settings):
    """In float64, with random weights, none of them 0 or 1."""
    config = TorchMDNet(**{**SMALL_ET, **settings})
    return make_model(config, ForceField(), seed=seed).backbone


def make_batch(structures=STRUCTURES, cutoff: float = CUTOFF):
    return StructureToGraph(cutoff).transform(structures).batch(dtype=torch.float64)


def silu(x):
    return x / (1.0 + np.exp(-x))


class Plain:
    """The published equations in NumPy, edge by edge and head by head."""

    def __init__(self, module, n_heads: int, vector_cutoff: bool) -> None:
        self.w = {name: value.numpy() for name, value in module.state_dict().items()}
        self.n_layers = len(module.layers)
        self.n_heads, self.vector_cutoff = n_heads, vector_cutoff
        self.scale = MEAN_NEIGHBORS**-0.5 if module.scaled else 1.0

    def linear(self, name, x):
        return self.w[f"{name}.weight"] @ x + self.w.get(f"{name}.bias", 0.0)

    def layer_norm(self, name, x):
        x = (x - x.mean()) / np.sqrt(x.var() + 1e-5)
        return x * self.w[f"{name}.weight"] + self.w[f"{name}.bias"]

    def edges(self, batch):
        """Source, target, cutoff function, radial functions and direction of each edge."""
        for source, target, vector in zip(
            *batch.edge_index.tolist(), batch.edge_vectors.numpy(), strict=True
        ):
            d = np.sqrt(vector @ vector)
            f = 0.5 * (np.cos(np.pi * d / CUTOFF) + 1.0)
            gaussians = np.exp(
                -self.w["radial.betas"] * (np.exp(5.0 / CUTOFF * -d) - self.w["radial.means"]) ** 2
            )
            yield source, target, f, f * gaussians, vector / d

    def __call__(self, batch):
        edges = list(self.edges(batch))
        numbers = batch.atomic_numbers.tolist()
        x = self.embed(numbers, edges)
        v = np.zeros((len(numbers), 3, x.shape[1]))
        for layer in range(self.n_layers):
            x, v = self.attend(f"layers.{layer}", x, v, edges)
        return np.array([self.layer_norm("norm", row) for row in x]), v

    def embed(self, numbers, edges):
        one_hot = np.eye(100)[np.array(numbers) - 1]
        own = np.array([self.linear("embedding.own.linear", row) for row in one_hot])
        of_neighbors = np.array([self.linear("embedding.neighbor.linear", row) for row in one_hot])
        gathered = np.zeros_like(own)
        for source, target, f, radial, _ in edges:
            gathered[target] += of_neighbors[source] * self.linear("embedding.edge", radial) * f
        pairs = np.concatenate([own, gathered * self.scale], axis=1)
        return np.array([self.linear("embedding.combine", pair) for pair in pairs])

    def attend(self, name, x, v, edges):
        y = np.array([self.layer_norm(f"{name}.norm", row) for row in x])
        s, w = np.zeros_like(x), np.zeros_like(v)
        for source, target, f, radial, u in edges:
            q = self.linear(f"{name}.query", y[target])
            sent = self.linear(f"{name}.send", y[source])
            sent = sent * silu(self.linear(f"{name}.edge", radial))
            key, scalar, direction, *gate = np.split(sent, len(sent) // len(q))
            f_vector = f if self.vector_cutoff else 1.0
            for head in np.split(np.arange(x.shape[1]), self.n_heads):
                attention = silu(np.sum(q[head] * key[head])) * f
                s[target, head] += scalar[head] * attention
            w[target] += f_vector * np.outer(u, direction)
            if gate:
                w[target] += f_vector * v[source] * gate[0]
        s, w = s * self.scale, w * self.scale
        out = np.array([self.linear(f"{name}.output", row) for row in s])
        if f"{name}.mix.weight" not in self.w:
            return x + out, w
        o1, o2, o3 = np.split(out, 3, axis=1)
        v1, v2, v3 = np.split(v @ self.w[f"{name}.mix.weight"].T, 3, axis=2)
        return x + (v1 * v2).sum(axis=1) * o2 + o3, v + v3 * o1[:, None] + w


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"n_layers": 3, "n_heads": 4},
        {"n_layers": 1, "trainable_radial": False},
        {"vector_cutoff": False, "aggregation": "sum", "element_start": "normal"},
    ],
    ids=["default", "three layers", "one layer", "published"],
)
def test_equations(settings):
    module, batch = make_module(**settings), make_batch(STRUCTURES[:2])
    plain = Plain(
        module, settings.get("n_heads", SMALL_ET["n_heads"]), settings.get("vector_cutoff", True)
    )
    scalars, vectors = plain(batch)
    features = module(batch)
    assert np.abs(vectors).max() > 0.1
    for actual, expected in zip(features, (scalars, vectors), strict=True):
        size = np.abs(expected).max()
        np.testing.assert_allclose(actual.detach(), expected, rtol=1e-10, atol=1e-10 * size)


@pytest.fixture(scope="module")
def reference():
    return json.loads(REFERENCE.read_text(encoding="utf-8"))


class TestTorchMDNetItself:
    """Against features that benchmarks/torchmdnet_oracle.py had of torchmd-net 3.1."""

    @staticmethod
    def take_weights(module, reference):
        """Copy the published weights, but for those that are only multiplied by zeros."""
        w = {name: torch.tensor(v, dtype=torch.float64) for name, v in reference["weights"].items()}
        n_heads = reference["settings"]["num_heads"]

        def put(linear: nn.Linear, weight: Tensor, bias: Tensor | None = None) -> None:
            linear.weight.data.copy_(weight)
            if bias is not None:
                linear.bias.data.copy_(bias)

        for name, published in (("own", "embedding"), ("neighbor", "neighbor_embedding.embedding")):
            embedding = getattr(module.embedding, name).linear
            table = w[f"{published}.weight"]
            embedding.bias.data.zero_()
            embedding.weight.data[:, : len(table) - 1] = table[1:].T  # row 0 is not an element
        for layer_name, published in (("edge", "distance_proj"), ("combine", "combine")):
            keys = (f"neighbor_embedding.{published}.{name}" for name in ("weight", "bias"))
            put(getattr(module.embedding, layer_name), *(w[key] for key in keys))
        module.radial.means.data.copy_(w["distance_expansion.means"])
        module.radial.betas.data.copy_(w["distance_expansion.betas"])
        put(module.norm, w["out_norm.weight"], w["out_norm.bias"])
        for number, layer in enumerate(module.layers):
            weights = {
                name.split(".", 2)[2]: value
                for name, value in w.items()
                if name.startswith(f"attention_layers.{number}.")
            }
            put(layer.norm, weights["layernorm.weight"], weights["layernorm.bias"])
            put(layer.query, weights["q_proj.weight"], weights["q_proj.bias"])
            # Each head's scalars, gates and directions stand together.
            rows = torch.arange(3 * module.out_channels).reshape(n_heads, 3, -1)
            columns = [0, 2] if number == 0 else [0, 2, 1]
            chosen = torch.cat([rows[:, column].flatten() for column in columns])
            for linear, key, value in (
                (layer.send, "k_proj", "v_proj"),
                (layer.edge, "dk_proj", "dv_proj"),
            ):
                both = (
                    torch.cat([weights[f"{key}.{name}"], weights[f"{value}.{name}"][chosen]])
                    for name in ("weight", "bias")
                )
                put(linear, *both)
            n_outputs = layer.output.out_features
            put(layer.output, *(weights[f"o_proj.{p}"][-n_outputs:] for p in ("weight", "bias")))
            if layer.mix is not None:
                put(layer.mix, weights["vec_proj.weight"])

    @pytest.mark.parametrize("case", [0, 1], ids=["published", "vector cutoff"])
    def test_features_and_gradient(self, reference, case):
        expected, settings = reference["features"][case], reference["settings"]
        module = TorchMDNet(
            settings["hidden_channels"],
            settings["num_layers"],
            n_heads=settings["num_heads"],
            n_radial=settings["num_rbf"],
            vector_cutoff=expected["vector_cutoff"],
            aggregation="sum",
        ).build(reference["cutoff"])
        self.take_weights(module.double(), reference)
        atoms = Atoms(reference["atomic_numbers"], reference["positions"], cell=reference["cell"])
        atoms.pbc = True
        batch = make_batch([atoms], reference["cutoff"])
        assert batch.edge_index.shape[1] == expected["n_edges"]
        shift = torch.zeros_like(batch.positions, requires_grad=True)
        scalars, vectors = module(batch.displaced(shift))
        (gradient,) = torch.autograd.grad(scalars[:, 0].sum(), shift)
        for name, values in {
            "scalars": scalars, "vectors": vectors, "gradient_of_channel_0": gradient
        }.items():  # fmt: skip
            published = torch.tensor(expected[name], dtype=torch.float64)
            torch.testing.assert_close(
                values.detach(), published, rtol=1e-10, atol=1e-10 * float(published.abs().max())
            )


class TestSymmetries:
    @pytest.mark.parametrize("vector_norm", [None, "whitened"])
    @pytest.mark.parametrize("reflect", [False, True], ids=["rotation", "reflection"])
    def test_scalars_stay_and_vectors_turn(self, reflect, vector_norm):
        module, batch = make_module(n_layers=3, vector_norm=vector_norm), make_batch()
        matrix = torch.tensor(random_rotation(np.random.default_rng(0), reflect=reflect))
        before, after = module(batch), module(batch.with_edge_vectors(batch.edge_vectors @ matrix))
        turned = torch.einsum("nac,ab->nbc", before.vectors, matrix)
        size = turned.detach().abs().max().item()
        assert size > 0.1
        torch.testing.assert_close(after.scalars, before.scalars, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(after.vectors, turned, rtol=1e-10, atol=1e-10 * size)

    def test_opposite_directions_turn_vectors_round(self):
        """So the sign of edge vectors is a convention that scalars do not see."""
        module, batch = make_module(n_layers=3), make_batch()
        before, after = module(batch), module(batch.with_edge_vectors(-batch.edge_vectors))
        torch.testing.assert_close(after.scalars, before.scalars, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(after.vectors, -before.vectors, rtol=1e-10, atol=1e-9)

    def test_vectors_point_from_the_atom_that_receives(self):
        """With one layer, along the bond and with a sign that both atoms of a pair share."""
        module = make_module(n_layers=1)
        batch = make_batch([Atoms("Cu2", [[0, 0, 0], [1.5, 1.2, 0.7]])])
        vectors = module(batch).vectors
        to_other = batch.edge_vectors[batch.target.argsort()]
        lengths = torch.einsum("nac,na->nc", vectors, to_other) / to_other.norm(dim=1)[:, None]
        torch.testing.assert_close(lengths[0], lengths[1])
        torch.testing.assert_close(vectors.norm(dim=1), lengths.abs())

    def test_permutation_of_atoms(self):
        module, atoms = make_module(vector_norm="whitened"), STRUCTURES[0]
        order = np.random.default_rng(0).permutation(len(atoms))
        before, after = (module(make_batch([a])) for a in (atoms, atoms[order]))
        for first, second in zip(before, after, strict=True):
            torch.testing.assert_close(second, first[order], rtol=1e-10, atol=1e-10)

    def test_batch_equals_singles(self):
        module = make_module(vector_norm="whitened")
        together = module(make_batch())
        singles = [module(make_batch([atoms])) for atoms in STRUCTURES]
        for values, rows in zip(together, zip(*singles, strict=True), strict=True):
            torch.testing.assert_close(values, torch.cat(rows), rtol=1e-10, atol=1e-10)

    def test_atoms_without_neighbours(self):
        for norm in (None, "whitened"):
            module = make_module(vector_norm=norm)
            alone = module(make_batch([Atoms("Cu")]))
            assert alone.scalars.isfinite().all()
            assert (alone.vectors == 0).all()
            among_others = module(make_batch([STRUCTURES[0], Atoms("Cu")]))
            torch.testing.assert_close(among_others.scalars[-1:], alone.scalars)
            assert (among_others.vectors[-1] == 0).all()


class TestDerivatives:
    @staticmethod
    def loss(model, batch) -> Tensor:
        predicted = model(batch)
        return predicted["forces"].square().mean() + predicted["energy"].square().mean()

    @pytest.mark.parametrize("name", ["torchmdnet", "torchmdnet_papers"])
    def test_gradient_of_a_loss_of_forces(self, name):
        """Through the derivative that gives forces, along random directions of all weights."""
        model, batch = make_model(BACKBONES[name], ForceField()), make_batch(STRUCTURES[:3])
        model.train()
        self.loss(model, batch).backward()
        parameters = dict(model.named_parameters())
        generator = torch.Generator().manual_seed(1)
        for group in ("radial", "layers.0", "layers.1", "embedding", "head"):
            chosen = [p for name, p in parameters.items() if group in name]
            steps = [
                torch.randn(p.shape, generator=generator, dtype=p.dtype) * p.detach().abs().mean()
                for p in chosen
            ]
            slope = sum((p.grad * s).sum().item() for p, s in zip(chosen, steps, strict=True))
            values = []
            for factor in (-2, -1, 1, 2):
                for p, s in zip(chosen, steps, strict=True):
                    p.data += factor * 1e-4 * s
                values.append(self.loss(model, batch).item())
                for p, s in zip(chosen, steps, strict=True):
                    p.data -= factor * 1e-4 * s
            expected = np.dot(values, [1, -8, 8, -1]) / 12e-4
            assert abs(slope) > 1e-3
            assert slope == pytest.approx(expected, rel=1e-5)

    def test_all_weights_are_trained_but_that_of_whitened_vectors(self):
        model = make_model(TorchMDNet(**SMALL_ET, vector_norm="whitened"), ForceField()).train()
        self.loss(model, make_batch(STRUCTURES[:1])).backward()
        without = {n for n, p in model.named_parameters() if p.grad is None}
        assert without == {"backbone.vector_norm.weight"}

    @pytest.mark.parametrize("vector_norm", [None, "whitened"])
    def test_vectors_twice(self, vector_norm):
        """With respect to positions, by differences."""
        module, batch = make_module(vector_norm=vector_norm), make_batch(STRUCTURES[3:5])
        weights = torch.randn(module(batch).vectors.shape, dtype=torch.float64)

        def total(shift: Tensor) -> Tensor:
            return (module(batch.displaced(shift)).vectors * weights).sum()

        shift = torch.zeros_like(batch.positions, requires_grad=True)
        assert torch.autograd.gradcheck(total, shift, rtol=1e-5)
        assert torch.autograd.gradgradcheck(total, shift, rtol=1e-4)


class TestCutoff:
    @staticmethod
    def pair(distance):
        return Atoms("FeOCu", [[0, 0, 0], [1.4, 0.3, 0.0], [0, distance, 0]])

    def jump(self, **settings):
        module = make_module(**settings)
        features = [module(make_batch([self.pair(CUTOFF + step)])) for step in (-1e-7, 1e-7)]
        return [(a - b).detach().abs().max().item() for a, b in zip(*features, strict=True)]

    @pytest.mark.parametrize("vector_norm", [None, "whitened"])
    def test_features_are_continuous(self, vector_norm):
        assert max(self.jump(vector_norm=vector_norm)) < 1e-5

    def test_published_vectors_jump(self):
        """And scalars by them, in the next layer."""
        assert min(self.jump(vector_cutoff=False)) > 1e-4

    def test_edges_longer_than_the_cutoff_send_nothing(self):
        """As noise can make them."""
        module, atoms = make_module(vector_norm="whitened"), self.pair(CUTOFF + 0.1)
        for first, second in zip(
            module(make_batch([atoms])), module(make_batch([atoms], CUTOFF + 0.5)), strict=True
        ):
            torch.testing.assert_close(first, second, rtol=0, atol=1e-12)


#: Vectors whose covariance has equal or zero eigenvalues, and extremes.
DEGENERATE = {
    "zero": torch.zeros(1, 3, 8),
    "one direction": torch.tensor([1.0, 2.0, -1.0])[:, None] * torch.linspace(-1, 2, 8),
    "one plane": torch.randn(3, 8, generator=torch.Generator().manual_seed(0))
    * torch.tensor([1.0, 1.0, 0.0])[:, None],
    "equal variances": torch.eye(3).repeat(1, 4)[:, :12] * torch.tensor([1.0, -1.0]).repeat(6),
    "all alike": torch.ones(3, 8),
    "tiny": 1e-20 * torch.randn(3, 8, generator=torch.Generator().manual_seed(1)),
    "huge": 1e4 * torch.randn(3, 8, generator=torch.Generator().manual_seed(2)),
}


class TestWhitenedNorm:
    def test_formula(self):
        vectors = (
            torch.randn(5, 3, 16, dtype=torch.float64) * torch.tensor([2.0, 0.3, 1.0])[:, None]
        )
        norm = WhitenedNorm(16).double()
        norm.weight.data.uniform_(0.5, 2.0)
        whitened = norm(vectors).detach().numpy()
        for atom, result in zip(vectors.numpy(), whitened, strict=True):
            covariance = np.cov(atom, bias=True) + 1e-5 * np.eye(3)
            centred = atom - atom.mean(axis=1, keepdims=True)
            expected = np.linalg.inv(sqrtm(covariance)) @ centred * norm.weight.detach().numpy()
            np.testing.assert_allclose(result, expected, rtol=1e-10, atol=1e-10)

    @pytest.mark.parametrize("scale", [1.0, 1e3])
    def test_covariance_is_the_identity(self, scale):
        vectors = scale * torch.randn(7, 3, 64)
        white = WhitenedNorm(64)(vectors).detach()
        assert white.mean(dim=2).abs().max() < 1e-5
        covariance = white @ white.mT / 64
        assert (covariance - torch.eye(3)).abs().max() < 1e-4

    def test_single_precision_will_do(self):
        """For variances that differ by a factor of 1e8."""
        scales = torch.tensor([100.0, 1.0, 0.01])[:, None]
        vectors = random_rotation(np.random.default_rng(0)) @ (scales * torch.randn(3, 32)).numpy()
        vectors = torch.tensor(vectors[None])
        exact = WhitenedNorm(32).double()(vectors.float().double())
        torch.testing.assert_close(WhitenedNorm(32)(vectors.float()).double(), exact)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    @pytest.mark.parametrize("name", DEGENERATE)
    def test_finite_derivatives_of_degenerate_vectors(self, name, dtype):
        vectors = DEGENERATE[name].reshape(1, 3, -1).to(dtype).requires_grad_()
        norm = WhitenedNorm(vectors.shape[2]).to(dtype)
        white = norm(vectors)
        weights = torch.randn(white.shape, dtype=dtype)
        (first,) = torch.autograd.grad((white * weights).sum(), vectors, create_graph=True)
        second = torch.autograd.grad((first * weights).sum(), [vectors, norm.weight])
        for value in (white, first, *second):
            assert value.isfinite().all()

    @pytest.mark.parametrize("name", [name for name in DEGENERATE if name not in ("tiny", "huge")])
    def test_derivatives_of_degenerate_vectors(self, name):
        """An eigendecomposition's gradient would be NaN or wrong for these."""
        vectors = DEGENERATE[name].reshape(1, 3, -1).double()
        # The width of the regularisation is 3e-3, so steps are far below.
        norm, generator = WhitenedNorm(vectors.shape[2]).double(), torch.Generator().manual_seed(3)
        weights = torch.randn(vectors.shape, dtype=torch.float64, generator=generator)
        direction = torch.randn(vectors.shape, dtype=torch.float64, generator=generator)

        def value(step: float) -> Tensor:
            return (norm(vectors + step * direction) * weights).sum()

        start = vectors.clone().requires_grad_()
        (first,) = torch.autograd.grad((norm(start) * weights).sum(), start, create_graph=True)
        slope = (first * direction).sum()
        curvature = (torch.autograd.grad(slope, start)[0] * direction).sum().item()
        h = 2e-5
        low, middle, high = (value(step).item() for step in (-h, 0.0, h))
        size = max(abs(low), abs(high), 1.0)
        assert slope.item() == pytest.approx((high - low) / (2 * h), rel=1e-3, abs=1e-6 * size)
        expected = (high - 2 * middle + low) / h**2
        assert curvature == pytest.approx(expected, rel=1e-2, abs=1e-4 * size / h)

    def test_scalars_do_not_depend_on_it(self):
        plain, white = (make_module(vector_norm=norm) for norm in (None, "whitened"))
        white.load_state_dict(plain.state_dict(), strict=False)
        batch = make_batch()
        assert torch.equal(plain(batch).scalars, white(batch).scalars)
        assert not torch.equal(plain(batch).vectors, white(batch).vectors)


class TestRadial:
    def test_published_values(self):
        radial = ExpNormalSmearing(8.0, 50, trainable=False).double()
        alpha, start = 5.0 / 8.0, np.exp(-8.0)
        means, beta = np.linspace(start, 1.0, 50), (2.0 / 50.0 * (1.0 - start)) ** -2
        for d in (0.3, 2.5, 7.9):
            expected = np.exp(-beta * (np.exp(-alpha * d) - means) ** 2)
            values = radial(torch.tensor([d]).double(), torch.arange(50))[0]
            np.testing.assert_allclose(values, expected, rtol=1e-4, atol=1e-6)

    def test_is_trained_or_kept(self):
        trained, constant = (
            TorchMDNet(**SMALL_ET, trainable_radial=t).build(5.0) for t in (True, False)
        )
        assert trained.state_dict().keys() == constant.state_dict().keys()
        names = {n for n, _ in trained.named_parameters()} - {
            n for n, _ in constant.named_parameters()
        }
        assert names == {"radial.means", "radial.betas"}


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(
    ("hidden", "n_layers", "published"), [(128, 2, 1_759_461), (64, 1, 1_734_629)]
)
def test_number_of_parameters(hidden, n_layers, published):
    """The papers' counts, from METHODS 2: with the perceptron that reads out."""
    channels, n_radial = 128, 50
    module = TorchMDNet(n_layers=8).build(8.0)
    head = Readout(channels, 1, order="early", hidden_channels=hidden, n_layers=n_layers)
    # What acts on the vectors of the first layer, which are zero: of values and their filters a
    # third, of outputs two thirds, and the mixing of vectors.
    without = (channels + 1) * channels + (n_radial + 1) * channels
    without += (channels + 1) * 2 * channels + channels * 3 * channels
    assert without == 105_216
    # Two embeddings that are linear layers on one-hot elements have a bias.
    biases = 2 * channels
    assert count(module) + count(head) == published - without + biases


class TestBuild:
    @pytest.mark.parametrize(
        ("name", "values"),
        [
            ("hidden_channels", [0, -1, 8.0, "8", True, None]),
            ("n_layers", [0, 2.5, None]),
            ("n_heads", [0, 3, 256, 2.0, None]),
            ("n_radial", [0, "many"]),
            ("aggregation", ["mean", None, ["sum"]]),
            ("vector_norm", ["layer", True, 1]),
            ("element_start", ["zeros", None]),
            ("trainable_radial", ["no", None, 2]),
            ("vector_cutoff", ["yes", None, 5.0]),
        ],
    )
    def test_bad_parameters_are_named(self, name, values):
        for value in values:
            with pytest.raises(ValueError, match=f"^{name}="):
                TorchMDNet().set_params(**{name: value}).build(cutoff=CUTOFF)

    def test_heads_that_do_not_divide(self):
        with pytest.raises(ValueError, match=r"^n_heads=5; .* divisor of hidden_channels=128"):
            TorchMDNet(n_heads=5).build(CUTOFF)

    def test_clone_keeps_parameters_only(self):
        config = TorchMDNet(16, vector_norm="whitened")
        config.build(CUTOFF)
        assert clone(config).get_params() == config.get_params()
        assert vars(config).keys() == config.get_params().keys()

    def test_shares_the_vocabulary_of_other_backbones(self):
        shared = TorchMDNet().get_params().keys() & CGCNN().get_params().keys()
        assert shared == {"hidden_channels", "n_layers", "n_radial", "aggregation", "element_start"}

    @pytest.mark.parametrize("start", ["properties", "uniform", "normal"])
    def test_element_start(self, start):
        torch.manual_seed(0)
        embedding = TorchMDNet(element_start=start).build(CUTOFF).embedding
        for table_of in (embedding.own, embedding.neighbor):
            table = table_of(torch.arange(1, 101)).detach()
            lanthanides = torch.corrcoef(table[[58, 64]])[0, 1]
            assert (lanthanides > 0.8) == (start == "properties")
        assert not torch.equal(embedding.own.linear.weight, embedding.neighbor.linear.weight)
        if start == "normal":
            assert embedding.own.linear.weight.std().item() == pytest.approx(1.0, abs=0.02)
            assert not embedding.own.linear.bias.any()

    def test_layers_start_as_parts_of_the_published_ones(self):
        torch.manual_seed(0)
        module = TorchMDNet(n_layers=2).build(CUTOFF)
        layer = module.layers[1]
        bounds = {
            (6 / 256) ** 0.5: [layer.query.weight, layer.send.weight[:128]],
            (6 / 512) ** 0.5: [layer.send.weight[128:], layer.output.weight, layer.mix.weight],
            (6 / 178) ** 0.5: [layer.edge.weight[:128], module.embedding.edge.weight],
            (6 / 434) ** 0.5: [layer.edge.weight[128:]],
        }
        for bound, weights in bounds.items():
            for weight in weights:
                assert 0.97 * bound < weight.abs().max() <= bound
        for linear in (layer.query, layer.send, layer.edge, layer.output):
            assert not linear.bias.any()

    def test_mean_neighbors_is_kept_with_the_weights(self):
        state = TorchMDNet(**SMALL_ET).build(CUTOFF, 17.5).state_dict()
        assert state["mean_neighbors"] == 17.5

    def test_its_root_divides_sums(self):
        """Vectors after one layer, without the neighbours' influence on scalars before it."""
        module, batch = make_module(n_layers=1), make_batch()
        nn.init.zeros_(module.embedding.edge.weight)
        nn.init.zeros_(module.embedding.edge.bias)
        vectors = []
        for number in (5.0, 20.0):
            module.mean_neighbors.fill_(number)
            vectors.append(module(batch).vectors)
        torch.testing.assert_close(vectors[0], 2.0 * vectors[1])
