"""The sound of a video that is written: copied packet by packet, or encoded."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from latentsync.errors import MediaError
from latentsync.media.container import (
    decode_packets,
    decoding,
    open_container,
    open_input,
    packets_of,
    sound_stream_of,
)
from latentsync.media.sound import SoundInfo, followed_by_silence, placed_sound, probe_sound, resampled

MAX_CHANNELS = 8
AAC_RATES_HZ = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)  # that phones play
AAC_BITS_PER_SAMPLE = 6  # of a channel; the most that AAC allows
AAC_CHANNEL_BIT_RATE = 160_000  # at most; below it no measure hears the difference, see docs/metrics.md
MP3_LEAST_RATE_HZ = 16_000  # in an MP4
_COARSE_CLOCK = Fraction(1, 8000)  # Matroska's milliseconds: too coarse to place samples
_FLAC_LAYOUTS = ("mono", "stereo", "3.0", "quad", "5.0", "5.1", "6.1", "7.1")  # by number of channels
_AAC_LAYOUTS = ("mono", "stereo", "3.0", "4.0", "5.0", "5.1", "6.1", "7.1")
_COPIED_SOUND = {  # by choice, apart from AAC-LC, which is always copied
    "auto": (),
    "copy": ("aac", "mp3", "opus", "flac", "alac", "ac3", "eac3"),  # that players of MP4 know
    "lossless": ("aac", "mp3"),
}


@dataclass(frozen=True)
class SoundCoding:
    """How a sound is stored in an MP4: `codec` is "copy", "aac" or "flac", and `reason` says why, for people."""

    codec: str
    reason: str


def coding_of(stream: av.AudioStream, info: SoundInfo, choice: str, is_padded: bool = False) -> SoundCoding:
    """The one place that decides whether a sound is copied or encoded.

    Args:
        choice: one of `config.SOUNDS`, see `VideoWriter`.
        is_padded: whether silence follows it.

    Raises:
        MediaError: the sound has more than 8 channels.
    """
    if info.channels > MAX_CHANNELS:
        raise MediaError(
            f"{info.path} has {info.channels} channels; mix it down to at most {MAX_CHANNELS} (mono is best)"
        )
    encoded = "flac" if choice == "lossless" else "aac"
    is_aac_lc = info.codec == "aac" and stream.codec_context.profile == "LC"
    if not is_aac_lc and info.codec not in _COPIED_SOUND[choice]:
        return SoundCoding(encoded, f"{choice} stores {info.codec} as {encoded.upper()}")
    if info.codec == "mp3" and info.rate_hz < MP3_LEAST_RATE_HZ:
        return SoundCoding(encoded, f"MP4 holds MP3 from {MP3_LEAST_RATE_HZ} Hz on, and this one has {info.rate_hz} Hz")
    if not info.is_gapless:
        return SoundCoding(encoded, "it starts late or early or has holes, so a copy would play otherwise")
    if is_padded:
        return SoundCoding(encoded, "silence follows it, which a copy cannot hold")
    return SoundCoding("copy", f"{choice} copies {info.codec}")


def aac_rate_hz(rate_hz: int) -> int:
    """The rate at which a sound becomes AAC: its own, else the next higher one, and at most 48 kHz."""
    return next((one for one in AAC_RATES_HZ if one >= rate_hz), AAC_RATES_HZ[-1])


class SoundTrack:
    """Copies or encodes the voice into a file, step by step as the video advances, so that both interleave."""

    def __init__(
        self,
        output: av.container.OutputContainer,
        path: Path,
        choice: str,
        is_padded: bool = False,
        track: int | None = None,
    ) -> None:
        self.info, self._is_padded = probe_sound(path, track), is_padded
        self._output, self._path = output, path
        self._input = open_container(path)
        self._source = sound_stream_of(self._input, path, track)
        self.coding = coding_of(self._source, self.info, choice, is_padded)
        self._is_copied = self.coding.codec == "copy"
        if self._is_copied:
            self._stream = output.add_stream_from_template(self._source)
            self._pieces = _copied_packets(path, self._input, self._source, self._stream, track)
        else:
            self._stream = self._flac_stream() if self.coding.codec == "flac" else self._aac_stream()
            self._pieces = self._frames()
        self._step()

    def _step(self) -> None:
        """Reads the next piece; an error names the voice, not the file that is written."""
        with decoding(self._path):
            self._next = next(self._pieces, None)

    def _flac_stream(self) -> av.AudioStream:
        is_16_bit = self._source.codec_context.format.name.rstrip("p") in ("u8", "s16")
        stream = self._output.add_stream("flac", rate=self.info.rate_hz)
        stream.codec_context.format = "s16" if is_16_bit else "s32"  # FLAC stores the upper 24 of the 32 bits
        stream.codec_context.layout = _FLAC_LAYOUTS[self.info.channels - 1]
        return stream

    def _aac_stream(self) -> av.AudioStream:
        channels, rate_hz = self.info.channels, aac_rate_hz(self.info.rate_hz)
        stream = self._output.add_stream("aac", rate=rate_hz)
        stream.codec_context.format = "fltp"
        stream.codec_context.layout = _AAC_LAYOUTS[channels - 1]
        stream.codec_context.bit_rate = channels * min(AAC_BITS_PER_SAMPLE * rate_hz, AAC_CHANNEL_BIT_RATE)
        return stream

    def _frames(self) -> Iterator[tuple[Fraction, Fraction, av.AudioFrame]]:
        """(start, end, frame), times in s. Frames have the encoder's format and rate, and the source's channels."""
        context, layout = self._stream.codec_context, self._source.codec_context.layout
        if layout.nb_channels != self.info.channels:  # they change on the way, so what differs is mixed
            layout = context.layout
        start = 0
        frames = iter(placed_sound(self._path, self._input, self._source))
        if self._is_padded:
            frames = followed_by_silence(frames)
        for frame in resampled(frames, context.format.name, layout.name, context.sample_rate):
            end = start + frame.samples
            yield Fraction(start, context.sample_rate), Fraction(end, context.sample_rate), frame
            start = end

    def advance(self, video_s: Fraction) -> None:
        """Writes the sound that ends before the video written so far."""
        while self._next is not None and self._next[1] <= video_s:
            self._put(self._next)
            self._step()

    def finish(self, video_s: Fraction, frame_s: Fraction) -> None:
        """Writes the rest of the sound; up to the video's end if the sound is longer by more than a frame."""
        is_cut = self._is_padded or self.info.duration_s > video_s + frame_s
        while self._next is not None and not (is_cut and self._next[0] >= video_s):
            self._put(self._next, video_s if is_cut else None)
            self._step()
        if not self._is_copied:
            self._output.mux(self._stream.encode())
        self.close()

    def _put(self, piece: tuple[Fraction, Fraction, Any], end_s: Fraction | None = None) -> None:
        start_s, stop_s, data = piece
        if self._is_copied:
            self._output.mux(data)
            return
        stop_s = stop_s if end_s is None else min(stop_s, end_s)
        self._output.mux(self._stream.encode(self._relabelled(data, start_s, stop_s)))

    def _relabelled(self, frame: av.AudioFrame, start_s: Fraction, stop_s: Fraction) -> av.AudioFrame:
        """The frame's samples up to `stop_s`, at `start_s`, with the encoder's channel layout; nothing is mixed."""
        context = self._stream.codec_context
        rate_hz = context.sample_rate
        count = round((stop_s - start_s) * rate_hz)
        width = 1 if frame.format.is_planar else frame.layout.nb_channels
        samples = np.ascontiguousarray(frame.to_ndarray()[:, : count * width])
        new = av.AudioFrame.from_ndarray(samples, format=frame.format.name, layout=context.layout.name)
        new.sample_rate, new.time_base, new.pts = rate_hz, Fraction(1, rate_hz), round(start_s * rate_hz)
        return new

    def close(self) -> None:
        """Closes the voice, and lets go of this object, which the pieces hold.

        Else the garbage collector would free the decoder at some later time. If that is in a forked process, it waits
        forever for threads that only the first process has.
        """
        self._pieces.close()
        self._input.close()


