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
    """Copy weights and constants from a model of gnnpre to its plain counterpart."""
    weights = to_plain(model.state_dict(), model)
    absent = plain.state_dict().keys() - weights.keys()
    constants = {"offset", "references", "backbone.smearing.offset"}
    if absent - constants:
        raise RuntimeError(f"gnnpre's {type(model).__name__} has no {sorted(absent)}.")
    with torch.no_grad():
        plain.load_state_dict(weights, strict=False)


def to_plain(tensors: Mapping[str, Tensor], model: ObjectiveModel) -> dict[str, Tensor]:
    """Rename and join the weights of ``model``, or their gradients.

    Constants of the model come along where ``tensors`` has them.
    """
    body = _by_prefix(tensors, "backbone.")
    layers = _torchmdnet if "norm.weight" in body else _cgcnn
    named = {f"backbone.{name}": value for name, value in layers(body).items()}
    named |= {f"head.{name}": value for name, value in _by_prefix(tensors, "head.mlp.").items()}
    for name, plain_name in CONSTANTS.items():
        if name in tensors:
            named[plain_name] = tensors[name].reshape(-1)
    return named


def _by_prefix(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _n_layers(body: Mapping[str, Tensor]) -> int:
    return 1 + max(int(name.split(".")[1]) for name in body if name.startswith("layers."))


def _cgcnn(body: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Join the matrices of target, source and edge; separate gate and core."""
    named = {f"pre.{name}": body[f"embedding.linear.{name}"] for name in ("weight", "bias")}
    for layer in range(_n_layers(body)):
        tensors = _by_prefix(body, f"layers.{layer}.")
        blocks = [tensors[f"{owner}.weight"] for owner in ("target", "source", "edge")]
        weights, biases = torch.cat(blocks, dim=1).chunk(2), tensors["target.bias"].chunk(2)
        for name, weight, bias in zip(("lin_f", "lin_s"), weights, biases, strict=True):
            named[f"convolutions.{layer}.{name}.weight"] = weight
            named[f"convolutions.{layer}.{name}.bias"] = bias
    return named


def _torchmdnet(body: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Separate joint matrices; weights that the first layer leaves out are zero."""
    named = {
        plain_prefix + name.removeprefix(prefix): value
        for name, value in body.items()
        for prefix, plain_prefix in ET_NAMES.items()
        if name.startswith(prefix)
    }
    for layer in range(_n_layers(body)):
        tensors, prefix = _by_prefix(body, f"layers.{layer}."), f"layers.{layer}."
        for name in ("weight", "bias"):
            size = len(tensors["norm.weight"])
            zero = torch.zeros_like(tensors[f"query.{name}"])
            named[f"{prefix}layernorm.{name}"] = tensors[f"norm.{name}"]
            named[f"{prefix}q_proj.{name}"] = tensors[f"query.{name}"]
            key, *values = tensors[f"send.{name}"].split(size)
            dkey, *dvalues = tensors[f"edge.{name}"].split(size)
            idle = 3 - len(values)
            named[f"{prefix}k_proj.{name}"] = key
            named[f"{prefix}v_proj.{name}"] = torch.cat([*values, *[zero] * idle])
            named[f"{prefix}dk_proj.{name}"] = dkey
            named[f"{prefix}dv_proj.{name}"] = torch.cat(
                [*dvalues, *[torch.zeros_like(dkey)] * idle]
            )
            output = tensors[f"output.{name}"]
            named[f"{prefix}o_proj.{name}"] = torch.cat([*[zero] * 2 * idle, output])
        none = torch.zeros(3 * size, size).to(tensors["query.weight"])
        named[f"{prefix}vec_proj.weight"] = tensors.get("mix.weight", none)
    return named
