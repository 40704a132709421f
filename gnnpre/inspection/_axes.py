"""Axes to draw on, and words on them."""

from typing import TYPE_CHECKING, Any

from gnnpre._validation import check_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["axes_to_draw_on", "with_unit"]


def axes_to_draw_on(ax: Any, display: str, figsize: tuple[float, float] | None = None) -> "Axes":
    """Return ``ax``, or the axes of a new figure of pyplot where it is None.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    TypeError
        If ``ax`` is something else than axes.
    """
    try:
        from matplotlib.axes import Axes
    except ImportError as error:
        raise ImportError(f"{display} needs matplotlib: pip install 'gnnpre[plot]'.") from error
    if ax is None:
        from matplotlib import pyplot

        return pyplot.subplots(figsize=figsize, layout="constrained")[1]
    if not isinstance(ax, Axes):
        raise TypeError(f"ax is of type {type(ax).__name__}; expected the Axes of matplotlib.")
    return ax


def with_unit(text: str, unit: str) -> str:
    """Return the label of an axis, such as ``prediction (eV)``.

    Raises
    ------
    TypeError
        If the unit is not a string.
    """
    check_text("unit", unit)
    return f"{text} ({unit})" if unit else text
