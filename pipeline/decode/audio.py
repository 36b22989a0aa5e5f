"""Sound of any format, rate and channel count to mono int16 at one rate, as a stream of blocks.

The channels' mean is resampled by soxr (quality HQ) and rounded half to even, full scale being 32,768 with clipping:
16-bit mono at the target rate comes through unchanged. soxr's stream gives the same samples however they are cut
into blocks, so the result depends on the bytes alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import soxr
from numpy.typing import NDArray

from ..errors import Reject, RejectReason
from ..items import Waveform
from .bytes_source import ByteSource
from .completeness import Completeness, completeness
from .container import AUDIO_DEMUXERS, VIDEO_DEMUXERS, EndsEarly, after_id3, check_size
from .limits import DecodeOptions, Limits
from .sound_readers import FfmpegReader, SndfileReader, SoundReader


@dataclass(frozen=True, slots=True)
class SoundHeader:
    """What is known of a sound before it is decoded. `num_declared`: samples per channel, never to be relied on."""

    codec: str
    sample_rate_hz: int
    num_channels: int
    num_declared: int | None
    is_seekable: bool

    @property
    def declared_seconds(self) -> float | None:
        """Return the declared duration, None where the header states none."""
        return None if self.num_declared is None else self.num_declared / self.sample_rate_hz


class OpenSound:
    """An opened sound: `header`, then `blocks()`, and after the last block `is_truncated`."""

    def __init__(
        self,
        reader: SoundReader,
        limits: Limits,
        options: DecodeOptions,
        *,
        is_truncated: bool = False,
        part_us: tuple[int, int] | None = None,
    ) -> None:
        self.header = SoundHeader(
            reader.codec, reader.sample_rate_hz, reader.num_channels, reader.num_declared, reader.is_seekable
        )
        self.is_truncated = is_truncated
        self.rate_hz = options.audio_rate_hz
        self._reader = reader
        self._limits = limits
        self._options = options
        self._part_us = part_us
        _check_header(self.header, limits)

    def blocks(self) -> Iterator[NDArray[np.int16]]:
        """Yield mono int16 blocks at `options.audio_rate_hz`, none of them empty; to be called once.

        Raises:
            Reject: `corrupt`, `truncated`, `non_finite`, `zero_duration`, `unsupported_feature`, `limit_seconds`,
                `limit_samples`, `limit_output`.
        """
        resampler = None
        if self.header.sample_rate_hz != self.rate_hz:
            resampler = soxr.ResampleStream(self.header.sample_rate_hz, self.rate_hz, 1, dtype="float32", quality="HQ")
        num_bytes_out = 0
        for block in _resampled(self._mono(), resampler):
            num_bytes_out += block.nbytes
            if num_bytes_out > self._limits.max_output_bytes:
                raise Reject(RejectReason.LIMIT_OUTPUT, f"more than max_output_bytes={self._limits.max_output_bytes}")
            yield block
        if num_bytes_out == 0:
            raise Reject(RejectReason.ZERO_DURATION, "no sample came out")

    def _mono(self) -> Iterator[NDArray[np.float32]]:
        """Yield the channels' mean, of the part where there is one; count samples, look for NaN and an early end."""
        first, end = self._bounds()
        num_read = 0
        try:
            for block in self._reader.blocks(first):
                mono = _mean(block[: None if end is None else max(0, end - first - num_read)])
                num_read += len(mono)
                self._check_count(first + num_read)
                if len(mono):
                    yield mono
                if end is not None and first + num_read >= end:
                    break
        except EndsEarly as early:
            if self._options.truncated == "reject":
                raise Reject(RejectReason.TRUNCATED, str(early)) from early
            self.is_truncated = True

    def _bounds(self) -> tuple[int, int | None]:
        if self._part_us is None:
            return 0, None
        rate_hz = self.header.sample_rate_hz
        return self._part_us[0] * rate_hz // 1_000_000, self._part_us[1] * rate_hz // 1_000_000

    def _check_count(self, num_samples: int) -> None:
        if num_samples > self._limits.max_samples:
            raise Reject(RejectReason.LIMIT_SAMPLES, f"more than max_samples={self._limits.max_samples}")
        if num_samples > self._limits.max_seconds * self.header.sample_rate_hz:
            raise Reject(RejectReason.LIMIT_SECONDS, f"more than max_seconds={self._limits.max_seconds:g}")


