"""Options of networks, and the configs that they describe."""

from typing import Any

import click

from ._types import SectionOption, add_options

__all__ = ["make_backbone", "network_options"]

BACKBONES = {"cgcnn": "CGCNN", "schnet": "SchNet", "torchmdnet": "TorchMDNet"}


def network_options(backbone: str | None) -> Any:
    """Return the options of a network; ``backbone`` is the default, None for the library's."""

    def option(flag: str, **attributes: Any) -> Any:
        return click.option(flag, cls=SectionOption, section="Model", **attributes)

    return add_options(
        [
            option(
                "--backbone",
                type=click.Choice(sorted(BACKBONES)),
                default=backbone,
                show_default=backbone or "cgcnn, or that of --pretrained",
                help="Network that learns.",
            ),
            option("--hidden-channels", type=int, help="Width of the network."),
            option("--n-layers", type=int, help="Depth of the network."),
        ]
    )


def make_backbone(options: dict[str, Any]) -> Any:
    """Take the options of a network out of ``options``; return its config, None for none."""
    from gnnpre import backbones

    sizes = {name: options.pop(name) for name in ("hidden_channels", "n_layers")}
    name = options.pop("backbone")
    sizes = {key: size for key, size in sizes.items() if size is not None}
    if name is None and sizes:
        asked = " and ".join("--" + key.replace("_", "-") for key in sizes)
        raise click.UsageError(f"{asked} without --backbone: expected the network that they size.")
    return None if name is None else getattr(backbones, BACKBONES[name])(**sizes)
