"""Options of networks, and the configs that they describe."""

from typing import Any

import click

from ._types import SectionOption, add_options

__all__ = ["check_pretrained", "make_backbone", "network_options"]

BACKBONES = {"cgcnn": "CGCNN", "schnet": "SchNet", "torchmdnet": "TorchMDNet"}


def network_options(default: str) -> Any:
    """Return the options of a network; ``default`` is the one that help names as the default."""

    def option(flag: str, **attributes: Any) -> Any:
        return click.option(flag, cls=SectionOption, section="Model", **attributes)

    return add_options(
        [
            option(
                "--backbone",
                type=click.Choice(sorted(BACKBONES)),
                show_default=f"{default}, or that of --pretrained",
                help="Network that learns.",
            ),
            option("--hidden-channels", type=int, help="Width of the network."),
            option("--n-layers", type=int, help="Depth of the network."),
        ]
    )


def make_backbone(options: dict[str, Any], default: str | None = None) -> Any:
    """Take the options of a network out of ``options``; return its config, None for none.

    Parameters
    ----------
    options : dict
        Values of all options.
    default : str, optional
        Name of the network without ``--backbone``; none by default.

    Returns
    -------
    Backbone or None
        The config.
    """
    from gnnpre import backbones

    sizes = {name: options.pop(name) for name in ("hidden_channels", "n_layers")}
    name = options.pop("backbone") or default
    sizes = {key: size for key, size in sizes.items() if size is not None}
    if name is None and sizes:
        asked = " and ".join("--" + key.replace("_", "-") for key in sizes)
        raise click.UsageError(f"{asked} without --backbone: expected the network that they size.")
    return None if name is None else getattr(backbones, BACKBONES[name])(**sizes)


def check_pretrained(pretrained: str | None) -> None:
    """Raise FileNotFoundError if ``--pretrained`` names no model, before crystals are read."""
    from gnnpre.pretrained import resolve_model

    if pretrained is not None:
        resolve_model(pretrained, "pretrained")
