"""Frames of one video stream in the order of presentation, by FFmpeg on one thread; with seeks."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
from av.packet import Packet
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from ..errors import Reject, RejectReason
from .bytes_source import ByteSource
from .container import (
    VIDEO_DEMUXERS,
    EndsEarly,
    WatchedFile,
    decoded,
    ffmpeg_errors,
    next_packet,
    only,
    open_container,
)
from .limits import Limits

#: Damaged packets that are passed over before the first frame: a stream cut out of a broadcast begins with them.
_MAX_LEADING_ERRORS = 300
_CUES = b"\x1c\x53\xbb\x6b"
#: Where Matroska's list of contents stands, which names the index (cues).
_CONTENTS_BYTES = 1 << 14


@dataclass(frozen=True, slots=True)
class TimedFrame:
    """A decoded frame and its time stamp in units of the stream's time base."""

    stamp: int
    frame: VideoFrame


@dataclass(frozen=True, slots=True)
class Tail:
    """The packets of a stretch that reaches to the end: stamps of the first and last shown, their number."""

    first_stamp: int | None
    last_stamp: int | None
    num_packets: int
    #: False where the container cannot be read up to its end.
    ends_well: bool


class FrameReader:
    """Decodes the first video stream that is not a cover picture.

    Time stamps increase strictly from frame to frame; a frame that has none, or an earlier one, is not presented.

    Args:
        source: the bytes.
        limits: enforced on the header and on every frame.
        may_end_early: call an error at the end of the bytes an early end, not damage.

    Raises:
        Reject: `no_stream`, `unsupported_feature`, `limit_pixels`, and as open_container.
    """

    def __init__(self, source: ByteSource, limits: Limits, *, may_end_early: bool) -> None:
        self._limits = limits
        self._may_end_early = may_end_early
        self.file = WatchedFile(source)
        self._container = open_container(self.file, VIDEO_DEMUXERS)
        self.stream = _video_stream(self._container)
        with ffmpeg_errors(self.file):
            self._configure()
        self._check_size(self.stream.codec_context.width, self.stream.codec_context.height)
        #: FFmpeg's name of the demuxer: mov, matroska, avi, mpegts, ...
        self.format = self._container.format.name.partition(",")[0]
        self._has_presentation_stamps = self.format != "avi"
        self.num_decoded = 0
        self._last: int | None = None
        self._frames = self._decode()

    @property
    def time_base(self) -> Fraction:
        """Seconds a unit of the time stamps."""
        return self.stream.time_base or Fraction(1, 1_000_000)

    @property
    def duration_seconds(self) -> Fraction | None:
        """What the container declares or FFmpeg estimates, for all of its streams; None where it is not known."""
        if self.stream.duration:
            return self.stream.duration * self.time_base
        return Fraction(self._container.duration, av.time_base) if self._container.duration else None

    def is_indexed(self, source: ByteSource) -> bool:
        """Return whether the container lists its key frames, so that a seek reads and decodes little.

        MP4 and MOV with one table for all frames (not fragmented), Matroska and WebM with cues, AVI with an index and
        without B frames (AVI has no presentation times).
        """
        stream = self.stream
        if self.format == "mov":
            return 0 < stream.frames <= len(stream.index_entries)
        if self.format == "matroska":
            return _CUES in source.read(0, _CONTENTS_BYTES)
        return self.format == "avi" and len(stream.index_entries) > 1 and not stream.codec_context.has_b_frames

    def next(self) -> TimedFrame | None:
        """Return the next presented frame, None at the end.

        Raises:
            Reject: `corrupt`, `unsupported_feature`, `limit_frames`, `limit_seconds`, `limit_pixels`.
            EndsEarly: where the source ends within a frame.
        """
        for timed in self._frames:
            if self._last is None or timed.stamp > self._last:
                self._last = timed.stamp
                return timed
        return None

    def seek(self, stamp: int) -> None:
        """Go to the key frame that the container's index has at or before `stamp`; it may be a later one.

        Raises Reject where the container cannot seek.
        """
        with ffmpeg_errors(self.file):
            self._container.seek(stamp, stream=self.stream, backward=True)
        self._last = None
        self._frames = self._decode()

    def tail(self) -> Tail:
        """Return what the packets from here to the end say, without decoding; hidden ones do not count."""
        first: int | None = None
        last: int | None = None
        num_packets = 0
        ends_well = True
        packets = self._container.demux(self.stream)
        while True:
            try:
                with ffmpeg_errors(self.file):
                    packet = next_packet(packets)
            except Reject:
                return Tail(first, last, num_packets, ends_well=False)
            if packet is None:
                return Tail(first, last, num_packets, ends_well)
            if not packet.size:
                continue
            # A packet that the end of the bytes cuts off; in MPEG-TS the mark means a lost packet before.
            ends_well = not (packet.is_corrupt and self.format == "mov")
            stamp = self._stamp(packet)
            if stamp is not None and ends_well and not packet.is_discard:
                num_packets += 1
                first = stamp if first is None else min(first, stamp)
                last = stamp if last is None else max(last, stamp)

    def close(self) -> None:
        """Free what FFmpeg holds; frames that were returned stay valid."""
        self._frames.close()
        self._container.close()

    def key_stamps(self, first_stamp: int) -> NDArray[np.int64]:
        """Return the time stamps of the key frames in the container's index, int64, ascending.

        MP4 lists times of decoding: they are moved by as much as the first is before `first_stamp`.
        """
        stamps = np.sort(
            np.fromiter((one.timestamp for one in self.stream.index_entries if one.is_keyframe), np.int64)
        )
        lists_decoding_times = self.format == "mov" and len(stamps) > 0
        return stamps + max(0, first_stamp - int(stamps[0])) if lists_decoding_times else stamps

    def _configure(self) -> None:
        only(self._container, self.stream)
        context = self.stream.codec_context
        context.thread_count = 1
        context.thread_type = "NONE"
        context.flags |= av.codec.context.Flags.bitexact
        context.options = {"max_pixels": str(self._limits.max_pixels)}

    def _decode(self) -> Generator[TimedFrame, None, None]:
        packets = self._container.demux(self.stream)
        errors: list[Reject] | None = []  # those before the first frame; None once one has come out
        while True:
            try:
                with ffmpeg_errors(self.file):
                    packet = next_packet(packets)
                    frames = [] if packet is None else decoded(packet)
            except Reject as reject:
                if errors is None or len(errors) == _MAX_LEADING_ERRORS or reject.reason != RejectReason.CORRUPT:
                    raise self._fault(reject) from reject
                errors.append(reject)
                continue
            if packet is None:
                break
            for frame in frames:
                errors = None
                self._count(frame)
                stamp = self._stamp(frame)
                if stamp is not None:
                    yield TimedFrame(stamp, frame)
        if errors:
            raise self._fault(errors[-1])

    def _fault(self, reject: Reject) -> Exception:
        if self._may_end_early and reject.reason == RejectReason.CORRUPT and self.file.is_at_end:
            return EndsEarly(reject.message)
        return reject

    def _stamp(self, timed: VideoFrame | Packet[VideoStream]) -> int | None:
        """Return the presentation time; AVI has the times of decoding alone, which its frames come out with."""
        if self._has_presentation_stamps and timed.pts is not None:
            return timed.pts
        return timed.dts if timed.dts is not None else timed.pts

    def _count(self, frame: VideoFrame) -> None:
        self.num_decoded += 1
        if self.num_decoded > self._limits.max_frames:
            raise Reject(RejectReason.LIMIT_FRAMES, f"more than max_frames={self._limits.max_frames}")
        self._check_size(frame.width, frame.height)

    def _check_size(self, width_px: int, height_px: int) -> None:
        limits = self._limits
        if width_px * height_px > limits.max_pixels or max(width_px, height_px) > limits.max_side_px:
            raise Reject(
                RejectReason.LIMIT_PIXELS,
                f"{width_px} x {height_px} px, max_pixels={limits.max_pixels}, max_side_px={limits.max_side_px}",
            )


def _video_stream(container: av.container.InputContainer) -> VideoStream:
    streams = [one for one in container.streams.video if not one.disposition & Disposition.attached_pic]
    if not streams:
        raise Reject(RejectReason.NO_STREAM, "the container has no video")
    if streams[0].codec_context is None:
        raise Reject(RejectReason.UNSUPPORTED_FEATURE, "no decoder for the video")
    return streams[0]
