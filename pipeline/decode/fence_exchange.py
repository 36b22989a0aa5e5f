"""One request to a fence's child and all that follows from it, as the parent sees it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Generator, Mapping
from typing import Any

from ..cpu_stages import StageClock
from ..errors import Reject, RejectReason
from .bytes_source import ByteSource, MemoryBytes
from .fence_process import ChildProcess
from .fence_protocol import Answer, ChannelClosed, Message, take_arrays

#: Sources in memory up to this size are handed over at once; others, and larger ones, in the blocks they are read by.
INLINE_BYTES = 64 << 20


class Lost(Exception):
    """The child cannot be used any more; `reject` is the verdict on the source if it happens again."""

    def __init__(self, reason: RejectReason, message: str) -> None:
        super().__init__(message)
        self.reject = Reject(reason, message)


class Exchange:
    """One request, run once.

    Args:
        child: a child that is ready and idle.
        source: what the child may read.
        max_compute_seconds: the child hangs if it has the turn for longer than this in all; the parent's own turns,
            such as a read from a slow store, do not count.
        max_output_bytes: the answers' arrays may hold this much in all.
        clock: is told when the caller's thread is at work here, stage `fence`.

    `is_complete` turns True when the child has said its last word and waits for the next request.
    """

    def __init__(
        self,
        child: ChildProcess,
        source: ByteSource,
        *,
        max_compute_seconds: float,
        max_output_bytes: int,
        clock: StageClock,
    ) -> None:
        self._clock = clock
        self._child = child
        self._source = source
        self._seconds_left = max_compute_seconds
        self._output_bytes_left = max_output_bytes
        self.is_complete = False

    def run(self, function: str, args: Mapping[str, Any], *, is_new: bool) -> Generator[Answer, None, Answer]:
        """Yield the items that the child hands over and return its last answer.

        `is_new`: let the child turn to the source; otherwise the request is about what it keeps of it.
        Raises Lost, Reject and whatever the source raises.
        """
        around = self._clock.enter("fence")
        try:
            return (yield from self._run(function, args, around, is_new=is_new))
        finally:
            self._clock.enter(around)

    def _run(
        self, function: str, args: Mapping[str, Any], around: str, *, is_new: bool
    ) -> Generator[Answer, None, Answer]:
        message = self._ask({"do": function, "args": dict(args), "source": self._hand_over() if is_new else None})
        while True:
            match message.get("is"):
                case "need":
                    message = self._ask(self._read(message))
                case "grow":
                    message = self._ask(self._grow(message))
                case "item":
                    answer = self._answer(message)
                    try:
                        self._clock.enter(around)
                        yield answer
                        self._clock.enter("fence")
                    except GeneratorExit:
                        with contextlib.suppress(Lost):
                            self._ask({"go": "stop"})
                            self.is_complete = True
                        raise
                    message = self._ask({"go": "next"})
                case "done":
                    answer = self._answer(message)
                    self.is_complete = True
                    return answer
                case "reject":
                    raise self._rejected(message)
                case _:
                    raise _nonsense(message)

    def _ask(self, message: Message) -> Message:
        """Give the child the turn and return what it says."""
        started = time.monotonic()
        try:
            self._child.channel.send(message)
            return self._child.channel.receive(max(self._seconds_left, 0.001))
        except TimeoutError:
            raise Lost(RejectReason.DECODER_HANG, "the decoder did not come to an end") from None
        except ChannelClosed:
            raise Lost(*self._child.died()) from None
        except (ValueError, RecursionError) as error:  # not JSON, or not an object, or absurdly nested
            raise _nonsense(str(error)) from None
        finally:
            self._seconds_left -= time.monotonic() - started

    def _hand_over(self) -> Message:
        num_bytes = self._source.num_bytes
        is_inline = isinstance(self._source, MemoryBytes) and num_bytes <= INLINE_BYTES
        if is_inline:
            self._put(self._source.read(0, num_bytes))
        return {"num_bytes": num_bytes, "is_inline": is_inline, "inbox_bytes": self._child.inbox.num_bytes}

    def _put(self, data: bytes) -> None:
        self._child.inbox.grow(len(data))
        self._child.inbox.memory[: len(data)] = data

    def _read(self, message: Message) -> Message:
        offset, length = message.get("offset"), message.get("length")
        if not isinstance(offset, int) or not isinstance(length, int) or offset < 0 or not 0 <= length <= INLINE_BYTES:
            raise _nonsense(message)
        data = self._source.read(offset, length)
        self._put(data)
        return {"num_bytes": len(data), "inbox_bytes": self._child.inbox.num_bytes}

    def _grow(self, message: Message) -> Message:
        num_bytes = message.get("num_bytes")
        if not isinstance(num_bytes, int):
            raise _nonsense(message)
        self._check_output(num_bytes)
        self._child.outbox.grow(num_bytes)
        return {"outbox_bytes": self._child.outbox.num_bytes}

    def _answer(self, message: Message) -> Answer:
        try:
            answer = Answer(dict(message["header"]), take_arrays(self._child.outbox, message["arrays"]))
        except (KeyError, ValueError, TypeError) as error:
            raise _nonsense(str(error)) from None
        num_bytes = sum(array.nbytes for array in answer.arrays)
        self._check_output(num_bytes)
        self._output_bytes_left -= num_bytes
        self._child.outbox.release()
        return answer

    def _check_output(self, num_bytes: int) -> None:
        if num_bytes > self._output_bytes_left:
            raise Reject(RejectReason.LIMIT_OUTPUT, "the source decodes to more bytes than allowed")

    def _rejected(self, message: Message) -> Exception:
        try:
            reason, text, offset = RejectReason(message["reason"]), str(message["message"]), message["offset_bytes"]
        except (KeyError, ValueError) as error:
            return _nonsense(str(error))
        if reason is RejectReason.DECODER_MEMORY:
            return Lost(reason, text)
        self.is_complete = True
        return Reject(reason, text, offset_bytes=offset if isinstance(offset, int) else None)


def _nonsense(said: object) -> Lost:
    return Lost(RejectReason.DECODER_CRASH, f"the decoder said what it never says: {str(said)[:200]}")
