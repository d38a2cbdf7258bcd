"""Changes files at random, as disks, networks and other people do, and builds odd ones from nothing."""

import io
import struct
import zlib
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

EXTREMES = (
    b"\x00", b"\xff", b"\x7f\xff", b"\xff\xff", b"\x00\x00", b"\x80\x00", b"\x7f\xff\xff\xff", b"\xff\xff\xff\xff",
    b"\x00\x00\x00\x00", b"\xff\xff\xff\x7f", b"\x00\x00\x00\x80", b"\xff" * 8,
)  # fmt: skip
# (name, video codec, sound codec, options of the muxer)
CONTAINERS = (
    ("a.mp4", "libx264", "aac"), ("a.mkv", "libx264", "flac"), ("a.webm", "libvpx-vp9", "libopus"),
    ("a.avi", "mpeg4", "pcm_s16le"), ("a.mov", "mjpeg", "pcm_s16be"), ("a.ts", "mpeg2video", "mp2"),
    ("a.flv", "libx264", "libmp3lame"), ("a.mpg", "mpeg2video", "mp2"), ("a.gif", "gif", None), ("a.ogg", None, "flac"),
    ("a.mp3", None, "libmp3lame"), ("a.flac", None, "flac"), ("a.aiff", None, "pcm_s16be"), ("a.au", None, "pcm_s16be"),
    ("a.m4a", None, "aac"), ("a.wav", None, "pcm_s16le"), ("a.wv", None, "wavpack"), ("a.aac", None, "aac"),
)  # fmt: skip


def media_seeds() -> dict[str, bytes]:
    """Small files of many formats, by name."""
    seeds = {}
    for name, video, sound in CONTAINERS:
        data = io.BytesIO()
        form = {"mkv": "matroska", "ts": "mpegts", "m4a": "ipod", "aac": "adts", "mpg": "mpeg"}.get(
            name.partition(".")[2], name.partition(".")[2]
        )
        with av.open(data, "w", format=form) as out:
            pictures = None if video is None else out.add_stream(video, rate=25)
            if pictures is not None:
                pictures.width, pictures.height = 96, 64
                pictures.pix_fmt = {"mjpeg": "yuvj420p", "gif": "rgb8"}.get(video, "yuv420p")
            track = None if sound is None else out.add_stream(sound, rate=48000 if sound == "libopus" else 44100)
            if track is not None:
                track.codec_context.layout = "stereo"
            if pictures is not None:
                for i in range(12):
                    frame = av.VideoFrame.from_ndarray(np.full((64, 96, 3), 20 * i, np.uint8), format="rgb24")
                    frame.pts, frame.time_base = i, Fraction(1, 25)
                    out.mux(pictures.encode(frame.reformat(format=pictures.pix_fmt)))
                out.mux(pictures.encode())
            if track is not None:
                context, tone = track.codec_context, np.sin(np.arange(2 * 20000) / 9) * 9000
                frame = av.AudioFrame.from_ndarray(tone.astype(np.int16)[None], format="s16", layout="stereo")
                frame.sample_rate, frame.pts, frame.time_base = context.sample_rate, 0, Fraction(1, context.sample_rate)
                fifo = av.AudioFifo()
                for one in av.AudioResampler(context.format.name, "stereo", context.sample_rate).resample(frame):
                    fifo.write(one)
                while (piece := fifo.read(context.frame_size or 1024, partial=True)) is not None:
                    out.mux(track.encode(piece))
                out.mux(track.encode())
        seeds[name] = data.getvalue()
    picture = av.VideoFrame.from_ndarray(np.arange(96 * 64 * 3, dtype=np.uint32).astype(np.uint8).reshape(64, 96, 3))
    for name, codec, form in (("a.png", "png", "rgb24"), ("a.jpg", "mjpeg", "yuvj420p"), ("a.bmp", "bmp", "bgr24")):
        encoder = av.CodecContext.create(codec, "w")
        encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = 96, 64, form, Fraction(1, 25)
        packets = [*encoder.encode(picture.reformat(format=form)), *encoder.encode(None)]
        seeds[name] = b"".join(bytes(packet) for packet in packets)
    return seeds


