"""From a decoded picture to RGB of 8 bit as a screen of the usual range (SDR) shows it.

SDR pictures keep their levels. HDR pictures (HLG and PQ of ITU-R BT.2100, which phones record by default; the base
layer of Dolby Vision is one of them) are converted so that skin stays skin. The steps, with luminance in cd/m2:

1. To light of a display of 1000 cd/m2: the EOTF of PQ, or the inverse OETF and the OOTF (gamma 1.2) of HLG (BT.2100).
2. From the primaries of BT.2020 to those of BT.709 (BT.2087); what lies outside of them is clipped.
3. The peak of 1000 becomes 203, the white of BT.2408, by the curve of BT.2390 (section 5.4, EETF). It acts on the
   largest of red, green and blue, and scales all three, so that hues stay. Below 94 cd/m2 nothing changes.
4. To levels by the inverse of BT.1886: the power 1/2.4.

All of it is one table of 64 x 64 x 64 colours, applied by FFmpeg (haldclut, tetrahedral interpolation). Reading an HDR
picture takes about twice the time of an SDR one: 35 instead of 17 ms at 1080x1920 (Intel Xeon, one thread).
"""

from fractions import Fraction
from functools import cache
from typing import Any

import av
import cv2
import numpy as np
from av.video.reformatter import Colorspace, ColorTrc, Interpolation, VideoReformatter
from jaxtyping import Float

from latentsync.arrays import Frame
from latentsync.media.conversions import Conversion

# swscale's default YUV -> RGB path rounds down: measured on 1080x1920 frames it darkens luma by 1.15 levels of 255.
# These flags have no bias (0.00), and BITEXACT gives the same pixels on every processor.
_TO_RGB = Interpolation.BILINEAR | Interpolation.FULL_CHR_H_INT | Interpolation.ACCURATE_RND | Interpolation.BITEXACT

_UNSPECIFIED = 2  # of matrices and transfers
_PALETTE = "pal8"
_PLANAR = "gbrp"
_PLANAR_SOURCES = ("yuv420p", "yuvj420p", "yuv420p10le")  # of even sizes: swscale gives them the same levels in planes
_WIDE = "gbrp16le"  # the format in which the table is applied
_WIDE_WHITE = 255 * 256  # what swscale writes and reads for white in it, of 65535

PEAK = 1000.0  # cd/m2 of the HDR display; brighter parts of a PQ picture are clipped
WHITE = 203.0  # cd/m2 of a white sheet of paper in HDR, BT.2408
HLG_GAMMA = 1.2  # of a display of 1000 cd/m2
SCREEN_GAMMA = 2.4  # BT.1886
LUMA_2020 = np.array([0.2627, 0.6780, 0.0593])
TO_709 = np.array([[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]])  # BT.2087
TABLE_LEVELS = 64  # of each channel; the table is a picture of 512 x 512 px
TABLE_SIDE = 512
_PROBE_PX = 32

HLG = Conversion("hlg-1", "is HDR (HLG); its colours were converted to SDR (BT.709)")
PQ = Conversion("pq-1", "is HDR (PQ); its colours were converted to SDR (BT.709)")
ALPHA = Conversion("alpha-1", "has transparent parts; they are shown on black")
_HDR = {ColorTrc.ARIB_STD_B67: HLG, ColorTrc.SMPTE2084: PQ}

Colours = Float[np.ndarray, "*n 3"]


# --- the curves ---


