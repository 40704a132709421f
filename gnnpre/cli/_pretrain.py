"""``gnnpre pretrain``: a network that has learnt forces, fingerprints or denoising."""

from typing import Any

import click

from ._frames import read_labelled_frames
from ._networks import check_pretrained, make_backbone, network_options
from ._options import (
    config_option,
    device_option,
    output_option,
    seed_option,
    source_argument,
    source_options,
    take_reading,
)
from ._parameters import training_options
from ._reading import read_source, refuse_option
from ._types import SectionCommand, SectionOption
from ._writing import check_folder, check_writable

__all__ = ["command"]

BACKBONE, CUTOFF = "torchmdnet", 5.0
OBJECTIVE = "ead"
OBJECTIVES = ("forces", "denoising", "ead", "wacsf", "gmp")


@click.command("pretrain", cls=SectionCommand)
@source_argument
@click.option(
    "--objective",
    type=click.Choice(OBJECTIVES),
    show_default=f"{OBJECTIVE}; to be chosen with --pretrained",
    help="forces needs frames with energies, forces or stress; the others need no labels.",
)
@network_options(default=BACKBONE)
@click.option(
    "--cutoff",
    type=float,
    cls=SectionOption,
    section="Model",
    help=f"Cutoff of the graphs, in Å (default: {CUTOFF:g}); not with --pretrained.",
)
@click.option(
    "--pretrained",
    cls=SectionOption,
    section="Model",
    help="Model to go on from: gnnpre-1-forces, or a file.",
)
@output_option("pretrained.gnnpre", "The model file.")
@config_option
@seed_option
@device_option
@training_options(max_epochs=30, ema_decay=None)
@source_options
def command(
    source: str, objective: str | None, cutoff: float | None, output: str, **options: Any
) -> int:
    """Pre-train a network on the structures or frames of SOURCE."""
    check_writable(output)
    if options["checkpoint_dir"] is not None:
        check_folder(options["checkpoint_dir"], "--checkpoint-dir")
    reading = take_reading(options)
    is_new = options["pretrained"] is None
    if cutoff is not None and not is_new:
        raise click.UsageError("--cutoff and --pretrained: a pre-trained model has its own cutoff.")
    if objective is None and not is_new:
        # Fingerprints by default would turn a force field into a model without forces.
        raise click.UsageError(
            "--pretrained without --objective: expected what to learn now, such as --objective "
            "forces for a force field."
        )
    objective = objective or OBJECTIVE
    # Options that are left are parameters of Pretrainer, by their names.
    backbone = make_backbone(options, default=BACKBONE if is_new else None)
    check_pretrained(options["pretrained"])
    crystals, labels, n_skipped = _read(source, objective, reading)

    from gnnpre.datasets import formula_column
    from gnnpre.estimators import Pretrainer
    from gnnpre.graphs import StructureToGraph

    pretrainer = Pretrainer(
        backbone,
        _objective(objective),
        resume=options["checkpoint_dir"] is not None,
        verbose=1,
        **options,
    )
    # Frames of one formula are of one material as a rule: none of it may validate the others.
    groups = None if labels is None else formula_column(crystals)
    if is_new:
        to_graph = StructureToGraph(cutoff=CUTOFF if cutoff is None else cutoff)
        crystals = to_graph.fit_transform(crystals)
    pretrainer.fit(crystals, labels, groups=groups).save(output)
    click.echo(f"Wrote {output}.", err=True)
    return 1 if n_skipped else 0


def _read(source: str, objective: str, reading: dict[str, Any]) -> tuple[Any, Any, int]:
    """Return crystals, labels for a force field, and the number of inputs that were skipped."""
    if objective != "forces":
        crystals = read_source(source, **reading)
        return crystals.crystals, None, crystals.n_skipped
    for name in ("structure_column", "id_column"):
        option = "--" + name.replace("_", "-")
        refuse_option(option, reading[name], source, "frames, of which no such column is read")
    return (*read_labelled_frames(source), 0)


def _objective(name: str) -> Any:
    from gnnpre.fingerprints import EAD, GMP, WACSF
    from gnnpre.objectives import Denoising, FingerprintTargets, ForceField

    if name == "forces":
        return ForceField()
    if name == "denoising":
        return Denoising()
    fingerprint = {"ead": EAD, "wacsf": WACSF, "gmp": GMP}[name]
    return FingerprintTargets(fingerprint())
