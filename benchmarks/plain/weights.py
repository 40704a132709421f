"""Plain twins of gnnpre's models: the same sizes, and the same weights."""

from collections.abc import Mapping
from itertools import pairwise

import torch
from torch import Tensor, nn

from gnnpre.backbones import CGCNN, Backbone, TorchMDNet
from gnnpre.objectives import ForceField, ObjectiveModel, PropertyTargets

from .cgcnn import PlainCGCNN
from .model import PlainModel
from .torchmdnet import PlainTorchMDNet

__all__ = ["copy_weights", "make_plain", "to_plain"]

#: Constants of our models, and what they are called in a plain one.
CONSTANTS = {
    "scale": "scale",
    "std": "scale",
    "mean": "offset",
    "reference_energies": "references",
}
#: Weights of the equivariant transformer that only have other names.
ET_NAMES = {
    "radial.": "distance.",
    "embedding.own.linear.": "embedding.",
    "embedding.neighbor.linear.": "neighbors.embedding.",
    "embedding.edge.": "neighbors.distance_proj.",
    "embedding.combine.": "neighbors.combine.",
    "norm.": "norm.",
}


def make_plain(
    backbone: Backbone,
    objective: ForceField | PropertyTargets,
    cutoff: float,
    mean_neighbors: float,
    n_outputs: int = 1,
) -> PlainModel:
    """Build the plain model that configs of gnnpre describe, with weights of its own."""
    scaled = backbone.aggregation == "scaled_sum"
    scale = mean_neighbors**-0.5 if scaled else 1.0
    if isinstance(backbone, CGCNN):
        body: nn.Module = _make_cgcnn(backbone, cutoff, scale)
    elif isinstance(backbone, TorchMDNet):
        body = _make_torchmdnet(backbone, cutoff, scale)
    else:
        raise TypeError(
            f"backbone is {backbone!r}; expected CGCNN or TorchMDNet: others have no plain form."
        )
    channels = backbone.hidden_channels
    widths = [channels, *[objective.head_channels or channels] * objective.head_layers]
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), nn.SiLU()]
    return PlainModel(
        body,
        nn.Sequential(*layers, nn.Linear(widths[-1], n_outputs)),
        order=objective.readout,
        pooling=objective.pooling,
        derivatives=isinstance(objective, ForceField),
    )


def _make_cgcnn(config: CGCNN, cutoff: float, scale: float) -> PlainCGCNN:
    if config.batch_norm or config.envelope == "cosine":
        raise ValueError(f"{config!r} has no plain form; without batch_norm or a cosine it has.")
    return PlainCGCNN(
        config.hidden_channels,
        config.n_layers,
        config.n_radial,
        cutoff,
        width=config.smearing_width,
        envelope=config.envelope is not None,
        activation=config.activation,
        aggr="mean" if config.aggregation == "mean" else "add",
        scale=scale,
    )


def _make_torchmdnet(config: TorchMDNet, cutoff: float, scale: float) -> PlainTorchMDNet:
    if not config.trainable_radial or config.vector_norm is not None:
        raise ValueError(
            f"{config!r} has no plain form; with trained radial functions and no norm it has."
        )
    return PlainTorchMDNet(
        config.hidden_channels,
        config.n_layers,
        config.n_heads,
        config.n_radial,
        cutoff,
        vector_cutoff=config.vector_cutoff,
        scale=scale,
    )


def copy_weights(model: ObjectiveModel, plain: PlainModel) -> None:
    """Give a plain model the weights and the constants of ours."""
    weights = to_plain(model.state_dict(), model)
    absent = plain.state_dict().keys() - weights.keys()
    constants = {"offset", "references", "backbone.smearing.offset"}
    if absent - constants:
        raise RuntimeError(f"gnnpre's {type(model).__name__} gives no {sorted(absent)}.")
    with torch.no_grad():
        plain.load_state_dict(weights, strict=False)


def to_plain(tensors: Mapping[str, Tensor], model: ObjectiveModel) -> dict[str, Tensor]:
    """Rename and join what belongs to the weights of ``model``: the weights, or their gradients.

    Constants of the model come along where ``tensors`` has them.
    """
    body = _by_prefix(tensors, "backbone.")
    layers = _torchmdnet if "norm.weight" in body else _cgcnn
    named = {f"backbone.{name}": value for name, value in layers(body).items()}
    named |= {f"head.{name}": value for name, value in _by_prefix(tensors, "head.mlp.").items()}
    for ours, theirs in CONSTANTS.items():
        if ours in tensors:
            named[theirs] = tensors[ours].reshape(-1)
    return named


def _by_prefix(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _n_layers(body: Mapping[str, Tensor]) -> int:
    return 1 + max(int(name.split(".")[1]) for name in body if name.startswith("layers."))


def _cgcnn(body: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Put the three parts of each matrix together, and take gate and core apart."""
    named = {f"pre.{part}": body[f"embedding.linear.{part}"] for part in ("weight", "bias")}
    for layer in range(_n_layers(body)):
        ours = _by_prefix(body, f"layers.{layer}.")
        parts = [ours[f"{part}.weight"] for part in ("target", "source", "edge")]
        weights, biases = torch.cat(parts, dim=1).chunk(2), ours["target.bias"].chunk(2)
        for name, weight, bias in zip(("lin_f", "lin_s"), weights, biases, strict=True):
            named[f"convolutions.{layer}.{name}.weight"] = weight
            named[f"convolutions.{layer}.{name}.bias"] = bias
    return named


def _torchmdnet(body: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Take joint matrices apart; what the first layer of ours does not have is zero."""
    named = {
        theirs + name.removeprefix(ours): value
        for name, value in body.items()
        for ours, theirs in ET_NAMES.items()
        if name.startswith(ours)
    }
    for layer in range(_n_layers(body)):
        ours, prefix = _by_prefix(body, f"layers.{layer}."), f"layers.{layer}."
        for part in ("weight", "bias"):
            size = len(ours["norm.weight"])
            zero = torch.zeros_like(ours[f"query.{part}"])
            named[f"{prefix}layernorm.{part}"] = ours[f"norm.{part}"]
            named[f"{prefix}q_proj.{part}"] = ours[f"query.{part}"]
            key, *values = ours[f"send.{part}"].split(size)
            dkey, *dvalues = ours[f"edge.{part}"].split(size)
            idle = 3 - len(values)
            named[f"{prefix}k_proj.{part}"] = key
            named[f"{prefix}v_proj.{part}"] = torch.cat([*values, *[zero] * idle])
            named[f"{prefix}dk_proj.{part}"] = dkey
            named[f"{prefix}dv_proj.{part}"] = torch.cat(
                [*dvalues, *[torch.zeros_like(dkey)] * idle]
            )
            output = ours[f"output.{part}"]
            named[f"{prefix}o_proj.{part}"] = torch.cat([*[zero] * 2 * idle, output])
        none = torch.zeros(3 * size, size).to(ours["query.weight"])
        named[f"{prefix}vec_proj.weight"] = ours.get("mix.weight", none)
    return named
