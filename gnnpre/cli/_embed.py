"""``gnnpre embed``: the features that a network has of crystals."""

from typing import Any

import click

from ._options import config_option, output_option, source_argument, source_options
from ._reading import read_source
from ._writing import check_table, write_table

__all__ = ["command"]


@click.command("embed")
@click.argument("model")
@source_argument
@click.option("--layer", type=int, default=-1, show_default=True, help="-1 is the last one.")
@click.option("--pooling", default="mean", show_default=True, help="mean, sum, max or cumulants.")
@source_options
@output_option("-", "CSV or Parquet file, or - for stdout.")
@config_option
def command(model: str, source: str, layer: int, pooling: str, output: str, **reading: Any) -> int:
    """Write the embeddings of the crystals of SOURCE by the network in the file MODEL."""
    import pandas as pd

    from gnnpre.estimators import load_estimator

    check_table(output)
    estimator = load_estimator(model)
    if not hasattr(estimator, "embed"):
        raise click.UsageError(
            f"MODEL is a {type(estimator).__name__}, whose members have an embedding each; "
            "expected a model with one network."
        )
    crystals = read_source(source, **reading)
    features = estimator.embed(crystals.crystals, layer=layer, pooling=pooling)
    table = pd.DataFrame(features, index=crystals.ids)
    table.columns = [f"feature_{number}" for number in range(features.shape[1])]
    table.index.name = "id"
    write_table(table, output)
    return 1 if crystals.n_skipped else 0
