"""One style for all figures: colour-blind safe, readable in print; and how a figure is shown and written."""

from io import BytesIO
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")  # Okabe and Ito (2008)
MARKERS = ("o", "s", "^", "D", "v", "P")  # so that colour is not alone in telling lines apart
GREY = "#6B6B6B"
UNTRAINED = "untrained model: plumbing only"
WARNING = "#B00020"
DPI = 150


class ShownFigure(Figure):
    """A figure that a notebook shows by itself, without pyplot and its global state."""

    def _repr_png_(self) -> bytes:
        return png_bytes(self, 100)


def png_bytes(figure: Figure, dpi: int = DPI) -> bytes:
    """A figure as the content of a PNG file."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    return buffer.getvalue()


def save(figure: Figure, path: Path) -> None:
    """Writes a figure as PNG."""
    figure.savefig(path, dpi=DPI)


def mark_untrained(figure: Figure) -> None:
    """Says above a figure that its model was not trained."""
    figure.suptitle(UNTRAINED, fontsize=10, color=WARNING)


def plain_axis(axis: Axes) -> None:
    """Light grid, no frame where nothing is read off, small numbers."""
    axis.grid(alpha=0.25, linewidth=0.6)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(labelsize=8, which="both")
