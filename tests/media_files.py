"""Small real sound and video files, encoded where a test asks for them; and the real media, where there are any."""

from __future__ import annotations

import csv
import io
import os
import tarfile
from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

#: Extension -> (FFmpeg's muxer, encoder, sample format) of the sounds that libsndfile does not write.
_FFMPEG_SOUNDS = {
    "m4a": ("ipod", "aac", "fltp"),
    "mov": ("mov", "pcm_s16le", "s16"),
    "opus": ("ogg", "libopus", "flt"),
    "webm": ("webm", "libopus", "flt"),
    "aac": ("adts", "aac", "fltp"),
    "mp3": ("mp3", "libmp3lame", "fltp"),
    "oga": ("ogg", "flac", "s16"),
}
_SNDFILE_SOUNDS = {"wav": "WAV", "flac": "FLAC", "ogg": "OGG"}
SOUND_KINDS = (*_SNDFILE_SOUNDS, *_FFMPEG_SOUNDS)

#: Extension -> (FFmpeg's muxer, encoder, muxer options) of the videos.
_VIDEOS: dict[str, tuple[str, str, dict[str, str]]] = {
    "mp4": ("mp4", "libx264", {}),
    "mp4-faststart": ("mp4", "libx264", {"moov_size": "20000"}),
    "mp4-fragmented": ("mp4", "libx264", {"movflags": "frag_keyframe+empty_moov"}),
    "mov": ("mov", "mpeg4", {}),
    "mkv": ("matroska", "libx264", {}),
    "mkv-live": ("matroska", "libx264", {"live": "1"}),
    "webm": ("webm", "libvpx", {}),
    "avi": ("avi", "mpeg4", {}),
    "ts": ("mpegts", "mpeg2video", {}),
    "ts-h264": ("mpegts", "libx264", {}),
}
VIDEO_KINDS = tuple(_VIDEOS)
#: Those whose index makes seeking cheap.
INDEXED_KINDS = frozenset({"mp4", "mp4-faststart", "mov", "mkv", "webm", "avi"})

_NUM_BITS = 8
_WRITE_SAMPLES = 1 << 14


def chirp(rate_hz: int, seconds: float, num_channels: int = 1, *, amplitude: float = 0.5) -> NDArray[np.float32]:
    """Return a rising tone, float32 [n, num_channels]; no two moments of it are alike."""
    time = np.arange(round(rate_hz * seconds)) / rate_hz
    phase = 2 * np.pi * (200 * time + 150 * time**2)
    return np.stack([amplitude * np.sin(phase + channel) for channel in range(num_channels)], 1).astype(np.float32)


def likeness(left: NDArray[Any], right: NDArray[Any]) -> tuple[float, int]:
    """Return the greatest correlation of two sounds (1 where they are alike), and by how many samples left is late."""
    size = 2 * max(len(left), len(right))
    product = np.fft.irfft(np.fft.rfft(left, size) * np.conj(np.fft.rfft(right, size)), size)
    place = int(product.argmax())
    greatest = float(product[place] / (np.linalg.norm(left.astype(np.float64)) * np.linalg.norm(right)))
    return greatest, place if place < size // 2 else place - size


def sound_file(kind: str, samples: NDArray[np.float32], rate_hz: int, **options: Any) -> bytes:
    """Return a sound file of one of SOUND_KINDS; `options` go to soundfile.write (subtype, endian)."""
    file = io.BytesIO()
    if kind in _SNDFILE_SOUNDS:
        shape = {"samplerate": rate_hz, "channels": samples.shape[1], "format": _SNDFILE_SOUNDS[kind]}
        with soundfile.SoundFile(file, "w", **shape, **options) as sound:
            # libsndfile keeps the whole of one write to a Vorbis file on the stack.
            for start in range(0, len(samples), _WRITE_SAMPLES):
                sound.write(samples[start : start + _WRITE_SAMPLES])
        return file.getvalue()
    muxer, encoder, sample_format = _FFMPEG_SOUNDS[kind]
    with av.open(file, "w", format=muxer) as container:
        stream = container.add_stream(encoder, rate=rate_hz, layout=_layout(samples))
        stream.format = sample_format
        _encode_sound(container, stream, samples, rate_hz)
    return file.getvalue()


