"""Calls to a fence's child, which is started, reused and replaced as need be; `Fence` puts media on top of it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from ..cpu_stages import StageClock
from ..errors import Reject, RejectReason
from .bytes_source import ByteSource, MemoryBytes
from .decoder_file import DecoderFile
from .fence_exchange import Exchange, Lost
from .fence_process import ChildProcess
from .fence_protocol import Answer, Message
from .limits import DecodeOptions, Limits

T = TypeVar("T")

#: An address space of this size holds interpreter, libraries and shared blocks; pictures come on top.
_BASE_MEMORY_BYTES = 1 << 30
_BYTES_PER_PIXEL = 20
#: A Ray worker with its imports, its row group and its decoder's interpreter and libraries: 300 to 350 MB measured.
_WORKER_AND_CHILD_BYTES = 400 << 20
#: Expected: under 9 s for the largest picture, under 1 s for each megabyte of the densest video. Twenty times that.
_HANG_SECONDS = 180.0
_HANG_SECONDS_PER_BYTE = 20e-6


def memory_bytes_for(limits: Limits) -> int:
    """Return the address space that lets every picture within `limits` decode; what is used is mostly far less."""
    return _BASE_MEMORY_BYTES + _BYTES_PER_PIXEL * limits.max_pixels + 2 * limits.max_image_bytes


def reserved_bytes_for(limits: Limits) -> int:
    """Return the memory that a worker and its child hold at most: what a scheduler must set aside for them.

    Of the child's address space the first gigabyte is mapped libraries, of which a tenth is ever touched.
    """
    return memory_bytes_for(limits) - _BASE_MEMORY_BYTES + _WORKER_AND_CHILD_BYTES


@dataclass(eq=False, slots=True)
class Opened:
    """A source that a child has opened, and all that is needed to open it again in another one."""

    function: str
    source: ByteSource
    args: Mapping[str, Any]
    answer: Answer = field(default_factory=Answer)

    @property
    def header(self) -> Message:
        """What the child said of the source."""
        return self.answer.header


class FenceCalls:
    """A child process and the calls to its handlers, by name; for the arguments see Fence."""

    def __init__(
        self,
        limits: Limits | None = None,
        options: DecodeOptions | None = None,
        *,
        memory_bytes: int | None = None,
        hang_seconds: float = _HANG_SECONDS,
        spool: Path | None = None,
        decoders: Mapping[str, str] | None = None,
        decoder_files: Sequence[DecoderFile] = (),
    ) -> None:
        self.limits = limits or Limits()
        self.options = options or DecodeOptions()
        self.memory_bytes = memory_bytes or memory_bytes_for(self.limits)
        self.spool = spool
        self._hang_seconds = hang_seconds
        self._decoders = dict(decoders or {})
        self.decoder_files = tuple(decoder_files)
        self._running: ChildProcess | None = None
        self._current: Opened | None = None
        self._peak_rss_bytes = 0
        self._ended_cpu_seconds = 0.0
        self._is_busy = False
        self.num_children = 0
        #: Of the thread that uses the fence; other stages of its work may be told to it too.
        self.clock = StageClock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> None:
        """Start the child without waiting for it, so that its imports overlap with other work."""
        if self._running is None or not self._running.is_alive():
            self._discard()
            self._running = ChildProcess(
                self.limits, self.options, self.memory_bytes, self._decoders, self.decoder_files
            )
            self.num_children += 1

    def close(self) -> None:
        """End the child; the next call would start another one."""
        self._discard()

    @property
    def pid(self) -> int | None:
        """Process id of the child, None where none runs."""
        return self._running.pid if self._running else None

    @property
    def peak_rss_bytes(self) -> int:
        """The most memory that a child of this fence has held at once."""
        if self._running:
            self._peak_rss_bytes = max(self._peak_rss_bytes, self._running.peak_rss_bytes())
        return self._peak_rss_bytes

    @property
    def cpu_seconds(self) -> float:
        """CPU time that the children of this fence have used."""
        return self._ended_cpu_seconds + (self._running.cpu_seconds() if self._running else 0.0)

    def open(self, function: str, data: ByteSource | bytes, *, max_bytes: int | None = None, **args: Any) -> Opened:
        """Let the handler `function` open a source; `ask` then works on what it keeps. Raises Reject."""
        opened = Opened(function, _as_source(data), args)
        self._check_bytes(opened.source, max_bytes)
        self._twice(lambda: self._open(opened))
        return opened

    def ask(self, opened: Opened, function: str, **args: Any) -> Answer:
        """Return what the handler `function` answers about an opened source; raises Reject.

        The source is opened again where the child has turned to another one since, or had to be replaced.
        """

        def attempt() -> Answer:
            return _only_answer(self._items(opened, function, args, is_new=False))

        return self._twice(attempt)

    def call(self, function: str, data: ByteSource | bytes, **args: Any) -> Answer:
        """Return the one answer of the handler `function` for a source. Raises Reject."""
        opened = Opened(function, _as_source(data), args)
        self._check_bytes(opened.source, None)
        return self._twice(lambda: self._open(opened))

    def call_once(self, function: str, data: ByteSource | bytes, **args: Any) -> Answer | None:
        """Return the one answer of the handler `function`; None where it has none, and nothing is tried again."""
        try:
            return self._open(Opened(function, _as_source(data), args))
        except (Reject, Lost):
            return None

    def stream(self, function: str, data: ByteSource | bytes | Opened, **args: Any) -> Generator[Answer, None, Answer]:
        """Yield the items that the handler `function` makes of a source; the generator returns its last answer.

        Given what `open` returned, it works on what is kept of that. A child that is lost on the way is replaced
        once: what was yielded before is then skipped. Raises Reject.
        """
        is_new = not isinstance(data, Opened)
        opened = data if isinstance(data, Opened) else Opened(function, _as_source(data), args)
        self._check_bytes(opened.source, None)
        num_yielded = 0
        for is_last_try in (False, True):
            items = _Items(self._items(opened, function, args, is_new=is_new))
            try:
                with contextlib.closing(iter(items)) as running:
                    for position, item in enumerate(running):
                        if position == num_yielded:
                            num_yielded += 1
                            yield item
            except Lost as lost:
                if is_last_try:
                    raise lost.reject from None
            else:
                return items.last
        raise AssertionError("the loop above returns or raises")

    def _items(
        self, opened: Opened, function: str, args: Mapping[str, Any], *, is_new: bool
    ) -> Generator[Answer, None, Answer]:
        self._check_idle()
        if not is_new:
            self.start()  # which forgets what a dead child had opened
            if self._current is not opened:
                self._open(opened)
        return (yield from self._exchange(opened, function, args, is_new=is_new))

    def _open(self, opened: Opened) -> Answer:
        answer = _only_answer(self._exchange(opened, opened.function, opened.args, is_new=True))
        opened.answer = answer
        self._current = opened
        return answer

    def _twice(self, attempt: Callable[[], T]) -> T:
        """Return what `attempt` returns; where it loses the child, try once more in a fresh one."""
        with contextlib.suppress(Lost):
            return attempt()
        try:
            return attempt()
        except Lost as lost:
            raise lost.reject from None

    def _exchange(
        self, opened: Opened, function: str, args: Mapping[str, Any], *, is_new: bool
    ) -> Generator[Answer, None, Answer]:
        """Run one request in a child that is started if need be, and is gone where it did not come to its end."""
        self._check_idle()
        child = self._ready_child() if is_new or self._running is None else self._running
        exchange = Exchange(
            child,
            opened.source,
            max_compute_seconds=self._hang_seconds + _HANG_SECONDS_PER_BYTE * opened.source.num_bytes,
            max_output_bytes=self.limits.max_output_bytes,
            clock=self.clock,
        )
        self._is_busy = True
        try:
            return (yield from exchange.run(function, args, is_new=is_new))
        finally:
            self._is_busy = False
            if not exchange.is_complete:
                self._discard()

    def _check_idle(self) -> None:
        if self._is_busy:
            raise RuntimeError("the fence is in the middle of a stream: exhaust or close that first")

    def _check_bytes(self, source: ByteSource, max_bytes: int | None) -> None:
        max_bytes = max_bytes or self.limits.max_source_bytes
        if source.num_bytes == 0:
            raise Reject(RejectReason.EMPTY, "0 bytes")
        if source.num_bytes > max_bytes:
            raise Reject(RejectReason.LIMIT_BYTES, f"{source.num_bytes} bytes > {max_bytes}")

    def _ready_child(self) -> ChildProcess:
        """Return a child that is ready for a new source."""
        self._current = None
        self.start()
        child = self._running
        assert child is not None  # noqa: S101 - start() set it
        child.wait_until_ready()
        child.read_words()  # what earlier sources made it write
        return child

    def _discard(self) -> None:
        if self._running:
            self._peak_rss_bytes = self.peak_rss_bytes
            self._ended_cpu_seconds += self._running.cpu_seconds()
            self._running.kill()
        self._running = None
        self._current = None


def _as_source(data: ByteSource | bytes) -> ByteSource:
    return MemoryBytes(data) if isinstance(data, bytes) else data


class _Items:
    """An iterable over a generator that keeps what the generator returned in `last`."""

    def __init__(self, items: Generator[Answer, None, Answer]) -> None:
        self._items = items
        self.last = Answer()

    def __iter__(self) -> Generator[Answer, None, None]:
        self.last = yield from self._items


def _only_answer(items: Generator[Answer, None, Answer]) -> Answer:
    """Return the last answer of a handler that yields no items."""
    try:
        next(items)
    except StopIteration as stop:
        answer: Answer = stop.value
        return answer
    items.close()
    raise TypeError("this handler yields items: use `stream`")
