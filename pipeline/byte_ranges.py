"""Part of an object as a source of bytes: ranged, and checked against the etag that was listed."""

from __future__ import annotations

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


class SparseBytes:
    """A source that is read forwards with jumps: headers between contents of any size.

    After a jump a small block is fetched, in a row a large one, so that large contents are never read and
    small ones cost few requests.
    """

    def __init__(self, source: RangedBytes) -> None:
        self._source = source
        self._block = b""
        self._block_start = 0
        self.num_bytes_fetched = 0

    @property
    def num_bytes(self) -> int:
        """Length of the source."""
        return self._source.num_bytes

    def read(self, offset: int, length: int) -> bytes:
        """Return bytes [offset, offset + length), cut at the end.

        Raises:
            Reject: more than 64 MiB at once, which no header needs; or the object is gone or has changed.
        """
        if length > MAX_READ_BYTES:
            message = f"a header claims {length} bytes, more than {MAX_READ_BYTES}"
            raise Reject(RejectReason.LIMIT_BYTES, message, stage=Stage.LIST, offset_bytes=offset)
        skip = offset - self._block_start
        if skip < 0 or skip + length > len(self._block):
            self._fetch(offset, length)
            skip = 0
        return self._block[skip : skip + length]

    def _fetch(self, offset: int, wanted: int) -> None:
        gap = offset - (self._block_start + len(self._block))
        is_jump = not self._block or not -JUMP_BYTES <= gap <= JUMP_BYTES
        length = max(wanted, JUMP_BLOCK_BYTES if is_jump else ROW_BLOCK_BYTES)
        self._block = self._source.read(offset, length)
        self._block_start = offset
        self.num_bytes_fetched += len(self._block)
