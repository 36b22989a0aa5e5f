"""The two readers of sound: libsndfile for WAV and FLAC, FFmpeg for everything else.

One decoder a format, because decoders disagree on damaged files. FLAC is libsndfile's: it reports a flipped bit, where
FFmpeg decodes on in silence. WAV is libsndfile's: it knows every sample format. Ogg (Vorbis, Opus), MP3, MP4 (AAC,
ALAC), Matroska and ADTS are FFmpeg's: libsndfile lacks AAC, refuses MP3 behind junk that players skip, and returns
nothing of a shortened Ogg file.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any, Protocol

import av
import numpy as np
import soundfile
from av.audio.frame import AudioFrame, format_dtypes
from av.audio.stream import AudioStream
from numpy.typing import NDArray

from ..errors import Reject, RejectReason
from .bytes_source import ByteSource
from .container import EndsEarly, WatchedFile, after_id3, decoded, ffmpeg_errors, next_packet, only, open_container

#: Samples per channel of one block: what is mixed and resampled at once.
BLOCK_SAMPLES = 1 << 16
#: A step in FFmpeg's time stamps beyond this is sound that is missing (rounded stamps jitter by a few milliseconds).
_MAX_JUMP_SECONDS = 0.25
#: PyAV reads beyond FFmpeg's list of planes where it is longer than this.
_MAX_FFMPEG_CHANNELS = 8
#: libsndfile's error numbers: unknown format, unsupported encoding.
_UNKNOWN_FORMAT, _UNSUPPORTED_ENCODING = 1, 4
_FULL_SCALE = {"u1": 2.0**7, "i2": 2.0**15, "i4": 2.0**31, "i8": 2.0**63}


class SoundReader(Protocol):
    """Decodes one sound. The attributes are known once it is built, `blocks` is to be called once."""

    codec: str
    sample_rate_hz: int
    num_channels: int
    #: Samples per channel that the header declares; None where it declares none that can be trusted.
    num_declared: int | None
    #: True where parts of the sound can be read at exact samples (PCM, FLAC).
    is_seekable: bool

    def blocks(self, first: int = 0) -> Iterator[NDArray[np.float32]]:
        """Yield float32 [n, num_channels], full scale being 1, from sample `first` to the end.

        Raises:
            Reject: `corrupt` and others. EndsEarly: after the last block of a source that ends early.
        """


class _Stream(soundfile.SoundFile):  # type: ignore[misc]  # soundfile has no types
    """A sound that is read straight on: soundfile seeks after every read of what is seekable, which FLAC refuses at
    an end that its header does not state.
    """

    def seekable(self) -> bool:
        return False


class SndfileReader:
    """WAV and FLAC by libsndfile."""

    is_seekable = True

    def __init__(self, source: ByteSource, *, may_end_early: bool) -> None:
        self._file = WatchedFile(source)
        self._may_end_early = may_end_early
        try:
            self._sound = _Stream(self._file)
        except soundfile.LibsndfileError as error:
            self._file.check()
            raise self._reject(error) from error
        self._file.check()
        self.codec = f"{self._sound.format}_{self._sound.subtype}".lower()
        self.sample_rate_hz = int(self._sound.samplerate)
        self.num_channels = int(self._sound.channels)
        # libsndfile writes the largest number where the header states no length.
        frames = int(self._sound.frames)
        self.num_declared = frames if frames < 2**62 else None

    def blocks(self, first: int = 0) -> Iterator[NDArray[np.float32]]:
        """See SoundReader. Reads until nothing comes: SoundFile.blocks() makes sound up where the header lies."""
        num_read = 0
        if first:
            self._seek(first)
        while True:
            try:
                block = self._sound.read(BLOCK_SAMPLES, dtype="float32", always_2d=True)
            except soundfile.LibsndfileError as error:
                self._file.check()
                if self._may_end_early and self._file.is_at_end:
                    raise EndsEarly(f"libsndfile: {error.error_string}") from error
                raise self._reject(error) from error
            self._file.check()
            if not len(block):
                break
            num_read += len(block)
            yield block
        declared = self.num_declared
        if self._sound.format == "FLAC" and declared is not None and first + num_read < declared:
            raise EndsEarly(f"{first + num_read} samples of {declared}")

    def _seek(self, first: int) -> None:
        try:
            self._sound.seek(first)
        except soundfile.LibsndfileError as error:
            self._file.check()
            raise self._reject(error) from error

    def _reject(self, error: soundfile.LibsndfileError) -> Reject:
        message = f"libsndfile: {error.error_string}"
        if error.code == _UNKNOWN_FORMAT:
            return Reject(RejectReason.UNIDENTIFIED, message)
        if error.code == _UNSUPPORTED_ENCODING or "changed mid stream" in message:
            return Reject(RejectReason.UNSUPPORTED_FEATURE, message)
        return Reject(RejectReason.CORRUPT, message, offset_bytes=self._file.tell())


class FfmpegReader:
    """The first sound stream of a container, by FFmpeg on one thread.

    Args:
        source: the bytes.
        demuxers: the formats to allow.
        may_end_early: call an error at the end of the bytes an early end, not damage.
        origin_seconds: where given, sample 0 stands at this time of the container (the first video frame's): earlier
            sound is dropped, and silence put before later sound.
    """

    is_seekable = False

    def __init__(
        self,
        source: ByteSource,
        demuxers: tuple[str, ...],
        *,
        may_end_early: bool,
        origin_seconds: Fraction | None = None,
    ) -> None:
        self._file = WatchedFile(source)
        self._may_end_early = may_end_early
        self._container = open_container(self._file, demuxers)
        self._stream = _sound_stream(self._container)
        self._frames = self._decode()
        self._first = next(self._frames, None)
        context = self._stream.codec_context
        self.codec = context.codec.canonical_name
        self.sample_rate_hz = self._first.sample_rate if self._first else int(context.sample_rate or 0)
        self.num_channels = self._first.layout.nb_channels if self._first else int(context.layout.nb_channels)
        if self.num_channels > _MAX_FFMPEG_CHANNELS:
            raise Reject(RejectReason.UNSUPPORTED_FEATURE, f"{self.num_channels} channels; at most 8 in this format")
        self.num_declared = self._declared(source)
        self._num_to_drop = self._offset(origin_seconds)

    def blocks(self, first: int = 0) -> Iterator[NDArray[np.float32]]:
        """See SoundReader; what stands before `first` is decoded and dropped."""
        to_drop = self._num_to_drop + first
        if to_drop < 0:
            yield from _silence(-to_drop, self.num_channels)
        pending: list[NDArray[np.float32]] = []
        num_pending = num_read = 0
        for samples in self._samples():
            num_read += len(samples)
            kept = samples[max(0, to_drop) :]
            to_drop = max(0, to_drop - len(samples))
            pending.append(kept)
            num_pending += len(kept)
            if num_pending >= BLOCK_SAMPLES:
                yield np.concatenate(pending)
                pending, num_pending = [], 0
        if num_pending:
            yield np.concatenate(pending)
        self._check_length(num_read)

    def _samples(self) -> Iterator[NDArray[np.float32]]:
        """Yield the frames' samples; check that their form stays and that their time stamps do not jump."""
        frame, end = self._first, None
        while frame is not None:
            if (frame.sample_rate, frame.layout.nb_channels) != (self.sample_rate_hz, self.num_channels):
                raise Reject(RejectReason.UNSUPPORTED_FEATURE, "rate or channels change in the middle of the sound")
            if frame.pts is not None and frame.time_base is not None:
                start = frame.pts * frame.time_base
                if end is not None and abs(start - end) > _MAX_JUMP_SECONDS:
                    raise Reject(
                        RejectReason.CORRUPT, f"the sound jumps from {float(end):.3f} s to {float(start):.3f} s"
                    )
                end = start + Fraction(frame.samples, frame.sample_rate)
            yield _as_float(frame)
            frame = next(self._frames, None)

    def _decode(self) -> Iterator[AudioFrame]:
        with ffmpeg_errors(self._file):
            only(self._container, self._stream)
            context = self._stream.codec_context
            context.thread_count = 1
            context.flags |= av.codec.context.Flags.bitexact
        packets = self._container.demux(self._stream)
        while True:
            try:
                with ffmpeg_errors(self._file):
                    packet = next_packet(packets)
                    frames = [] if packet is None else decoded(packet)
            except Reject as reject:
                if self._may_end_early and reject.reason == RejectReason.CORRUPT and self._file.is_at_end:
                    raise EndsEarly(reject.message) from reject
                raise
            if packet is None:
                return
            yield from (frame for frame in frames if frame.samples)

    def _declared(self, source: ByteSource) -> int | None:
        """Return the samples that a header declares; FFmpeg's own guesses from the bit rate are none."""
        name, stream = self._container.format.name, self._stream
        is_stated = name.startswith("mov") or (name == "mp3" and _has_mp3_length(source))
        if not is_stated or not stream.duration or stream.duration < 0 or stream.time_base is None:
            return None
        return round(stream.duration * stream.time_base * self.sample_rate_hz)

    def _check_length(self, num_read: int) -> None:
        # Encoders' delay and padding are declared by some and cut off by others: up to two frames of 2,048 samples.
        if self.num_declared is not None and num_read + 4_096 + 0.01 * self.num_declared < self.num_declared:
            raise EndsEarly(f"{num_read} samples of {self.num_declared}")

    def _offset(self, origin_seconds: Fraction | None) -> int:
        """Return how many samples stand before the origin; negative where the sound begins after it."""
        frame = self._first
        if origin_seconds is None or frame is None or frame.pts is None or frame.time_base is None:
            return 0
        return round((origin_seconds - frame.pts * frame.time_base) * self.sample_rate_hz)


def _sound_stream(container: av.container.InputContainer) -> AudioStream:
    streams = container.streams.audio
    if not streams:
        raise Reject(RejectReason.NO_STREAM, "the container has no sound")
    if streams[0].codec_context is None:
        raise Reject(RejectReason.UNSUPPORTED_FEATURE, "no decoder for the sound")
    return streams[0]


def _as_float(frame: AudioFrame) -> NDArray[np.float32]:
    """Return the samples as float32 [n, channels], whatever their format and layout in memory.

    AudioFrame.to_ndarray is not used: from 8 channels on, it takes what stands behind the pointers for more planes.
    """
    num_channels = frame.layout.nb_channels
    dtype = np.dtype(format_dtypes[frame.format.name])
    planes: Any = frame.planes  # buffers; PyAV's stubs do not say so
    columns: NDArray[Any]
    if frame.format.is_planar:
        columns = np.stack([np.frombuffer(plane, dtype, frame.samples) for plane in planes[:num_channels]], axis=1)
    else:
        columns = np.frombuffer(planes[0], dtype, frame.samples * num_channels).reshape(-1, num_channels)
    full_scale = _FULL_SCALE.get(dtype.str[1:])
    if full_scale is None:
        return columns.astype(np.float32)
    floats = columns.astype(np.float64) / full_scale
    return (floats - 1.0 if dtype == np.uint8 else floats).astype(np.float32)


def _silence(num_samples: int, num_channels: int) -> Iterator[NDArray[np.float32]]:
    while num_samples > 0:
        yield np.zeros((min(num_samples, BLOCK_SAMPLES), num_channels), np.float32)
        num_samples -= BLOCK_SAMPLES


def _has_mp3_length(source: ByteSource) -> bool:
    """Return True where the first frame holds a table that states the length (Xing, Info or VBRI)."""
    frame = source.read(after_id3(source), 4_096)
    return any(name in frame for name in (b"Xing", b"Info", b"VBRI"))
