"""Parts of TorchMDNet: its normalisation, radial functions, parameters and how it is built."""

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from sklearn.base import clone
from torch import Tensor, nn

from backbones.torchmdnet_cases import make_batch, make_module
from cases import CUTOFF, SMALL_ET, random_rotation
from gnnpre import CGCNN, TorchMDNet
from gnnpre.backbones import Readout
from gnnpre.backbones._layers import ExpNormalSmearing, WhitenedNorm


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


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