def numbered_frame(number: int, width_px: int = 96, height_px: int = 64) -> NDArray[np.uint8]:
    """Return a picture from which frame_number reads `number` back, after any codec: bars for bits, and a gradient."""
    bars = np.repeat([255 * (number >> bit & 1) for bit in range(_NUM_BITS)], width_px // _NUM_BITS)
    pixels = np.empty((height_px, width_px, 3), np.uint8)
    pixels[: height_px // 2] = bars[None, :, None]
    ramp = (np.arange(width_px) * 2 + 3 * number) % 256
    pixels[height_px // 2 :] = np.stack([ramp, ramp[::-1], np.full_like(ramp, 128)], -1)[None]
    return pixels


def frame_number(pixels: NDArray[np.uint8]) -> int:
    """Return the number of a decoded numbered_frame (whole and upright)."""
    height_px, width_px, _ = pixels.shape
    bars = pixels[height_px // 8 : height_px // 2 - height_px // 8].mean(axis=(0, 2)).reshape(_NUM_BITS, -1).mean(1)
    assert width_px % _NUM_BITS == 0
    return sum(1 << bit for bit in range(_NUM_BITS) if bars[bit] > 127)


def video_file(
    kind: str = "mp4",
    frames: Sequence[NDArray[np.uint8]] | None = None,
    *,
    times_ms: Sequence[int] | None = None,
    codec_options: dict[str, str] | None = None,
    gop_frames: int = 12,
    num_b_frames: int = 2,
    rotation: int = 0,
    is_mirrored: bool = False,
    sound: NDArray[np.float32] | None = None,
    **stream_settings: Any,
) -> bytes:
    """Return a video of one of VIDEO_KINDS.

    Args:
        kind: container, and with it the encoder.
        frames: uint8 [height, width, 3]; 48 numbered frames where None.
        times_ms: presentation time of each frame; 25 a second where None.
        codec_options: private options of the encoder.
        gop_frames: distance of key frames.
        num_b_frames: between two others, where the encoder has them.
        rotation, is_mirrored: the display matrix: degrees counter-clockwise, then a mirror from left to right.
        sound: [n, channels] at 16 kHz.
        stream_settings: attributes of the encoder (color_range, colorspace, pix_fmt).
    """
    frames = [numbered_frame(number) for number in range(48)] if frames is None else frames
    times_ms = times_ms or [40 * number for number in range(len(frames))]
    muxer, encoder, options = _VIDEOS[kind]
    file = io.BytesIO()
    with av.open(file, "w", format=muxer, container_options=options) as container:
        stream: Any = container.add_stream(encoder, rate=Fraction(25), options=codec_options or _fast(encoder))
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.gop_size = gop_frames
        if encoder != "libvpx":
            stream.codec_context.max_b_frames = 0 if kind == "avi" else num_b_frames
        # AVI counts frames; the others keep milliseconds.
        stream.codec_context.time_base = Fraction(1, 25) if encoder in ("mpeg4", "mpeg2video") else Fraction(1, 1000)
        for name, value in stream_settings.items():
            setattr(stream.codec_context, name, value)
        if rotation or is_mirrored:
            stream.set_display_rotation(rotation, hflip=is_mirrored)
        heard = container.add_stream("aac", rate=16_000, layout=_layout(sound)) if sound is not None else None
        for packet in _video_packets(stream, frames, times_ms):
            container.mux(packet)
        if heard is not None and sound is not None:
            _encode_sound(container, heard, sound, 16_000)
    return file.getvalue()


def real_media(archive: str) -> dict[str, bytes]:
    """Return the files of an archive of the real media by their paths; skips the test where there are none."""
    with tarfile.open(_real_folder() / archive) as opened:
        return {one.name: opened.extractfile(one).read() for one in opened if one.isfile()}  # type: ignore[union-attr]


def real_labels(table: str) -> list[dict[str, str]]:
    """Return the rows of a table of the real media; skips the test where there are none."""
    with (_real_folder() / table).open(newline="") as file:
        return list(csv.DictReader(file))


@cache
def default_video(kind: str) -> bytes:
    """Return 48 numbered frames, 25 a second, as `kind`; encoded once a session."""
    return video_file(kind)


def _real_folder() -> Path:
    folder = os.environ.get("UNLABELED_MEDIA")
    if not folder:
        pytest.skip("UNLABELED_MEDIA names no folder")
    return Path(folder)


def _fast(encoder: str) -> dict[str, str]:
    if encoder == "libx264":
        # Exact references, so that the numbers survive; one thread, so that the bytes are the same every time.
        return {"preset": "veryfast", "crf": "18", "threads": "1", "sc_threshold": "0"}
    if encoder == "libvpx":
        return {"deadline": "realtime", "cpu-used": "8", "b": "2M"}
    return {"b": "4M"}


def _video_packets(stream: Any, frames: Sequence[NDArray[np.uint8]], times_ms: Sequence[int]) -> Iterator[Any]:
    time_base = stream.codec_context.time_base
    for pixels, time_ms in zip(frames, times_ms, strict=True):
        frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
        frame.pts, frame.time_base = round(Fraction(time_ms, 1000) / time_base), time_base
        yield from stream.encode(frame)
    yield from stream.encode(None)


def _layout(samples: NDArray[np.float32]) -> str:
    return {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}[samples.shape[1]]


def _encode_sound(container: Any, stream: Any, samples: NDArray[np.float32], rate_hz: int) -> None:
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples.reshape(1, -1)), "flt", _layout(samples))
    frame.sample_rate, frame.pts, frame.time_base = rate_hz, 0, Fraction(1, rate_hz)
    resampler = av.AudioResampler(stream.format.name, stream.layout.name, rate_hz, stream.frame_size or None)
    for piece in [*resampler.resample(frame), *resampler.resample(None)]:
        container.mux(stream.encode(piece))
    container.mux(stream.encode(None))
