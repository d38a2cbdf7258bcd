"""Figures for notebooks."""

from matplotlib.figure import Figure

from latentsync.lab.figures.style import png_bytes


class ShownFigure(Figure):
    """A figure that a notebook displays without pyplot and its global state."""

    def _repr_png_(self) -> bytes:
        return png_bytes(self, 100)
