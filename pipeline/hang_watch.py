"""A process that hangs on one source ends itself: what starts it again then sees a death like any other."""

from __future__ import annotations

import faulthandler
import time
from typing import Self

#: A source of many bytes may take longer: the slowest codecs do some ten times as many a second.
_BYTES_PER_SECOND = 2**20
#: Setting the clock costs as much as a small picture's label; nobody minds when a hang is seen a second later.
_MIN_INTERVAL_SECONDS = 1.0
_STDERR = 2


class HangWatch:
    """Ends this process when one source keeps it longer than `seconds` and a second a MiB; a context manager.

    It says on standard error where the process stood. A thread of C ends it, so that code which never gives the
    interpreter's lock back is ended, too. There is one such clock in a process. None never ends anything.
    """

    def __init__(self, seconds: float | None) -> None:
        self._seconds = seconds
        self._num_bytes = 0
        self._since = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.pause()

    def pause(self) -> None:
        """Watch nothing until a source is begun."""
        self._since = 0.0
        if self._seconds is not None:
            faulthandler.cancel_dump_traceback_later()

    def begin(self, num_bytes: int) -> None:
        """Watch a source of so many bytes from now on, instead of the one before."""
        if self._seconds is None:
            return
        now = time.monotonic()
        if now - self._since < _MIN_INTERVAL_SECONDS and num_bytes <= self._num_bytes:
            return
        self._since, self._num_bytes = now, num_bytes
        seconds = self._seconds + _MIN_INTERVAL_SECONDS + num_bytes / _BYTES_PER_SECOND
        faulthandler.dump_traceback_later(seconds, exit=True, file=_STDERR)
