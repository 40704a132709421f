"""Layers that backbones and heads share."""

import math

import torch
from torch import Tensor, nn

from gnnpre._exporting import is_exporting
from gnnpre._joint_sums import batch_is_split, joint_mean, joint_sum

from ._elements import N_ELEMENTS, element_properties

__all__ = [
    "ELEMENT_STARTS",
    "ENVELOPES",
    "CosineEnvelope",
    "ElementEmbedding",
    "ExpNormalSmearing",
    "GaussianSmearing",
    "JointBatchNorm",
    "PolynomialEnvelope",
    "WhitenedNorm",
    "make_mlp",
    "sum_by_index",
]

ELEMENT_STARTS = ("properties", "uniform")


class ElementEmbedding(nn.Module):
    """A linear layer of one-hot elements, evaluated as a table.

    Its weights start like those of a linear layer (``"uniform"``), like ``nn.Embedding``
    (``"normal"``), or as random projections of the properties of the elements (``"properties"``).
    Similar elements then start alike, and data on one of them inform the model about the others.
    """

    def __init__(self, channels: int, start: str) -> None:
        super().__init__()
        self.linear = nn.Linear(N_ELEMENTS, channels)
        if start == "normal":
            nn.init.normal_(self.linear.weight)
            nn.init.zeros_(self.linear.bias)
        if start == "properties":
            properties = element_properties().to(self.linear.weight.dtype)
            projections = 0.5 * torch.randn(properties.shape[1], channels)
            differences = 0.1 * torch.randn(N_ELEMENTS, channels)
            with torch.no_grad():
                self.linear.weight.copy_((properties @ projections + differences).t())
                self.linear.bias.copy_(0.3 * torch.randn(channels))

    def forward(self, atomic_numbers: Tensor) -> Tensor:
        on_cpu = atomic_numbers.device.type == "cpu"  # a GPU would wait
        if on_cpu and not is_exporting() and len(atomic_numbers):
            first, last = (int(z) for z in atomic_numbers.aminmax())
            if first < 1 or last > N_ELEMENTS:
                raise ValueError(
                    f"atomic_numbers hold {first if first < 1 else last}; expected 1 to "
                    f"{N_ELEMENTS}."
                )
        table = self.linear.weight.t() + self.linear.bias  # (n_elements, C)
        return table.index_select(0, atomic_numbers - 1)  # (N, C)


def _exp_of_negative(exponents: Tensor) -> Tensor:
    """Return the exponentials of numbers below 0, none of them subnormal.

    Many processors take a hundred times longer for numbers below the smallest normal one, and those
    would go through all layers. The least result is 1e-30 in single precision: as good as zero, and
    so large that its products with weights are normal, too.
    """
    least = 0.8 * math.log(torch.finfo(exponents.dtype).tiny)
    return torch.exp(exponents.clamp_min(least))


class GaussianSmearing(nn.Module):
    """Gaussians of the distance, centred on an even grid from 0 to the cutoff (Jia et al. 2024).

    ``width`` is their standard deviation as a fraction of the cutoff.
    """

    centers: Tensor

    def __init__(self, cutoff: float, n_radial: int, width: float) -> None:
        super().__init__()
        self.register_buffer("centers", torch.linspace(0.0, cutoff, n_radial))
        self.cutoff = cutoff
        self.coefficient = -0.5 / (width * cutoff) ** 2
        self._components: dict[tuple[torch.dtype, torch.device], Tensor | None] = {}

    def forward(self, distances: Tensor) -> Tensor:
        offsets = distances[:, None] - self.centers  # (E, n_radial)
        return _exp_of_negative(self.coefficient * offsets * offsets)

    def components(self, like: Tensor) -> Tensor | None:
        """Return orthonormal columns V (n_radial, r): ``radial = radial V V^T`` but for rounding.

        Wide Gaussians overlap: 13 combinations of 50 Gaussians that are 0.2 cutoffs wide hold all
        their information in single precision, and linear maps of them cost as much less. None is
        returned where this would save little.
        """
        if is_exporting():  # which cannot look at the values of a tensor
            return None
        key = like.dtype, like.device
        if key not in self._components:
            # Not the buffer: to look at it on a GPU would mean to wait.
            centers = torch.linspace(
                0.0, self.cutoff, len(self.centers), dtype=torch.float32, device="cpu"
            ).double()
            grid = torch.linspace(0.0, float(centers[-1]), 1000, dtype=torch.float64, device="cpu")
            wide = torch.exp(self.coefficient * (grid[:, None] - centers) ** 2)
            _, sizes, right = torch.linalg.svd(wide, full_matrices=False)
            rank = int((sizes > 0.1 * torch.finfo(like.dtype).eps * sizes[0]).sum())
            columns = right[:rank].t().contiguous()
            columns = columns.to(like.device, like.dtype, non_blocking=True)
            self._components[key] = columns if rank <= 0.75 * len(self.centers) else None
        return self._components[key]


