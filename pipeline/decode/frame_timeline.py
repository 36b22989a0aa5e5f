"""The presented frames of a video, by time: in one pass over ascending targets, by seeking where that saves decoding.

Times are microseconds from the first presented frame, rounded to the nearest. The frame of a target is the one that a
player shows then: the last whose time is not after it.

Containers that list their key frames (see FrameReader.is_indexed) are sampled by seeking, wherever the index has a
key frame between the frame at hand and the next target; all others are read in order. The first frame after a seek
must not be later than the target; else the seek is repeated further back, in doubled steps (MPEG-TS and open groups
of pictures overshoot).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from ..errors import Reject, RejectReason
from .bytes_source import ByteSource
from .container import EndsEarly
from .frame_reader import FrameReader, Tail, TimedFrame
from .limits import Limits

#: How long before the declared end the search for the last time stamp begins in a container without an index.
_TAIL_SECONDS = 3
#: The last frames of a file may be undecodable without the file being called truncated: so much of them.
_MAX_MISSING_TAIL_US = 200_000
_FIRST_STEP_BACK_US = 1_000_000
#: Containers without an index that find their end at a small cost, by halving.
_TAIL_FORMATS = frozenset({"mpegts", "mpeg", "ogg"})
#: So many packets tell a frame rate.
_MIN_TAIL_PACKETS = 8


@dataclass(slots=True)
class VideoCounters:
    """What decoding cost: frames decoded and used, seeks, and bytes that FFmpeg read (some of them twice)."""

    num_frames_decoded: int = 0
    num_frames_used: int = 0
    num_seeks: int = 0
    num_bytes_read: int = 0


class FrameTimeline:
    """A video opened, its first frame decoded and its end found.

    Args:
        source: the bytes.
        limits: enforced on headers and while decoding.
        may_end_early: as FrameReader.
        is_lenient: take a source that ends early as far as it goes, and set `is_truncated`.

    Raises:
        Reject: as FrameReader; `zero_duration` where no frame comes out, `truncated`, `limit_seconds`.
    """

    def __init__(self, source: ByteSource, limits: Limits, *, may_end_early: bool, is_lenient: bool) -> None:
        self._source = source
        self._limits = limits
        self._may_end_early = may_end_early
        self._is_lenient = is_lenient
        self.is_truncated = False
        self.counters = VideoCounters()
        reader = self._open()
        self.stream = reader.stream
        self.time_base = reader.time_base
        self.is_indexed = reader.is_indexed(source)
        first = self._next(reader)
        if first is None:
            raise Reject(RejectReason.ZERO_DURATION, "no frame came out")
        self.first = first
        self._start: tuple[FrameReader, TimedFrame] | None = (reader, first)
        tail = self._read_tail()
        #: Time of the last frame, from the packets at the end of the container; 0 for a single frame.
        self.end_us = self._end(tail)
        self.frame_rate = self._frame_rate(tail)

    def us(self, stamp: int) -> int:
        """Return the time of a stamp, halves of a microsecond rounded up."""
        base = self.time_base
        return ((stamp - self.first.stamp) * base.numerator * 2_000_000 + base.denominator) // (2 * base.denominator)

    def frames_at(self, targets_us: Iterable[int]) -> Iterator[tuple[int, TimedFrame]]:
        """Yield (target, frame presented at it) for ascending targets; the last frame for targets beyond it.

        Raises:
            Reject: as FrameReader.next; `truncated` where frames end before a target and before `end_us`.
        """
        reader, first = self._take_start()
        shown, ahead = first, self._next(reader)
        for target in targets_us:
            if ahead is not None and self._saves_decoding(ahead, target):
                reader, shown = self._jump(reader, target)
                ahead = self._next(reader)
            while ahead is not None and self.us(ahead.stamp) <= target:
                shown, ahead = ahead, self._next(reader)
            if ahead is None:
                self._check_end(shown, target)
            yield target, shown
        self._close(reader)

    def _open(self) -> FrameReader:
        return FrameReader(self._source, self._limits, may_end_early=self._may_end_early)

    def _take_start(self) -> tuple[FrameReader, TimedFrame]:
        """Return a reader that has just yielded the first frame: the one at hand, or another."""
        start, self._start = self._start, None
        if start is not None:
            return start
        reader = self._open()
        first = self._next(reader)
        if first is None:
            raise Reject(RejectReason.CORRUPT, "the first frame came out once, but not twice")
        return reader, first

    def _next(self, reader: FrameReader) -> TimedFrame | None:
        try:
            timed = reader.next()
        except EndsEarly as early:
            if not self._is_lenient:
                raise Reject(RejectReason.TRUNCATED, str(early)) from early
            self.is_truncated = True
            return None
        is_half = timed is not None and timed.frame.is_corrupt and self._may_end_early and reader.file.is_at_end
        if is_half and self._is_lenient:
            self.is_truncated = True
            return None
        return timed

    def _saves_decoding(self, ahead: TimedFrame, target_us: int) -> bool:
        place = int(np.searchsorted(self._key_stamps, self._stamp(target_us), side="right"))
        return place > 0 and int(self._key_stamps[place - 1]) > ahead.stamp

    def _jump(self, reader: FrameReader, target_us: int) -> tuple[FrameReader, TimedFrame]:
        """Return a reader and the frame that it has just yielded, which is not later than the target."""
        at_us, step_us = target_us, _FIRST_STEP_BACK_US
        while at_us > 0:
            self.counters.num_seeks += 1
            reader.seek(self._stamp(at_us))
            frame = self._next(reader)
            if frame is not None and self.us(frame.stamp) <= target_us:
                return reader, frame
            at_us, step_us = at_us - step_us, 2 * step_us
        self._close(reader)
        return self._take_start()

    def _check_end(self, last: TimedFrame, target_us: int) -> None:
        last_us = self.us(last.stamp)
        if not self._is_lenient and last_us + _MAX_MISSING_TAIL_US < min(target_us, self.end_us):
            raise Reject(
                RejectReason.TRUNCATED, f"frames end at {last_us / 1e6:.3f} s, packets at {self.end_us / 1e6:.3f} s"
            )

    def _read_tail(self) -> Tail:
        reader = self._open()
        tail = self._seek_and_read_tail(reader)
        # An index that is read late, as Matroska's is, is known only now.
        self._key_stamps = reader.key_stamps(self.first.stamp) if self.is_indexed else np.empty(0, np.int64)
        self._close(reader)
        if tail is None or tail.last_stamp is None:
            reader = self._open()
            tail = reader.tail()
            self._close(reader)
        if not tail.ends_well and self._may_end_early and not self._is_lenient:
            raise Reject(RejectReason.TRUNCATED, "the last packet is cut off")
        self.is_truncated |= not tail.ends_well
        return tail

    def _seek_and_read_tail(self, reader: FrameReader) -> Tail | None:
        """Return the packets from near the end; None where that is not known, or not cheaper than all of them."""
        if reader.duration_seconds is None or not (self.is_indexed or reader.format in _TAIL_FORMATS):
            return None
        tail_seconds = 0 if self.is_indexed else _TAIL_SECONDS
        near_end_us = int((reader.duration_seconds - tail_seconds) * 1_000_000)
        if near_end_us <= 0:
            return None
        try:
            reader.seek(self._stamp(near_end_us))
        except Reject:
            return None  # a container that cannot seek is read as a whole
        return reader.tail()

    def _end(self, tail: Tail) -> int:
        end_us = 0 if tail.last_stamp is None else max(0, self.us(tail.last_stamp))
        if end_us > self._limits.max_seconds * 1_000_000:
            raise Reject(RejectReason.LIMIT_SECONDS, f"{end_us / 1e6:.0f} s, max_seconds={self._limits.max_seconds:g}")
        return end_us

    def _frame_rate(self, tail: Tail) -> Fraction:
        """Return the declared frame rate, or the tail's where the two are far apart; 0 where neither is known."""
        declared = self.stream.average_rate or self.stream.guessed_rate or Fraction(0)
        if tail.num_packets < _MIN_TAIL_PACKETS or tail.first_stamp is None or tail.last_stamp is None:
            return declared
        found = (tail.num_packets - 1) / ((tail.last_stamp - tail.first_stamp) * self.time_base)
        return declared if found / 2 <= declared <= 2 * found else found.limit_denominator(1_001)

    def _stamp(self, us: int) -> int:
        return self.first.stamp + us * self.time_base.denominator // (self.time_base.numerator * 1_000_000)

    def _close(self, reader: FrameReader) -> None:
        self.counters.num_frames_decoded += reader.num_decoded
        self.counters.num_bytes_read += reader.file.num_bytes_read
        reader.close()