def light_of_hlg(code: Colours) -> Colours:
    """Display light in cd/m2 from HLG levels 0..1, BT.2100 table 5: inverse OETF, then OOTF."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = np.where(code <= 0.5, code**2 / 3, (np.exp((code - c) / a) + b) / 12)
    luma = np.maximum(scene @ LUMA_2020, 1e-9)
    return PEAK * luma[..., None] ** (HLG_GAMMA - 1) * scene


def light_of_pq(code: Colours) -> Colours:
    """Display light in cd/m2 from PQ levels 0..1, BT.2100 table 4: EOTF."""
    power = code ** (1 / 78.84375)
    return 10000 * (np.maximum(power - 0.8359375, 0) / (18.8515625 - 18.6875 * power)) ** (1 / 0.1593017578125)


def pq_of_light(light: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
    """PQ levels 0..1 from light in cd/m2, the inverse of `light_of_pq`."""
    power = (np.maximum(light, 0) / 10000) ** 0.1593017578125
    return ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375


def tone_mapped(light: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
    """Light of 0..1000 cd/m2 as light of 0..203 cd/m2, BT.2390 section 5.4.1 with black at 0."""
    peak = pq_of_light(np.array(PEAK))
    level, most = pq_of_light(np.minimum(light, PEAK)) / peak, pq_of_light(np.array(WHITE)) / peak
    knee = 1.5 * most - 0.5
    t = (level - knee) / (1 - knee)
    bent = (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee) + (-2 * t**3 + 3 * t**2) * most
    return light_of_pq(peak * np.where(level < knee, level, bent))


def sdr_of_light(light: Colours) -> Colours:
    """SDR levels 0..1 (BT.709 by BT.1886) from display light in cd/m2 with the primaries of BT.2020."""
    light = np.maximum(light @ TO_709.T, 0)
    largest = np.maximum(light.max(axis=-1, keepdims=True), 1e-6)
    return np.clip(light * (tone_mapped(largest) / largest) / WHITE, 0, 1) ** (1 / SCREEN_GAMMA)


# --- the table ---


@cache
def _table(transfer: int) -> av.VideoFrame:
    """The conversion of all colours as a picture for haldclut."""
    code = np.minimum(_all_colours() * 65535 / _WIDE_WHITE, 1)
    light = light_of_hlg(code) if transfer == ColorTrc.ARIB_STD_B67 else light_of_pq(code)
    return _table_of(np.rint(sdr_of_light(light) * _WIDE_WHITE), _table_planes())


def _all_colours() -> Colours:
    """The levels 0..1 of the table's places: red runs fastest, then green, then blue."""
    steps = np.arange(TABLE_LEVELS) / (TABLE_LEVELS - 1)
    blue, green, red = np.meshgrid(steps, steps, steps, indexing="ij")
    return np.stack([red, green, blue], axis=-1).reshape(-1, 3)


def _table_of(levels: Colours, planes: tuple[int, ...]) -> av.VideoFrame:
    """A table from 16-bit levels; `planes` says which channel each plane of the picture holds."""
    picture = av.VideoFrame(TABLE_SIDE, TABLE_SIDE, _WIDE)
    for plane, channel in zip(picture.planes, planes, strict=True):
        plane.update(levels[:, channel].astype("<u2").tobytes())
    picture.pts, picture.time_base = 0, Fraction(1)
    return picture