class ExpNormalSmearing(nn.Module):
    """Gaussians of ``t = exp(-5 d / cutoff)`` on an even grid from ``exp(-cutoff)`` to 1.

    Unke and Meuwly, J. Chem. Theory Comput. 15, 3678 (2019), with the grid, the widths and the
    factor 5 / cutoff of TorchMD-Net, all in Å. Without the cutoff function, which is an envelope.
    """

    means: Tensor
    betas: Tensor

    def __init__(self, cutoff: float, n_radial: int, trainable: bool) -> None:
        super().__init__()
        self.rate = 5.0 / cutoff
        start = math.exp(-cutoff)
        values = {
            "means": torch.linspace(start, 1.0, n_radial),
            "betas": torch.full((n_radial,), (2.0 / n_radial * (1.0 - start)) ** -2),
        }
        for name, value in values.items():
            if trainable:
                self.register_parameter(name, nn.Parameter(value))
            else:
                self.register_buffer(name, value)

    def forward(self, distances: Tensor, columns: Tensor) -> Tensor:
        """Return some of the functions of the distances, (E, n_columns)."""
        means, betas = (x.index_select(0, columns) for x in (self.means, self.betas))
        offsets = torch.exp(-self.rate * distances)[:, None] - means
        return _exp_of_negative(-betas * offsets * offsets)

    def columns(self, distances: Tensor) -> Tensor:
        """Return the indices of the functions that are not zero, but for rounding, everywhere.

        Half of them are zero at all distances that occur between atoms.
        """
        # A GPU would have to wait for the values, and an export has none.
        if distances.device.type != "cpu" or is_exporting() or not len(distances):
            return torch.arange(len(self.means), device=distances.device)
        with torch.no_grad():
            ends = torch.exp(-self.rate * torch.stack([distances.max(), distances.min()]))
            offsets = self.means - self.means.clamp(ends[0], ends[1])
            least = 0.01 * torch.finfo(distances.dtype).eps
            return torch.nonzero(self.betas * offsets * offsets < -math.log(least))[:, 0]


class WhitenedNorm(nn.Module):
    """Vectors of each atom, centred and scaled to the identity as their covariance.

    ``v -> weight * (S + eps)^(-1/2) (v - mean)``, with mean and covariance ``S`` (3, 3) over the
    channels of an atom. The published form adds ``eps * diag(1, 2, 3)``, which depends on the
    axes: https://github.com/shehzaidi/pre-training-via-denoising/issues/5.
    """

    eps = 1e-5

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))

    def forward(self, vectors: Tensor) -> Tensor:
        # In double precision: variances may differ by more than the digits of single precision.
        wide = vectors.double()
        centred = wide - wide.mean(dim=-1, keepdim=True)  # (N, 3, C)
        covariance = centred @ centred.mT / vectors.shape[-1]  # (N, 3, 3)
        white = _inverse_root(covariance, self.eps) @ centred
        return white.to(vectors.dtype) * self.weight