def open_sound(
    source: ByteSource, limits: Limits, options: DecodeOptions, *, part_us: tuple[int, int] | None = None
) -> OpenSound:
    """Open a sound file; the format is told by its first bytes.

    Args:
        source: the bytes; only reads of it are done.
        limits: enforced on the header here, while decoding in `blocks`.
        options: target rate, and what to do with truncated files.
        part_us: where given, only the samples in [start, end) microseconds are decoded; exact and cheap where the
            header says `is_seekable`, by decoding and dropping otherwise.

    Raises:
        Reject: `empty`, `unidentified`, `format_not_allowed`, `no_stream`, `corrupt`, `truncated`,
            `unsupported_feature`, `limit_bytes`, `limit_channels`, `limit_rate`, `limit_seconds`, `limit_samples`.
    """
    check_size(source, limits)
    found = check_complete(source, options)
    reader: SoundReader
    try:
        if _is_wav_or_flac(source):
            reader = SndfileReader(source, may_end_early=found.may_end_early)
        else:
            reader = FfmpegReader(source, AUDIO_DEMUXERS, may_end_early=found.may_end_early)
    except EndsEarly as early:
        raise Reject(RejectReason.TRUNCATED, str(early)) from early
    return OpenSound(reader, limits, options, is_truncated=found.missing is not None, part_us=part_us)


def open_soundtrack(
    source: ByteSource, limits: Limits, options: DecodeOptions, *, origin_seconds: Fraction
) -> OpenSound:
    """Open the first sound stream of a video; sample 0 is presented together with the first video frame.

    Args:
        source: the bytes of the video.
        limits: as in open_sound.
        options: as in open_sound.
        origin_seconds: time stamp of the first presented video frame.

    Raises:
        Reject: as open_sound; `no_stream` for a silent film.
    """
    check_size(source, limits)
    found = check_complete(source, options)
    try:
        reader = FfmpegReader(source, VIDEO_DEMUXERS, may_end_early=found.may_end_early, origin_seconds=origin_seconds)
    except EndsEarly as early:
        raise Reject(RejectReason.TRUNCATED, str(early)) from early
    return OpenSound(reader, limits, options, is_truncated=found.missing is not None)


def read_waveform(sound: OpenSound, *, start_us: int = 0) -> Waveform:
    """Decode an opened sound into memory (2 bytes a sample) and return it; `start_us` is where a part begins.

    Raises:
        Reject: as OpenSound.blocks.
    """
    collected = bytearray()
    for block in sound.blocks():
        collected += block.tobytes()
    return Waveform(
        media_kind="audio",
        codec=sound.header.codec,
        is_truncated=sound.is_truncated,
        samples=np.frombuffer(bytes(collected), np.int16),
        sample_rate_hz=sound.rate_hz,
        source_sample_rate_hz=sound.header.sample_rate_hz,
        num_channels=sound.header.num_channels,
        start_us=start_us,
    )


def check_complete(source: ByteSource, options: DecodeOptions) -> Completeness:
    """Return what the container's structure says of its end; raise Reject (`truncated`) where that is to be done."""
    found = completeness(source)
    if found.missing and options.truncated == "reject":
        raise Reject(RejectReason.TRUNCATED, found.missing, offset_bytes=source.num_bytes)
    return found


def _is_wav_or_flac(source: ByteSource) -> bool:
    head = source.read(0, 12)
    if head[:4] in (b"RIFF", b"RIFX", b"RF64"):
        return head[8:12] == b"WAVE"
    return source.read(after_id3(source), 4) == b"fLaC"


def _check_header(header: SoundHeader, limits: Limits) -> None:
    if header.num_channels > limits.max_channels:
        raise Reject(
            RejectReason.LIMIT_CHANNELS, f"{header.num_channels} channels, max_channels={limits.max_channels}"
        )
    if not 0 < header.sample_rate_hz <= limits.max_rate_hz:
        raise Reject(RejectReason.LIMIT_RATE, f"{header.sample_rate_hz} Hz, max_rate_hz={limits.max_rate_hz}")
    if header.num_declared is not None and header.num_declared > limits.max_samples:
        raise Reject(RejectReason.LIMIT_SAMPLES, f"{header.num_declared} samples, max_samples={limits.max_samples}")
    if (header.declared_seconds or 0) > limits.max_seconds:
        raise Reject(
            RejectReason.LIMIT_SECONDS, f"{header.declared_seconds:.0f} s, max_seconds={limits.max_seconds:g}"
        )


def _mean(block: NDArray[np.float32]) -> NDArray[np.float32]:
    mono = block[:, 0] if block.shape[1] == 1 else block.mean(axis=1, dtype=np.float32)
    if not np.isfinite(mono).all():
        raise Reject(RejectReason.NON_FINITE, "the sound holds NaN or infinity")
    return mono


def _resampled(
    blocks: Iterator[NDArray[np.float32]], resampler: soxr.ResampleStream | None
) -> Iterator[NDArray[np.int16]]:
    for block in blocks:
        resampled = block if resampler is None else resampler.resample_chunk(np.ascontiguousarray(block))
        if len(resampled):
            yield _as_int16(resampled)
    if resampler is not None:
        rest = resampler.resample_chunk(np.empty(0, np.float32), last=True)
        if len(rest):
            yield _as_int16(rest)


def _as_int16(samples: NDArray[np.float32]) -> NDArray[np.int16]:
    # Clipped first: what is near the largest float must not overflow.
    scaled: NDArray[np.float32] = np.rint(samples.clip(-2.0, 2.0) * np.float32(32_768.0))
    return scaled.clip(-32_768, 32_767).astype(np.int16)