@cache
def _table_planes() -> tuple[int, ...]:
    """Which channel haldclut takes from each plane of a table.

    The planes are green, blue and red. FFmpeg up to 8.1 takes them for red, green and blue, so a table that changes
    nothing is tried on one colour.
    """
    planes, colour = (1, 2, 0), np.array([60000, 30000, 10000])
    source = av.VideoFrame(_PROBE_PX, _PROBE_PX, _WIDE)
    for plane, channel in zip(source.planes, planes, strict=True):
        plane.update(np.full(plane.buffer_size // 2, colour[channel], "<u2").tobytes())
    unchanged = _table_of(np.rint(_all_colours() * 65535), planes)
    result = _TableFilter(unchanged, _PROBE_PX, _PROBE_PX)(source).to_ndarray()[0, 0].astype(int)
    return tuple(int(np.abs(result - colour[channel]).argmin()) for channel in planes)


class _TableFilter:
    """A filter graph that replaces the colours of pictures of one size by a table."""

    def __init__(self, table: av.VideoFrame, width: int, height: int) -> None:
        self._graph = av.filter.Graph()
        place = {"format": av.VideoFormat(_WIDE), "time_base": Fraction(1)}
        self._source = self._graph.add_buffer(width=width, height=height, **place)
        colours = self._graph.add_buffer(width=TABLE_SIDE, height=TABLE_SIDE, **place)
        swap, self._sink = self._graph.add("haldclut", "interp=tetrahedral"), self._graph.add("buffersink")
        self._source.link_to(swap, 0, 0)
        colours.link_to(swap, 0, 1)
        swap.link_to(self._sink)
        self._graph.configure()
        colours.push(table)
        colours.push(None)
        self._count = 0

    def __call__(self, picture: av.VideoFrame) -> av.VideoFrame:
        picture.pts, picture.time_base = self._count, Fraction(1)
        self._count += 1
        self._source.push(picture)
        return self._sink.pull()


# --- pictures ---


class PictureConverter:
    """Converts decoded pictures of one stream to RGB. It keeps what swscale and the table have set up."""

    def __init__(self) -> None:
        self._from_source, self._to_8_bit = VideoReformatter(), VideoReformatter()
        self._tables: dict[tuple[int, int, int], _TableFilter] = {}

    def __call__(self, frame: av.VideoFrame, size: tuple[int, int]) -> Frame:
        """A picture as uint8 RGB `(height, width, 3)`.

        The file's colour flags apply. Without a matrix flag, HD counts as BT.709 and smaller pictures as BT.601, as in
        players. HDR is converted, see the module. Other transfers stay as they are, as with ffmpeg. Transparent parts
        are shown on black.

        Args:
            size: width and height in px, with square pixels.
        """
        options: dict[str, Any] = {"interpolation": _TO_RGB}
        if frame.color_trc in _HDR:
            return self._of_hdr(frame, size, options)
        if frame.colorspace == _UNSPECIFIED and not frame.format.is_rgb and _is_hd(frame):
            options["src_colorspace"] = Colorspace.ITU709
        if _may_be_transparent(frame):
            return on_black(self._from_source.reformat(frame, *size, "rgba", **options).to_ndarray())
        if _has_equal_planes(frame, size):
            return _interleaved(self._from_source.reformat(frame, *size, _PLANAR, **options))
        return self._from_source.reformat(frame, *size, "rgb24", **options).to_ndarray()

    def _of_hdr(self, frame: av.VideoFrame, size: tuple[int, int], options: dict[str, Any]) -> Frame:
        if frame.colorspace == _UNSPECIFIED and not frame.format.is_rgb:
            options["src_colorspace"] = Colorspace.BT2020
        wide = self._from_source.reformat(frame, *size, _WIDE, **options)
        key = frame.color_trc, *size
        if key not in self._tables:
            self._tables = {key: _TableFilter(_table(frame.color_trc), *size)}
        return self._to_8_bit.reformat(self._tables[key](wide), *size, "rgb24", interpolation=_TO_RGB).to_ndarray()


def _has_equal_planes(frame: av.VideoFrame, size: tuple[int, int]) -> bool:
    """Whether swscale's conversion to planes gives the levels of rgb24. It takes half of the time: it has vector code.

    Elsewhere levels may differ by one: an odd size, or one that is changed.
    """
    is_kept = (frame.width, frame.height) == size and not (frame.width % 2 or frame.height % 2)
    return is_kept and frame.format.name in _PLANAR_SOURCES


def _interleaved(picture: av.VideoFrame) -> Frame:
    """A picture of three planes, green, blue and red, as uint8 RGB `(height, width, 3)`."""
    shape = picture.height, picture.width
    green, blue, red = (np.frombuffer(plane, np.uint8).reshape(shape[0], -1)[:, : shape[1]] for plane in picture.planes)
    return cv2.merge([red, green, blue])


def _is_hd(frame: av.VideoFrame) -> bool:
    return max(frame.width, frame.height) >= 1280 or min(frame.width, frame.height) > 576


def _may_be_transparent(frame: av.VideoFrame) -> bool:
    return frame.format.name == _PALETTE or any(one.is_alpha for one in frame.format.components)


def on_black(picture: np.ndarray) -> Frame:
    """RGB of a picture with transparency, uint8 RGBA `(h, w, 4)`, as it looks on black."""
    alpha = picture[..., 3:]
    if alpha.min() == 255:
        return np.ascontiguousarray(picture[..., :3])
    return ((picture[..., :3] * alpha.astype(np.uint16) + 127) // 255).astype(np.uint8)


def colour_conversions(frame: av.VideoFrame) -> tuple[Conversion, ...]:
    """What `PictureConverter` changes in a picture, apart from its format."""
    if frame.color_trc in _HDR:
        return (_HDR[frame.color_trc],)
    if _may_be_transparent(frame):
        picture = frame.reformat(format="rgba").to_ndarray()
        return (ALPHA,) if picture[..., 3].min() < 255 else ()
    return ()
