"""Options that are parameters of the estimators, under their names and with their defaults.

Defaults are written again here, since the estimators take seconds to import; a test compares them.
"""

from inspect import signature
from typing import Any

import click
from click.core import ParameterSource

from ._types import AutoOr, Decorator, OrNone, SectionOption, add_options

__all__ = ["finetuning_options", "parameters_of", "training_options"]

FLOAT, INT, BOOL = click.FLOAT, click.INT, click.BOOL


def _parameter(section: str, name: str, text: str, **attributes: Any) -> Decorator:
    flag = "--" + name.replace("_", "-")
    if isinstance(attributes.get("default"), bool):
        flag += "/--no-" + name.replace("_", "-")
    return click.option(
        flag,
        name,
        cls=SectionOption,
        section=section,
        help=text,
        show_default=True,
        **attributes,
    )


def training_options(max_epochs: int, ema_decay: float | None) -> Decorator:
    """Return the options of a training, which every estimator with a network has."""

    def option(name: str, text: str, **attributes: Any) -> Decorator:
        return _parameter("Training", name, text, **attributes)

    return add_options(
        [
            option("max_epochs", "Passes through the data.", type=INT, default=max_epochs),
            option("max_time", "Time of each training, such as 10min or 2h."),
            option("batch_size", "Crystals in a batch.", type=INT, default=32),
            option("max_edges", "Edges in a batch, at most.", type=INT),
            option("learning_rate", "Largest learning rate.", type=FLOAT, default=2e-3),
            option("weight_decay", "Weight decay of AdamW.", type=FLOAT, default=0.01),
            option(
                "schedule",
                "How the learning rate changes.",
                type=OrNone(click.Choice(["cosine", "plateau"])),
                metavar="[cosine|plateau|none]",
                default="cosine",
            ),
            option(
                "gradient_clip", "Largest norm of the gradient.", type=OrNone(FLOAT), default=10.0
            ),
            option(
                "ema_decay", "Decay of averaged weights.", type=OrNone(FLOAT), default=ema_decay
            ),
            option(
                "validation_fraction",
                "Fraction to validate on; 0 for none.",
                type=FLOAT,
                default=0.1,
            ),
            option("patience", "Epochs without progress before the end.", type=INT),
            option("restore_best", "Keep the best weights, not the last ones.", default=True),
            option("dtype", "float32 or float64.", default="float32"),
            option(
                "compile", "Kernels in C: auto, true or false.", type=AutoOr(BOOL), default="auto"
            ),
            option("n_processes", "Processes that share a training.", type=AutoOr(INT)),
            option("checkpoint_dir", "Folder of states: a killed training goes on from there."),
        ]
    )


def finetuning_options(function: Any) -> Any:
    """Add the options of models of properties."""

    def option(name: str, text: str, **attributes: Any) -> Decorator:
        return _parameter("Model", name, text, **attributes)

    number = OrNone(FLOAT)
    strategies = "auto, full, blended, kernel, head, frozen_then_full, layerwise, replay."
    return add_options(
        [
            option("pretrained", "Model to start from: gnnpre-1, or a file."),
            option("strategy", f"How it is fine-tuned: {strategies}", default="auto"),
            option("transfer", "backbone, or matching: the readout, too.", default="backbone"),
            option(
                "frozen_epochs",
                "Fraction of the epochs, for frozen_then_full.",
                type=FLOAT,
                default=0.25,
            ),
            option(
                "layer_decay",
                "Rate of each layer as a fraction of the next, for layerwise.",
                type=FLOAT,
                default=0.7,
            ),
            option("replay", "File or folder of frames, for replay."),
            option("replay_weight", "Weight of the replayed frames.", type=FLOAT, default=1.0),
            option("replay_ratio", "Replayed frames for each crystal.", type=FLOAT, default=1.0),
            option(
                "kernel_features",
                "Features of kernel machines; repeatable.",
                multiple=True,
                default=("composition", "fingerprint", "force_field"),
            ),
            option(
                "backbone_lr_scale",
                "Learning rate of the network that was pre-trained, relative to the readout.",
                type=FLOAT,
                default=1.0,
            ),
            option("diagnose", "Compare with the model before fine-tuning.", default=True),
            option("pooling", "mean; sum for extensive ones.", default="mean"),
            option("readout", "late or early.", default="late"),
            option("head_channels", "Width of the readout.", type=INT),
            option("head_layers", "Hidden layers of the readout.", type=INT, default=1),
            option("loss", "l1, huber or mse.", default="l1"),
            option("huber_delta", "Where huber turns linear.", type=FLOAT, default=0.1),
            option("standardize", "Learn in standard deviations.", default=True),
            option("bounds", "Least and largest value, e.g. 0 none.", type=number, nargs=2),
            option("class_weight", "balanced, for --task classification."),
            option("calibration_fraction", "For intervals, e.g. 0.1.", type=FLOAT, default=0.0),
            option("epoch_scoring", "Scorer of each epoch; repeatable.", multiple=True),
        ]
    )(function)


def parameters_of(estimator: type, options: dict[str, Any], reason: str) -> dict[str, Any]:
    """Return the options that are parameters of an estimator.

    Parameters
    ----------
    estimator : type
        Its class.
    options : dict
        Values by name; each is a parameter of this estimator or another one.
    reason : str
        The option that chose the estimator, for the error.

    Returns
    -------
    dict
        Parameters.

    Raises
    ------
    click.UsageError
        If the user set an option that the estimator does not have.
    """
    accepted, context = signature(estimator).parameters, click.get_current_context()
    for name in options:
        is_default = context.get_parameter_source(name) in (ParameterSource.DEFAULT, None)
        if name not in accepted and not is_default:
            raise click.UsageError(
                f"--{name.replace('_', '-')} is not a parameter of {estimator.__name__}, which "
                f"{reason} trains: leave it out."
            )
    return {name: value for name, value in options.items() if name in accepted}