def _inverse_root(matrix: Tensor, eps: float) -> Tensor:
    """``(matrix + eps)^(-1/2)`` of symmetric positive matrices, with safe derivatives.

    The gradient of an eigendecomposition divides by differences of eigenvalues: it is NaN for zero,
    collinear or symmetric vectors. So the eigendecomposition only provides the value X, without a
    gradient. Two steps of Newton's method on X A X = 1 do not change this value and have its exact
    first two derivatives.
    """
    identity = torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
    eigenvalues, axes = torch.linalg.eigh(matrix.detach())
    roots = (eigenvalues.clamp(min=0.0) + eps).sqrt()
    step = 1.0 / (roots[..., :, None] + roots[..., None, :])
    a = axes.mT @ matrix @ axes + eps * identity
    x = torch.diag_embed(1.0 / roots)
    for _ in range(2):
        x = x + step * (identity - x @ a @ x)
    return axes @ x @ axes.mT


class PolynomialEnvelope(nn.Module):
    """Envelope ``1 - 28 x^6 + 48 x^7 - 21 x^8`` with x = distance / cutoff.

    It and its first two derivatives are zero at the cutoff.

    Equation 8 of Gasteiger et al., "Directional Message Passing for Molecular Graphs" (2020),
    with p = 6.
    """

    def __init__(self, cutoff: float) -> None:
        super().__init__()
        self.cutoff = cutoff

    def forward(self, distances: Tensor) -> Tensor:
        x = (distances / self.cutoff).clamp(max=1.0)  # (E,)
        x3 = x * x * x
        return 1.0 + x3 * x3 * (-28.0 + x * (48.0 - 21.0 * x))


class CosineEnvelope(nn.Module):
    """Envelope ``(1 + cos(pi x)) / 2`` with x = distance / cutoff; its slope is zero there too."""

    def __init__(self, cutoff: float) -> None:
        super().__init__()
        self.cutoff = cutoff

    def forward(self, distances: Tensor) -> Tensor:
        x = (distances / self.cutoff).clamp(max=1.0)  # (E,)
        return 0.5 * (1.0 + torch.cos(torch.pi * x))


ENVELOPES: dict[str, type[nn.Module]] = {
    "polynomial": PolynomialEnvelope,
    "cosine": CosineEnvelope,
}


def make_mlp(
    in_channels: int, hidden_channels: int, n_layers: int, out_channels: int
) -> nn.Sequential:
    """Build ``n_layers`` hidden layers with SiLU, then a linear one."""
    layers: list[nn.Module] = []
    for _ in range(n_layers):
        layers += [nn.Linear(in_channels, hidden_channels), nn.SiLU()]
        in_channels = hidden_channels
    return nn.Sequential(*layers, nn.Linear(in_channels, out_channels))


def sum_by_index(values: Tensor, index: Tensor, size: int) -> Tensor:
    """Sum rows of ``values`` that share an index: ``(E, ...) -> (size, ...)``."""
    # index_add, as segment_reduce has no second derivative.
    return values.new_zeros((size, *values.shape[1:])).index_add(0, index, values)


class JointBatchNorm(nn.BatchNorm1d):
    """Batch normalization with the statistics of a whole batch, also where processes share it."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalize features ``(N, C)``."""
        if not (self.training and batch_is_split()):
            if self.training and len(x) == 1:
                raise ValueError(
                    "batch_norm=True normalises over the atoms of a batch, and a batch of the "
                    "training has one atom alone. Choose a batch_size that leaves no such batch, "
                    "or batch_norm=False."
                )
            return super().forward(x)
        # 1. statistics of the atoms of all processes
        mean = joint_mean(x, dim=0)  # (C,)
        variance = joint_mean((x - mean) ** 2, dim=0)  # (C,)
        # 2. running statistics; the running variance is the unbiased one
        count = joint_sum(x.new_full((), len(x)))
        with torch.no_grad():
            if self.num_batches_tracked is not None:
                self.num_batches_tracked.add_(1)
            self._track(self.running_mean, mean)
            self._track(self.running_var, variance * count / (count - 1))
        # 3. normalization
        return (x - mean) * torch.rsqrt(variance + self.eps) * self.weight + self.bias

    def _track(self, running: Tensor | None, value: Tensor) -> None:
        if running is not None and self.momentum is not None:
            running.lerp_(value, self.momentum)
