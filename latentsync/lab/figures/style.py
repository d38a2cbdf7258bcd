"""One style for all figures, safe for colour-blind readers and readable in print; writes figures."""

from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from latentsync.files import write_bytes

if TYPE_CHECKING:  # pages and widgets take only colours from here
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")  # Okabe and Ito (2008)
MARKERS = ("o", "s", "^", "D", "v", "P")  # so that lines differ not only in colour
GREY = "#6B6B6B"
UNTRAINED = "untrained model: only shows that the program works"
WARNING = "#B00020"
DPI = 150


def png_bytes(figure: "Figure", dpi: int = DPI) -> bytes:
    """A figure as the content of a PNG file."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    return buffer.getvalue()


def save(figure: "Figure", path: Path) -> None:
    """Writes a figure as PNG; the file appears when it is whole."""
    write_bytes(path, png_bytes(figure))


def mark_untrained(figure: "Figure") -> None:
    """Writes above a figure that its model was not trained."""
    figure.suptitle(UNTRAINED, fontsize=10, color=WARNING)


def plain_axis(axis: "Axes") -> None:
    """Gives an axis a light grid and small numbers, and removes the frame on the top and right."""
    axis.grid(alpha=0.25, linewidth=0.6)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(labelsize=8, which="both")