def mutated(data: bytes, random: np.random.Generator) -> bytes:
    """The data with one to six changes; half of them near the beginning or the end, where headers are."""
    changed = bytearray(data)
    for _ in range(int(random.integers(1, 7))):
        if not changed:
            break
        size, near = len(changed), int(random.integers(4))
        first, last = ((0, min(size, 600)), (max(0, size - 2000), size), (0, size), (0, size))[near]
        at = int(random.integers(first, last))
        match int(random.integers(8)):
            case 0:
                changed[at] ^= 1 << int(random.integers(8))
            case 1:
                changed[at] = int(random.integers(256))
            case 2 | 3:
                extreme = EXTREMES[int(random.integers(len(EXTREMES)))]
                changed[at : at + len(extreme)] = extreme
            case 4:
                del changed[at : at + int(random.integers(1, 200))]
            case 5:
                start = int(random.integers(size))
                changed[at:at] = changed[start : start + int(random.integers(1, 200))]
            case 6:
                del changed[max(at, 16) :]
            case 7:
                changed[at : at + 64] = random.bytes(min(64, size - at))
    return bytes(changed)


def built_media() -> dict[str, bytes]:
    """A hundred files that no recorder makes: headers with extreme sizes, rates, channels, lengths and times."""
    files: dict[str, bytes] = {}
    forms = ((16, 0, 1), (0, 16000, 1), (64, 1, 3), (16, 2**32 - 1, 1), (24, 16000, 0xFFFE), (4, 8000, 17))
    waves = [(channels, *form) for channels in (0, 1, 65, 65535) for form in forms]
    for n, (channels, bits, rate, form) in enumerate(waves):
        files[f"wav{n}.wav"] = odd_wave(channels, bits, rate, form, (4000, 2**32 - 1)[n % 2])
    sizes = (
        (2**31 - 1, 1), (1, 2**31 - 1), (65535, 65535), (30_000, 30_000), (0, 5), (8193, 8193), (16, 1 << 27),
        (70_000, 900),
    )  # fmt: skip
    for n, (width, height) in enumerate(sizes):
        files |= {f"size{n}{suffix}": data for suffix, data in _odd_pictures(width, height).items()}
    for n, rate in enumerate(("0:1", "1:0", "2147483647:1", "1:2147483647", "-25:1", "1000000:1")):
        frames = (b"FRAME\n" + bytes(16 * 16 * 3 // 2)) * 5
        files[f"rate{n}.y4m"] = f"YUV4MPEG2 W16 H16 F{rate} C420\n".encode() + frames
    for n, aspect in enumerate(("1:2147483647", "2147483647:1", "0:0", "65535:1", "-1:1")):
        head = f"YUV4MPEG2 W64 H64 F25:1 A{aspect} C420\nFRAME\n"
        files[f"aspect{n}.y4m"] = head.encode() + bytes(64 * 64 * 3 // 2)
    far = tuple(range(0, 10**9, 10**8))
    for n, times in enumerate(((0, 2**40), (-(2**40), 0), (0, 1, 2**33, 2**34), (5, 5, 5), far)):
        files[f"times{n}.mkv"] = _timed(times, "matroska")
        files[f"times{n}.mov"] = _timed(times, "mov")
        files[f"voice{n}.mkv"] = _timed_voice(times)
    texts = (
        b"", b"\0", b"#EXTM3U\n#EXTINF:9,\n/etc/passwd\n", b"ffconcat version 1.0\nfile /etc/passwd\n",
        b"v=0\r\nm=video 1 RTP/AVP 96\r\n", b"ID3\4\0\0\x7f\x7f\x7f\x7f", b"RIFF\xff\xff\xff\xffWAVE",
    )  # fmt: skip
    for n, text in enumerate(texts):
        files[f"text{n}.mp4"] = files[f"text{n}.wav"] = text
    files["long.flac"] = b"fLaC\x80\0\0\x22" + bytes(8) + b"\xff" * 26
    return files


def odd_wave(channels: int, bits: int, rate_hz: int, form: int, length: int) -> bytes:
    """A WAV file of 4000 bytes of sound whose header says something else."""
    block, data = channels * bits // 8 & 0xFFFF, bytes(4000)
    head = struct.pack("<HHIIHH", form, channels, rate_hz, rate_hz * block & 0xFFFFFFFF, block, bits)
    riff = b"RIFF" + struct.pack("<I", 36 + len(data)) + b"WAVEfmt " + struct.pack("<I", 16)
    return riff + head + b"data" + struct.pack("<I", length) + data


def _odd_pictures(width: int, height: int) -> dict[str, bytes]:
    """Pictures, by suffix, whose headers say a size that their data does not have."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(20000))), (b"IEND", b""))
    png = b"".join(
        struct.pack(">I", len(body)) + tag + body + struct.pack(">I", zlib.crc32(tag + body)) for tag, body in chunks
    )
    bmp = struct.pack("<IHHIIiiHHIIiiII", 3054, 0, 0, 54, 40, width, height, 1, 24, 0, 0, 1, 1, 0, 0)
    short = [min(side, 65535) for side in (width, height)]
    gif = struct.pack("<HH", *short) + b"\xf7\0\0" + bytes(768) + b"," + struct.pack("<HHHHB", 0, 0, *short, 0)
    return {
        ".png": b"\x89PNG\r\n\x1a\n" + png,
        ".ppm": f"P6 {width} {height} 255\n".encode() + bytes(3000),
        ".bmp": b"BM" + bmp + bytes(3000),
        ".y4m": f"YUV4MPEG2 W{width} H{height} F25:1 C420\nFRAME\n".encode() + bytes(3000),
        ".gif": b"GIF89a" + gif + b"\x08\x02\x4c\x01\0;",
    }


def _timed(times: tuple[int, ...], form: str) -> bytes:
    """Pictures at these times in ms, as far as the container takes them."""
    data = io.BytesIO()
    try:
        with av.open(data, "w", format=form) as out:
            stream = out.add_stream("mjpeg", rate=25)
            stream.width = stream.height = 16
            stream.pix_fmt, stream.codec_context.time_base = "yuvj420p", Fraction(1, 1000)
            for time in times:
                frame = av.VideoFrame(16, 16, "yuvj420p")
                frame.pts, frame.time_base = 0, Fraction(1, 1000)
                for packet in stream.encode(frame):
                    packet.pts = packet.dts = time
                    out.mux(packet)
    except av.FFmpegError:
        pass
    return data.getvalue()


def _timed_voice(times: tuple[int, ...]) -> bytes:
    """Packets of sound at these times in ms."""
    data = io.BytesIO()
    try:
        with av.open(data, "w", format="matroska") as out:
            stream = out.add_stream("pcm_s16le", rate=16000, layout="mono")
            for time in times:
                frame = av.AudioFrame.from_ndarray(np.ones((1, 8000), np.int16), format="s16", layout="mono")
                frame.sample_rate, frame.pts = 16000, 0
                for packet in stream.encode(frame):
                    packet.time_base, packet.pts, packet.dts = Fraction(1, 1000), time, time
                    out.mux(packet)
    except av.FFmpegError:
        pass
    return data.getvalue()


def write_all(files: dict[str, bytes], folder: Path) -> list[Path]:
    """Writes the files into a folder."""
    paths = []
    for name, data in files.items():
        (folder / name).write_bytes(data)
        paths.append(folder / name)
    return paths
