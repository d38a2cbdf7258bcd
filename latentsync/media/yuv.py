"""From RGB pictures to those that are encoded: 4:2:0 in BT.709 limited range; of similar ones, only a part."""

from fractions import Fraction

import av
import numpy as np

from latentsync.arrays import Frame

# By default swscale centres the chroma samples, but in H.264 they lie left: coloured edges would appear.
_TO_YUV = "out_color_matrix=bt709:out_range=tv:out_chroma_loc=left:flags=area+full_chroma_inp+accurate_rnd+bitexact"
_TIME_BASE = Fraction(1, 1000)  # of the filters; the encoder sets its own times

STEP_PX = 64  # parts begin and end at multiples of this, so that few sizes of filters are needed
REACH_PX = 4  # a sample depends on no pixel that is further away
MARGIN_PX = 8  # around a part, so that its edges are filtered as in the whole picture


class YuvConverter:
    """Converts pictures of one size. An odd last row or column is left out, since 4:2:0 has none.

    Attributes:
        width, height: of the converted pictures, px.
        num_pixels: how many pixels have been converted.
    """

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width // 2 * 2, height // 2 * 2
        self.num_pixels = 0
        self._filters: dict[tuple[int, int], _Filter] = {}

    def __call__(self, frame: Frame) -> av.VideoFrame:
        """A picture, uint8 RGB `(height, width, 3)`, as yuv420p."""
        return self._converted(frame, slice(0, self.height), slice(0, self.width))

    def changed(self, yuv: av.VideoFrame, frame: Frame, rows: slice, columns: slice) -> av.VideoFrame:
        """What `self(frame)` gives, if `frame` differs from the picture of `yuv` only in these rows and columns."""
        result = _copied(yuv)
        if rows.start >= min(rows.stop, self.height) or columns.start >= min(columns.stop, self.width):
            return result
        rows, columns = _on_grid(rows, self.height), _on_grid(columns, self.width)
        around = tuple(
            slice(max(0, part.start - MARGIN_PX), min(part.stop + MARGIN_PX, length))
            for part, length in ((rows, self.height), (columns, self.width))
        )
        converted = self._converted(frame, *around)
        parts = zip(_planes(converted), _planes(result), (1, 2, 2), strict=True)
        for source, target, step in parts:
            height, width = (part.stop // step - part.start // step for part in (rows, columns))
            top, left = (
                (part.start - whole.start) // step for part, whole in zip((rows, columns), around, strict=True)
            )
            row, column = rows.start // step, columns.start // step
            target[row : row + height, column : column + width] = source[top : top + height, left : left + width]
        return result

    def _converted(self, frame: Frame, rows: slice, columns: slice) -> av.VideoFrame:
        part = np.ascontiguousarray(frame[rows, columns])
        height, width = part.shape[:2]
        if (width, height) not in self._filters:
            self._filters[width, height] = _Filter(width, height)
        self.num_pixels += width * height
        return self._filters[width, height](part)


class _Filter:
    """The filter graph for pictures of one size."""

    def __init__(self, width: int, height: int) -> None:
        self._graph = av.filter.Graph()
        source = self._graph.add_buffer(
            width=width, height=height, format=av.VideoFormat("rgb24"), time_base=_TIME_BASE
        )
        scale, form = self._graph.add("scale", _TO_YUV), self._graph.add("format", "pix_fmts=yuv420p")
        self._graph.link_nodes(source, scale, form, self._graph.add("buffersink")).configure()
        self._count = 0

    def __call__(self, picture: Frame) -> av.VideoFrame:
        source = av.VideoFrame.from_numpy_buffer(picture, format="rgb24")
        source.pts, source.time_base = self._count, _TIME_BASE
        self._count += 1
        self._graph.vpush(source)
        return self._graph.vpull()


def _on_grid(part: slice, length: int) -> slice:
    """The part and the samples around it that depend on it, out to the next multiples of `STEP_PX`."""
    start, stop = max(0, part.start - REACH_PX), part.stop + REACH_PX
    return slice(start // STEP_PX * STEP_PX, min(-(-stop // STEP_PX) * STEP_PX, length))


def _planes(yuv: av.VideoFrame) -> list[np.ndarray]:
    """The three planes as arrays that share their memory."""
    return [
        np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width] for plane in yuv.planes
    ]


def _copied(yuv: av.VideoFrame) -> av.VideoFrame:
    copy = av.VideoFrame(yuv.width, yuv.height, "yuv420p")
    copy.colorspace, copy.color_range = yuv.colorspace, yuv.color_range
    for source, target in zip(_planes(yuv), _planes(copy), strict=True):
        target[:] = source
    return copy
