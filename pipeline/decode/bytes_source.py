"""Random access to the bytes of a source, and the nameless file that decoders are given.

Decoders never see a path or a key: a name alone makes FFmpeg follow playlists and protocols.
"""

from __future__ import annotations

import io
from collections import OrderedDict
from typing import Protocol


class ByteSource(Protocol):
    """The bytes of one source, whole in memory or fetched in ranges."""

    @property
    def num_bytes(self) -> int:
        """Length of the source."""

    def read(self, offset: int, length: int) -> bytes:
        """Return bytes [offset, offset + length), fewer only where the source ends first.

        Raises what the store raises where the bytes cannot be had.
        """


class MemoryBytes:
    """A source that is in memory."""

    def __init__(self, data: bytes | memoryview) -> None:
        self._data = memoryview(data).cast("B")

    @property
    def num_bytes(self) -> int:
        """Length of the source."""
        return len(self._data)

    def read(self, offset: int, length: int) -> bytes:
        """Return bytes [offset, offset + length), cut at the end."""
        return bytes(self._data[offset : offset + length])


class Blocks:
    """A source read in large aligned blocks, the latest of which are kept: few requests, whatever a decoder does.

    Args:
        source: where the blocks come from.
        block_bytes: size and alignment of a block.
        num_kept: how many blocks stay in memory.
    """

    def __init__(self, source: ByteSource, *, block_bytes: int = 1 << 20, num_kept: int = 8) -> None:
        if block_bytes < 1 or num_kept < 1:
            raise ValueError("block_bytes and num_kept must be at least 1.")
        self._source = source
        self._block_bytes = block_bytes
        self._num_kept = num_kept
        self._kept: OrderedDict[int, bytes] = OrderedDict()
        self.num_bytes_fetched = 0

    @property
    def num_bytes(self) -> int:
        """Length of the source."""
        return self._source.num_bytes

    def read(self, offset: int, length: int) -> bytes:
        """Return bytes [offset, offset + length), cut at the end."""
        end = min(offset + length, self.num_bytes)
        pieces = []
        while offset < end:
            number, skip = divmod(offset, self._block_bytes)
            piece = self._block(number)[skip : skip + end - offset]
            if not piece:
                break  # the source is shorter than it said
            pieces.append(piece)
            offset += len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _block(self, number: int) -> bytes:
        if number in self._kept:
            self._kept.move_to_end(number)
            return self._kept[number]
        block = self._source.read(number * self._block_bytes, self._block_bytes)
        self.num_bytes_fetched += len(block)
        self._kept[number] = block
        if len(self._kept) > self._num_kept:
            self._kept.popitem(last=False)
        return block


class NamelessFile(io.RawIOBase):
    """A seekable binary file over a source; it has no name that a decoder could act upon."""

    def __init__(self, source: ByteSource) -> None:
        super().__init__()
        self._source = source
        self._position = 0

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
        """Move to `offset` from start, position or end; raises ValueError before the start."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._source.num_bytes}[whence]
        if base + offset < 0:
            raise ValueError(f"seek to {base + offset}, before the start")
        self._position = base + offset
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        """Return up to `size` bytes from the position on, all of the rest where it is negative or None."""
        left = max(0, self._source.num_bytes - self._position)
        data = self._source.read(self._position, left if size is None or size < 0 else min(size, left))
        self._position += len(data)
        return data

    def readall(self) -> bytes:
        """Return the rest."""
        return self.read(-1)

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]  # a Buffer in typeshed
        """Fill `buffer` as far as the source goes; return the number of bytes."""
        view = memoryview(buffer).cast("B")
        data = self.read(len(view))
        view[: len(data)] = data
        return len(data)
