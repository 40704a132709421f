"""``gnnpre audit``: evaluation crystals that a pre-training set contains."""

from typing import Any

import click

from ._options import config_option, output_option, source_options
from ._reading import read_source
from ._writing import check_table, write_table

__all__ = ["command"]


@click.command("audit")
@click.argument("pretraining")
@click.argument("evaluation")
@click.option(
    "--match/--no-match",
    default=True,
    show_default=True,
    help="Compare structures, or formulas alone.",
)
@source_options
@output_option("-", "CSV file with the level of each evaluation crystal, or - for stdout.")
@config_option
def command(pretraining: str, evaluation: str, match: bool, output: str, **reading: Any) -> int:
    """Find the crystals of EVALUATION that PRETRAINING contains.

    PRETRAINING are structures, or the name of a model in the package: the table then says with
    which labels the model was trained on each crystal. The levels are, from the surest: id,
    structure, prototype and composition. Ids are those of --id-column, in both sources; beside a
    model also names of files, such as mp-149.cif.
    """
    from gnnpre.model_selection import leak_audit
    from gnnpre.pretrained import is_shipped

    # Before any work: an audit may take minutes.
    check_table(output)
    # PRETRAINING may be the name of a model of the package, which has keys of its crystals.
    n_skipped, before = 0, pretraining
    ids: dict[str, Any] = {}
    is_model = is_shipped(pretraining)
    if not is_model:
        source = read_source(pretraining, **reading)
        n_skipped, before = source.n_skipped, source.crystals
    after = read_source(evaluation, **reading)
    # Names of files may be the same by chance (1.cif), but those of a model are of a database.
    if is_model or reading["id_column"] is not None:
        ids["evaluation_ids"] = after.ids
    if ids and not is_model:
        ids["pretraining_ids"] = source.ids
    audit = leak_audit(before, after.crystals, match=match, n_jobs=reading["n_jobs"], **ids)
    columns = ["level", "match", *(f"trained_on_{name}" for name in audit.seen_labels)]
    table = audit.to_frame()[columns].set_index(after.ids)
    table.index.name = "id"
    write_table(table, output)
    click.echo(repr(audit), err=True)
    return 1 if n_skipped or after.n_skipped else 0
