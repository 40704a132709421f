"""``gnnpre audit``: evaluation crystals that a pre-training set contains."""

from typing import Any

import click

from ._options import config_option, output_option, source_options
from ._reading import read_source
from ._writing import check_writable, write_table

__all__ = ["command"]


@click.command("audit")
@click.argument("pretraining")
@click.argument("evaluation")
@click.option("--match/--no-match", default=True, help="Compare structures, or formulas alone.")
@source_options
@output_option("-", "CSV file with the level of each evaluation crystal, or - for stdout.")
@config_option
def command(pretraining: str, evaluation: str, match: bool, output: str, **reading: Any) -> int:
    """Find the crystals of EVALUATION that PRETRAINING contains.

    The levels are, from the surest: id, structure, prototype and composition.
    """
    import pandas as pd

    from gnnpre.model_selection import leak_audit

    check_writable(output)
    before, after = read_source(pretraining, **reading), read_source(evaluation, **reading)
    audit = leak_audit(before.crystals, after.crystals, match=match, n_jobs=reading["n_jobs"])
    table = pd.DataFrame({"level": audit.level, "match": audit.match}, index=after.ids)
    table.index.name = "id"
    write_table(table, output)
    click.echo(repr(audit), err=True)
    return 1 if before.n_skipped or after.n_skipped else 0
