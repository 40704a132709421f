"""Plots of fitted estimators, and a report as one page.

The displays and :func:`report` are for users. The other names are components of pages, which the
reports of studies are made of, too. matplotlib is imported when something is drawn.
"""

from ._calibration import CalibrationDisplay
from ._element_errors import ErrorByElementDisplay
from ._embedding_map import EmbeddingMapDisplay
from ._loss_curve import LossCurveDisplay
from ._loss_curve import loss_axes as loss_axes
from ._page import Plot as Plot
from ._page import Section as Section
from ._page import page as page
from ._parity import ParityDisplay
from ._parity import paint_parity as paint_parity
from ._parity import parity_limits as parity_limits
from ._periodic_table import MIN_CRYSTALS as MIN_CRYSTALS
from ._periodic_table import paint_table as paint_table
from ._report import report
from ._svg import BLUE as BLUE
from ._svg import COLORS as COLORS
from ._svg import GREY as GREY
from ._svg import INK as INK
from ._svg import draw as draw
from ._svg import plain as plain
from ._table import MISSING as MISSING
from ._table import Entry as Entry
from ._table import Table as Table
from ._table import counted as counted
from ._table import markdown_text as markdown_text
from ._table import number as number
from ._table import number_with_spread as number_with_spread
from ._table import percent_interval as percent_interval
from ._table import printable as printable

__all__ = [
    "CalibrationDisplay",
    "EmbeddingMapDisplay",
    "ErrorByElementDisplay",
    "LossCurveDisplay",
    "ParityDisplay",
    "report",
]
