"""Sound and video from behind a fence: blocks of samples to a Waveform, an opened video that answers requests."""

from __future__ import annotations

import dataclasses
import os
import tempfile
from collections.abc import Generator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import Reject, RejectReason
from ..items import Clip, ClipRequest, Document, VideoInfo, Waveform
from .fence_protocol import Answer, Message

if TYPE_CHECKING:
    from .fence_calls import FenceCalls, Opened

#: Longer sounds lie in an unlinked file: 16 MB are nine minutes at 16 kHz.
_MEMORY_BYTES = 16 << 20


class FencedVideo:
    """A video opened in a fence's child.

    `info` is known at once. `counters` (num_frames_decoded, num_frames_used, num_seeks, num_bytes_read) and
    `is_truncated` are those after the latest `clips`.
    """

    def __init__(self, fence: FenceCalls, opened: Opened) -> None:
        self._fence = fence
        self._opened = opened
        self.info = _video_info(opened.header)
        self.is_truncated = self.info.is_truncated
        self.counters: dict[str, int] = {}

    def clips(self, requests: Sequence[ClipRequest]) -> list[Clip]:
        """Return one clip a request, in their order, decoded in one pass; raises Reject as OpenVideo.clips."""
        if not requests:
            return []
        asked = [dataclasses.asdict(request) for request in requests]
        clips = list[Clip]()
        last = Answer()
        answers = self._fence.stream("video_clips", self._opened, requests=asked)
        for request in requests:
            clips.append(_clip(request, next(answers).arrays))
        try:
            next(answers)
        except StopIteration as stop:
            last = stop.value
        self.counters = {str(name): int(count) for name, count in last.header["counters"].items()}
        self.is_truncated = bool(last.header["is_truncated"])
        return clips

    def audio(self) -> Waveform:
        """Return the video's sound; sample 0 is presented together with the first frame.

        Raises Reject: `no_stream` for a silent film; else as audio.open_soundtrack.
        """
        return waveform_of(self._fence.stream("video_sound", self._opened), self._fence.spool, None)


class SpooledWaveform(Waveform):
    """A long sound in an unlinked file: `samples` maps it, `clip` reads it without mapping."""

    __slots__ = ("_file",)
    _file: IO[bytes]

    def clip(self, start: int, num_samples: int) -> NDArray[np.float32]:
        """Return samples [start, start + num_samples) as float32 in [-1, 1); raises IndexError as Waveform.clip."""
        if start < 0 or start + num_samples > len(self.samples):
            return super().clip(start, num_samples)  # which says what is wrong
        data = os.pread(self._file.fileno(), 2 * num_samples, 2 * start)
        return np.frombuffer(data, np.int16).astype(np.float32) / np.float32(32768.0)


def waveform_of(
    answers: Generator[Answer, None, Answer], spool: Path | None, part_us: tuple[int, int] | None
) -> Waveform:
    """Return the sound that a fence's `audio` or `video_sound` streams: its header, then blocks of samples."""
    header = next(answers).header
    samples = _Samples(spool)
    while True:
        try:
            (block,) = next(answers).arrays
        except StopIteration as stop:
            last: Answer = stop.value
            break
        samples.add(block)
    try:
        facts = {
            "media_kind": "audio",
            "codec": str(header["codec"]),
            "is_truncated": bool(last.header["is_truncated"]),
            "sample_rate_hz": int(header["rate_hz"]),
            "source_sample_rate_hz": int(header["sample_rate_hz"]),
            "num_channels": int(header["num_channels"]),
            "start_us": part_us[0] if part_us else 0,
        }
    except (KeyError, ValueError, TypeError) as error:
        raise nonsense(header) from error
    return samples.waveform(facts)


def documents_of(answers: Iterable[Answer]) -> Iterator[Document]:
    """Yield the documents that a fence's `documents` streams in batches."""
    for answer in answers:
        try:
            (array,) = answer.arrays
            data, begin = array.tobytes(), 0
            for start_byte, num_bytes in answer.header["documents"]:
                text = data[begin : begin + num_bytes].decode()
                begin += num_bytes
                yield Document(media_kind="text", codec="utf-8", text=text, start_byte=int(start_byte))
        except (KeyError, ValueError, TypeError) as error:
            raise nonsense(answer.header) from error


class _Samples:
    """Samples being collected: in memory, from a certain length on in a file."""

    def __init__(self, spool: Path | None) -> None:
        self._spool = spool
        self._blocks: list[NDArray[np.int16]] = []
        self._num_bytes = 0
        self._file: IO[bytes] | None = None

    def add(self, block: NDArray[Any]) -> None:
        if block.dtype != np.int16 or block.ndim != 1:
            raise nonsense(block.dtype)
        self._blocks.append(block)
        self._num_bytes += block.nbytes
        if self._file is None and self._num_bytes > _MEMORY_BYTES:
            self._file = tempfile.TemporaryFile(dir=self._spool)  # noqa: SIM115 - the waveform holds it
        if self._file is not None:
            for one in self._blocks:
                self._file.write(one.data)
            self._blocks.clear()

    def waveform(self, facts: dict[str, Any]) -> Waveform:
        if self._file is None:
            samples = np.concatenate(self._blocks) if self._blocks else np.empty(0, np.int16)
            samples.flags.writeable = False
            return Waveform(samples=samples, **facts)
        self._file.flush()
        waveform = SpooledWaveform(samples=np.memmap(self._file, np.int16, "r"), **facts)
        object.__setattr__(waveform, "_file", self._file)  # frozen, like every item
        return waveform


def nonsense(said: object) -> Reject:
    """Return the verdict where a child answers what no handler answers."""
    return Reject(RejectReason.DECODER_CRASH, f"the decoder answered with nonsense: {str(said)[:200]}")


_TYPES: dict[str, type] = {"str": str, "int": int, "bool": bool}


def _video_info(header: Message) -> VideoInfo:
    try:
        return VideoInfo(
            **{one.name: _TYPES[str(one.type)](header[one.name]) for one in dataclasses.fields(VideoInfo)}
        )
    except (KeyError, ValueError, TypeError) as error:
        raise nonsense(header) from error


def _clip(request: ClipRequest, arrays: Sequence[NDArray[Any]]) -> Clip:
    num_targets = len(request.targets_us)
    expected = [(num_targets, request.height_px, request.width_px, 3), (num_targets,), (num_targets,)]
    kinds = [np.dtype(np.uint8), np.dtype(np.int64), np.dtype(np.int8)]
    if [array.shape for array in arrays] != expected or [array.dtype for array in arrays] != kinds:
        raise nonsense([array.shape for array in arrays])
    frames, pts_us, pict_types = arrays
    return Clip(request=request, frames=frames, pts_us=pts_us, pict_types=pict_types)
