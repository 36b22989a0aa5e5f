"""Part of an object as a source of bytes: ranged, and checked against the etag that was listed."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager

from .errors import Changed, NotFound, Reject, RejectReason, Stage
from .storage import Store

#: A gap wider than this is jumped over with a request of its own; a narrower one is cheaper to read through.
JUMP_BYTES = 1 << 20
#: Read at a jump's end, where a header may be all that is wanted, and in a row, where everything is.
JUMP_BLOCK_BYTES = 64 << 10
ROW_BLOCK_BYTES = 4 << 20
#: A single read of a header that claims more is refused.
MAX_READ_BYTES = 64 << 20


@contextmanager
def rejecting() -> Iterator[None]:
    """Turn the two store errors that concern one source alone into its reject."""
    try:
        yield
    except NotFound as error:
        raise Reject(RejectReason.MISSING, str(error), stage=Stage.READ) from error
    except Changed as error:
        raise Reject(RejectReason.CHANGED, str(error), stage=Stage.READ) from error


class RangedBytes:
    """Bytes [offset, offset + num_bytes) of an object.

    Args:
        store: where the object is.
        key: the object.
        offset: where the source starts in it.
        num_bytes: length of the source.
        etag: as listed; "" compares nothing.
    """

    def __init__(self, store: Store, key: str, offset: int, num_bytes: int, etag: str) -> None:
        self._store = store
        self._key = key
        self._offset = offset
        self._num_bytes = num_bytes
        self._etag = etag
        #: How many bytes were asked of the store until now, those asked for twice counted twice.
        self.num_bytes_fetched = 0

    @property
    def num_bytes(self) -> int:
        """Length of the source."""
        return self._num_bytes

    def read(self, offset: int, length: int) -> bytes:
        """Return bytes [offset, offset + length) of the source, cut at its end: one request.

        Raises:
            Reject: the object is gone or has changed (stage read).
            StoreError: the store failed otherwise.
        """
        length = min(length, self._num_bytes - offset)
        if length <= 0:
            return b""
        self.num_bytes_fetched += length
        with rejecting():
            return self._store.get_range(self._key, self._offset + offset, length, self._etag)


class SparseFile(io.RawIOBase):
    """A seekable file over a source that is read forwards with jumps: headers between contents of any size.

    After a jump a small block is fetched, in a row a large one, so that large contents are never read and
    small ones cost few requests.
    """

    def __init__(self, source: RangedBytes) -> None:
        super().__init__()
        self._source = source
        self._position = 0
        self._block = b""
        self._block_start = 0
        self.num_bytes_fetched = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position in bytes."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to `offset` from start, position or end."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._source.num_bytes}[whence]
        self._position = max(0, base + offset)
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        """Return up to `size` bytes from the position on, all of the rest where it is negative or None.

        Raises:
            Reject: more than 64 MiB at once, which no header needs; or the object is gone or has changed.
        """
        left = max(0, self._source.num_bytes - self._position)
        wanted = left if size is None or size < 0 else min(size, left)
        if wanted > MAX_READ_BYTES:
            message = f"a header claims {wanted} bytes, more than {MAX_READ_BYTES}"
            raise Reject(RejectReason.LIMIT_BYTES, message, stage=Stage.LIST, offset_bytes=self._position)
        skip = self._position - self._block_start
        if skip < 0 or skip + wanted > len(self._block):
            self._fetch(wanted)
            skip = 0
        data = self._block[skip : skip + wanted]
        self._position += len(data)
        return data

    def readall(self) -> bytes:
        """Return the rest."""
        return self.read(-1)

    def _fetch(self, wanted: int) -> None:
        gap = self._position - (self._block_start + len(self._block))
        is_jump = not self._block or not -JUMP_BYTES <= gap <= JUMP_BYTES
        length = max(wanted, JUMP_BLOCK_BYTES if is_jump else ROW_BLOCK_BYTES)
        self._block = self._source.read(self._position, length)
        self._block_start = self._position
        self.num_bytes_fetched += len(self._block)