def _copied_packets(
    path: Path,
    container: av.container.InputContainer,
    source: av.AudioStream,
    target: av.AudioStream,
    track: int | None = None,
) -> Iterator[tuple[Fraction, Fraction, av.Packet]]:
    """(start, end, packet), times in s, shifted so that the first audible sample is at 0.

    AAC and MP3 begin with samples that a decoder drops (priming). They end at the time of the first decoded frame. So
    the packets before it get negative times. MP4 stores these as an edit list, and every player drops them again.
    """
    offset_s = _first_audible_s(path, track)
    rate_hz, clock_s = source.codec_context.sample_rate, None
    for packet in packets_of(container, source):
        if not packet.size:
            continue
        length_s = _packet_length_s(packet, source)
        start_s = clock_s if packet.pts is None else packet.pts * packet.time_base - offset_s
        if clock_s is not None and abs(start_s - clock_s) < length_s / 2:
            start_s = clock_s  # Matroska rounds its times to milliseconds
        clock_s = start_s + length_s
        packet.stream, packet.time_base = target, Fraction(1, rate_hz)
        packet.pts = packet.dts = round(start_s * rate_hz)
        packet.duration = round(length_s * rate_hz)
        yield start_s, clock_s, packet


def _first_audible_s(path: Path, track: int | None) -> Fraction:
    """The packets' time at the first sample that is heard."""
    with open_input(path) as container:
        stream = sound_stream_of(container, path, track)
        first = next(packet for packet in packets_of(container, stream) if packet.size)
        if first.time_base > _COARSE_CLOCK and first.has_sidedata("skip_samples"):
            skipped = int.from_bytes(bytes(first.get_sidedata("skip_samples"))[:4], "little")
            return (first.pts or 0) * first.time_base + Fraction(skipped, stream.codec_context.sample_rate)
    with open_input(path) as container:
        frame = next(decode_packets(packets_of(container, sound_stream_of(container, path, track))))
        return (frame.pts or 0) * frame.time_base


def _packet_length_s(packet: av.Packet, source: av.AudioStream) -> Fraction:
    if packet.time_base > _COARSE_CLOCK and source.codec_context.frame_size:
        return Fraction(source.codec_context.frame_size, source.codec_context.sample_rate)
    return (packet.duration or 0) * packet.time_base
