"""Opening containers of sound and video with FFmpeg, from bytes alone.

Formats are told by content, never by name. FFmpeg gets a file without a name, an empty list of protocols and a short
list of demuxers, so that playlists, concatenation scripts, session descriptions and subtitles cannot make it open
anything else.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import av
import av.subtitles.stream  # PyAV would import it when it meets one: a file read in a process that may read none
from av.container import InputContainer
from av.packet import Packet
from av.stream import Discard, Stream

from ..errors import Reject, RejectReason
from .bytes_source import ByteSource, NamelessFile
from .limits import Limits
from .sniff import sniff

#: FFmpeg's demuxers for video; `mov` is the one for mp4, mov, m4v and 3gp, `matroska` the one for mkv and webm.
VIDEO_DEMUXERS = ("mov", "matroska", "avi", "mpegts", "mpeg", "flv", "ogg", "asf")
#: FFmpeg's demuxers for sound; WAV and FLAC are libsndfile's.
AUDIO_DEMUXERS = ("mov", "matroska", "ogg", "mp3", "aac")

#: What sniff() calls the formats of these demuxers.
_ALLOWED_NAMES = frozenset({"mp4", "matroska", "avi", "mpeg", "flv", "ogg", "asf", "mp3"})
_BUFFER_BYTES = 1 << 16
#: FFmpeg may decode a frame of up to this size to learn what a stream is, so that a verdict can name its size.
_MAX_PROBE_PIXELS = 100_000_000
_EINVAL = 22
_UNSUPPORTED = (
    av.error.PatchWelcomeError,
    av.error.DecoderNotFoundError,
    av.error.NotImplementedError,
    av.error.ExperimentalError,
)


class EndsEarly(Exception):
    """The source ends before its sound or its frames do; what was decoded until here is sound."""


def after_id3(source: ByteSource) -> int:
    """Return the number of bytes of the ID3v2 tag that the source begins with; 0 without one."""
    head = source.read(0, 10)
    if len(head) < 10 or head[:3] != b"ID3":
        return 0
    return 10 + sum((byte & 0x7F) << shift for byte, shift in zip(head[6:], (21, 14, 7, 0), strict=True))


class WatchedFile(NamelessFile):
    """A nameless file for decoders written in C: it never raises into them, but remembers what went wrong.

    C code takes an exception in a callback for the end of the file, at best; so a failed read looks like the end, and
    `check` raises what happened.
    """

    def __init__(self, source: ByteSource) -> None:
        super().__init__(source)
        self.num_bytes = source.num_bytes
        self.num_bytes_read = 0
        self._failure: Exception | None = None

    def read(self, size: int | None = -1) -> bytes:
        """Return up to `size` bytes; nothing after a failure."""
        if self._failure is not None:
            return b""
        try:
            data = super().read(size)
        except Exception as error:  # noqa: BLE001 - kept for check(): whatever the source raises must not enter C
            self._failure = error
            return b""
        self.num_bytes_read += len(data)
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move; return -1, as C does, and stay where the target lies before the start."""
        try:
            return super().seek(offset, whence)
        except ValueError:
            return -1

    @property
    def is_at_end(self) -> bool:
        """True where everything up to the end has been read."""
        return self.tell() >= self.num_bytes

    def check(self) -> None:
        """Raise what a read has raised, if one did."""
        if self._failure is not None:
            raise self._failure


def check_size(source: ByteSource, limits: Limits) -> None:
    """Raise Reject where the source is empty or larger than the limits allow."""
    if source.num_bytes == 0:
        raise Reject(RejectReason.EMPTY, "the object has no bytes")
    if source.num_bytes > limits.max_source_bytes:
        raise Reject(
            RejectReason.LIMIT_BYTES,
            f"{source.num_bytes} bytes are more than max_source_bytes={limits.max_source_bytes}",
        )


@contextmanager
def ffmpeg_errors(file: WatchedFile) -> Iterator[None]:
    """Turn FFmpeg's errors into Reject (`corrupt` or `unsupported_feature`), and failed reads into what they raised.

    MemoryError passes: it depends on the machine, not on the bytes.
    """
    try:
        yield
    except MemoryError:
        raise
    except av.FFmpegError as error:
        file.check()
        unsupported = isinstance(error, _UNSUPPORTED)
        reason = RejectReason.UNSUPPORTED_FEATURE if unsupported else RejectReason.CORRUPT
        raise Reject(reason, _message(error), offset_bytes=file.tell()) from error
    file.check()


@contextmanager
def ffmpeg_conversion() -> Iterator[None]:
    """Turn an error of FFmpeg's pixel conversion into Reject (`unsupported_feature`)."""
    try:
        yield
    except MemoryError:
        raise
    except av.FFmpegError as error:
        raise Reject(RejectReason.UNSUPPORTED_FEATURE, f"pixel format: {_message(error)}") from error


def _message(error: av.FFmpegError) -> str:
    return f"FFmpeg: {error.strerror or error}"


def open_container(file: WatchedFile, demuxers: tuple[str, ...]) -> InputContainer:
    """Return the opened container, its format being one of `demuxers`.

    Raises:
        Reject: `format_not_allowed` for a format outside of `demuxers`, `corrupt` for one of them that does not open,
            `unidentified` where neither FFmpeg nor the magic numbers tell a format.
    """
    options = {"protocol_whitelist": "none", "format_whitelist": ",".join(demuxers)}
    with ffmpeg_errors(file):
        try:
            # The options also reach the decoders that FFmpeg probes streams with.
            return av.open(
                file,
                mode="r",
                container_options=options,
                options={"max_pixels": str(_MAX_PROBE_PIXELS), "threads": "1"},
                metadata_errors="replace",
                buffer_size=_BUFFER_BYTES,
            )
        except av.error.ArgumentError as error:
            file.check()
            if error.errno != _EINVAL:
                raise
            # FFmpeg's answer to a format that is known, but not on the list.
            message = f"FFmpeg knows this format, but it is none of {', '.join(demuxers)}"
            raise Reject(RejectReason.FORMAT_NOT_ALLOWED, message) from error
        except (av.error.InvalidDataError, av.error.EOFError) as error:
            file.check()
            raise Reject(_why_not_opened(file), _message(error)) from error


def _why_not_opened(file: WatchedFile) -> RejectReason:
    file.seek(0)
    name = sniff(file.read(512))
    if name is None:
        return RejectReason.UNIDENTIFIED
    return RejectReason.CORRUPT if name in _ALLOWED_NAMES else RejectReason.FORMAT_NOT_ALLOWED


def next_packet(packets: Iterator[Packet[Any]]) -> Packet[Any] | None:
    """Return the demuxer's next packet, None after the last; the one before the last is empty and drains the decoder.

    PyAV raises IndexError at the end of a container in which a stream has turned up after it was opened.
    """
    try:
        return next(packets, None)
    except IndexError:
        return None


def decoded(packet: Packet[Any]) -> list[Any]:
    """Return the frames that come out with a packet; raises Reject where it is encrypted."""
    if packet.has_sidedata("encryption_info"):
        raise Reject(RejectReason.UNSUPPORTED_FEATURE, "the stream is encrypted")
    return packet.decode()


def only(container: InputContainer, stream: Stream) -> None:
    """Make the demuxer skip the packets of every other stream."""
    for other in container.streams:
        if other.index != stream.index:
            other.discard = Discard.all
