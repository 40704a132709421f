"""TorchMDNet: its equations edge by edge, torchmd-net's own numbers, symmetries, derivatives."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from torch import Tensor, nn

from backbones.torchmdnet_cases import STRUCTURES, make_batch, make_module
from cases import BACKBONES, CUTOFF, MEAN_NEIGHBORS, SMALL_ET, make_model, random_rotation
from gnnpre import ForceField, TorchMDNet

REFERENCE = Path(__file__).with_name("torchmdnet_reference.json")


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


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
