"""A block of memory that two processes see: how bytes cross the fence without being copied through a pipe."""

from __future__ import annotations

import fcntl
import mmap
import os

#: Pages beyond this are given back to the system once their content has been used.
KEPT_BYTES = 16 << 20
_PAGE_BYTES = mmap.PAGESIZE


class SharedBlock:
    """An anonymous file mapped into both processes; only its owner makes it grow, nobody can shrink it.

    The owner creates it; the other process attaches to its inherited descriptor. Growing is told over the channel:
    the other side then calls `attach_again`. A view of `memory` must not outlive the next growth.
    """

    def __init__(self, descriptor: int, num_bytes: int) -> None:
        self.descriptor = descriptor
        self.num_bytes = num_bytes
        self._map = mmap.mmap(descriptor, num_bytes)

    @classmethod
    def create(cls, name: str, num_bytes: int = 1 << 20) -> SharedBlock:
        """Return a new block of at least `num_bytes`, in whole pages."""
        descriptor = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        num_bytes = _whole_pages(num_bytes)
        os.ftruncate(descriptor, num_bytes)
        # A child that could shrink it would make its parent's next access a bus error.
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
        return cls(descriptor, num_bytes)

    @property
    def memory(self) -> mmap.mmap:
        """The bytes; slices copy, `memoryview` does not."""
        return self._map

    def grow(self, num_bytes: int) -> None:
        """Make the block hold at least `num_bytes`; its owner alone can do this."""
        if num_bytes > self.num_bytes:
            num_bytes = _whole_pages(max(num_bytes, 2 * self.num_bytes if num_bytes < KEPT_BYTES else num_bytes))
            os.ftruncate(self.descriptor, num_bytes)
            self.attach_again(num_bytes)

    def attach_again(self, num_bytes: int) -> None:
        """Map the block anew after its owner made it grow to `num_bytes`."""
        if num_bytes != self.num_bytes:
            self._map.close()
            self._map = mmap.mmap(self.descriptor, num_bytes)
            self.num_bytes = num_bytes

    def release(self) -> None:
        """Give back the memory beyond KEPT_BYTES; those bytes read as zeros from now on."""
        if self.num_bytes > KEPT_BYTES:
            self._map.madvise(mmap.MADV_REMOVE, KEPT_BYTES, self.num_bytes - KEPT_BYTES)

    def close(self) -> None:
        """Unmap the block and close its descriptor."""
        self._map.close()
        os.close(self.descriptor)


def _whole_pages(num_bytes: int) -> int:
    return -(-num_bytes // _PAGE_BYTES) * _PAGE_BYTES
