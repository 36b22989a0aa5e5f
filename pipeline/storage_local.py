"""A folder as an object store, by plain file operations.

obstore's local store is not used: it leaves out names that end in `#<digits>` without a word, fails on a
newline in a name and on a looping link, and costs more than `open` for small files.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import re
import secrets
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from .errors import AlreadyExists, Changed, NotFound, PermissionDenied, StoreError
from .pooled_memory import read_pooled
from .storage import ObjectInfo, Page, PendingWrite, Store, check_range, check_unchanged

#: Names (behind the last slash) of files that are being written; a listing leaves them out.
TEMPORARY = re.compile(r"(?:.*/)?\.[0-9a-f]{16}\.unlabeled-tmp", re.DOTALL)
PAGE_KEYS = 1000


@dataclass(frozen=True, slots=True)
class LocalStore(Store):
    """The folder `root` (an absolute path) as a store. It need not exist until something is written.

    Links are followed, each folder once at most on the way down, so that a loop ends.
    """

    root: str

    @property
    def uri(self) -> str:
        """The folder's absolute path."""
        return self.root

    @property
    def is_local(self) -> bool:
        """Always True."""
        return True

    def list(self, prefix: str = "") -> Iterator[Page]:
        """See `Store.list`. A name that is not UTF-8, a dangling link and a pipe are unsupported."""
        page: Page = []
        for info in _walk(self._path(prefix.rstrip("/")), prefix.rstrip("/")):
            if is_temporary(info.key):
                continue
            page.append(info)
            if len(page) == PAGE_KEYS:
                yield page
                page = []
        if page:
            yield page

    def head(self, key: str) -> ObjectInfo:
        """See `Store.head`."""
        with translated_errors(self._path(key)):
            status = os.stat(self._path(key))  # noqa: PTH116 - Path costs more than the call
        if not stat.S_ISREG(status.st_mode):
            raise NotFound(f"{self.describe(key)}: not found: it is a folder or a device, not a file.")
        return _info(key, status)

    def get_with_info(self, key: str) -> tuple[bytes, ObjectInfo]:
        """See `Store.get_with_info`. A file that is written to while it is read raises Changed."""
        with translated_errors(self._path(key)), open(self._path(key), "rb", buffering=0) as file:  # noqa: PTH123 - as above
            before = os.fstat(file.fileno())
            data = file.readall()
            after = os.fstat(file.fileno())
        info = _info(key, before)
        if len(data) != before.st_size or _etag(after) != info.etag:
            raise Changed(f"{self.describe(key)}: changed while it was read.")
        return data, info

    def get_range(self, key: str, start: int, length: int, etag: str = "") -> bytes:
        """See `Store.get_range`."""
        check_range(start, length)
        with translated_errors(self._path(key)), open(self._path(key), "rb", buffering=0) as file:  # noqa: PTH123 - as above
            status = os.fstat(file.fileno())
            file.seek(start)
            data = _read_up_to(file, min(length, max(0, status.st_size - start)))
        check_unchanged(_info(key, status), etag, -1, self.describe(key))
        return data

    def get_view(self, key: str, start: int, length: int) -> memoryview:
        """See `Store.get_view`."""
        check_range(start, length)
        with translated_errors(self._path(key)), open(self._path(key), "rb", buffering=0) as file:  # noqa: PTH123 - as above
            file.seek(start)
            return read_pooled(file, min(length, max(0, os.fstat(file.fileno()).st_size - start)))

    def create(self, key: str, data: bytes) -> None:
        """See `Store.create`. The name appears by a hard link, after the bytes are on the disk."""
        self._create(key, lambda file: _write_all(file, data))

    def create_file(self, key: str, path: Path) -> None:
        """See `Store.create_file`: the file itself gets the name where it lies on the same disk, else a copy does."""
        target = self._path(key)
        with translated_errors(target):
            _make_folder_of(target)
            if _link_synced(path, target):
                _sync_folder(os.path.dirname(target))  # noqa: PTH120
                return

        def copy(file: BinaryIO) -> None:
            with path.open("rb") as source:
                shutil.copyfileobj(source, file, 1 << 20)

        self._create(key, copy)

    def put(self, key: str, data: bytes) -> None:
        """See `Store.put`: written beside, then renamed over."""
        target = self._path(key)
        with translated_errors(self._path(key)):
            _make_folder_of(target)
            with _temporary_beside(target) as temporary:
                _write_file(temporary, lambda file: _write_all(file, data))
                os.replace(temporary, target)  # noqa: PTH105

    def delete(self, keys: Iterable[str]) -> None:
        """See `Store.delete`. Folders stay, also when empty."""
        for key in keys:
            with translated_errors(self._path(key)), contextlib.suppress(FileNotFoundError):
                os.unlink(self._path(key))  # noqa: PTH108

    def pending(self, prefix: str = "") -> Iterator[PendingWrite]:
        """See `Store.pending`: temporary files."""
        for info in _walk(self._path(prefix.rstrip("/")), prefix.rstrip("/")):
            if is_temporary(info.key):
                yield PendingWrite(info.key, info.last_modified)

    def abort(self, pending: PendingWrite) -> None:
        """See `Store.abort`."""
        if not is_temporary(pending.key):
            raise ValueError(f"{pending.key!r} is no unfinished write")
        self.delete([pending.key])

    def can_name(self, key: str) -> bool:
        """See `Store.can_name`: any name that is UTF-8, control characters included."""
        is_inside = not any(segment in ("", ".", "..") for segment in key.split("/"))
        return is_inside and "\0" not in key and _is_utf8(key)

    def local_path(self, key: str) -> Path | None:
        """Return the file's path, whether or not it exists."""
        return Path(self._path(key))

    def _path(self, key: str) -> str:
        if key.startswith("/") or (".." in key and ".." in key.split("/")) or "\0" in key:
            raise StoreError(f"{self.uri}: key {key!r} does not name a file inside this folder.")
        return f"{self.root}/{key}" if key else self.root

    def _create(self, key: str, write: Callable[[BinaryIO], None]) -> None:
        target = self._path(key)
        with translated_errors(self._path(key)):
            _make_folder_of(target)
            if os.path.lexists(target):
                raise FileExistsError(target)
            with _temporary_beside(target) as temporary:
                _write_file(temporary, write)
                _link(temporary, target)
            _sync_folder(os.path.dirname(target))  # noqa: PTH120


def _link_synced(path: Path, target: str) -> bool:
    """Give the file at `path` the name `target` too, its bytes on the disk; False where that needs a copy.

    Raises FileExistsError where the name is taken.
    """
    if os.path.lexists(target):
        raise FileExistsError(target)
    with path.open("rb") as file:
        os.fsync(file.fileno())
    try:
        os.link(path, target)
    except FileExistsError:
        raise
    except OSError:  # another disk, or one without hard links
        return False
    return True


@contextlib.contextmanager
def translated_errors(name: str) -> Iterator[None]:
    """Turn the operating system's errors into the store's; `name` is the path that messages name."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise NotFound(f"{name}: not found ({error.strerror}).") from error
    except FileExistsError as error:
        raise AlreadyExists(f"{name}: already exists.") from error
    except PermissionError as error:
        raise PermissionDenied(f"{name}: permission denied ({error.strerror}).") from error
    except OSError as error:
        raise StoreError(f"{name}: {error.strerror or error} (errno {error.errno}).") from error


def is_temporary(key: str) -> bool:
    """Return whether the key is that of a file whose writer has not finished."""
    return key.endswith(".unlabeled-tmp") and TEMPORARY.fullmatch(key) is not None


def _walk(folder: str, prefix: str) -> Iterator[ObjectInfo]:
    """Yield the files below `folder`, temporary ones too; `prefix` is the folder's own key."""
    waiting: list[tuple[str, str, frozenset[tuple[int, int]]]] = [(folder, prefix, frozenset())]
    while waiting:
        path, key, above = waiting.pop()
        with translated_errors(path):
            try:
                status = os.stat(path)  # noqa: PTH116
                entries = os.scandir(path)
            except (FileNotFoundError, NotADirectoryError):
                continue  # removed meanwhile, or never there
        here = (status.st_dev, status.st_ino)
        if here in above:
            yield _unsupported(key)
            continue
        with entries:
            for entry in entries:
                child = f"{key}/{entry.name}" if key else entry.name
                if _is_folder(entry):
                    waiting.append((entry.path, child, above | {here}))
                else:
                    yield from _file_entry(entry, child)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _file_entry(entry: os.DirEntry[str], key: str) -> Iterator[ObjectInfo]:
    try:
        status = entry.stat()
    except OSError:
        if entry.is_symlink():  # dangling, or a link to itself
            yield _unsupported(key)
        return  # removed since the folder was read
    if not stat.S_ISREG(status.st_mode) or not _is_utf8(key):
        yield _unsupported(key, status.st_size)
    else:
        yield _info(key, status)


def _is_utf8(name: str) -> bool:
    return name.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in name)


def _unsupported(key: str, num_bytes: int = 0) -> ObjectInfo:
    printable = os.fsencode(key).decode("utf-8", "backslashreplace")
    return ObjectInfo(printable, num_bytes, "", datetime.fromtimestamp(0, UTC), is_supported=False)


def _info(key: str, status: os.stat_result) -> ObjectInfo:
    return ObjectInfo(key, status.st_size, _etag(status), datetime.fromtimestamp(status.st_mtime, UTC))


def _etag(status: os.stat_result) -> str:
    return f"{status.st_mtime_ns:x}-{status.st_size:x}-{status.st_ino:x}"


@contextlib.contextmanager
def _temporary_beside(target: str) -> Iterator[str]:
    """Yield a name in the folder of `target`; whatever has it in the end is removed."""
    temporary = f"{os.path.dirname(target)}/.{secrets.token_hex(8)}.unlabeled-tmp"  # noqa: PTH120
    try:
        yield temporary
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)  # noqa: PTH108


def _link(temporary: str, target: str) -> None:
    try:
        os.link(temporary, target)
    except OSError as error:
        if error.errno in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS):
            message = "the file system has no hard links, and without them the first of two writers is not known"
            raise StoreError(f"{target}: {message}; use a local disk or an object store.") from error
        raise


def _make_folder_of(target: str) -> None:
    try:
        os.makedirs(os.path.dirname(target), exist_ok=True)  # noqa: PTH103, PTH120
    except (FileExistsError, NotADirectoryError) as error:
        raise StoreError(f"{target}: a folder on the way is a file.") from error


def _write_file(path: str, write: Callable[[BinaryIO], object]) -> None:
    with open(path, "xb", buffering=0) as file:  # noqa: PTH123
        write(file)
        os.fsync(file.fileno())


def _read_up_to(file: io.FileIO, length: int) -> bytes:
    """Return `length` bytes, fewer only at the end: the kernel hands out 2 GiB at most at a time."""
    pieces = []
    while length > 0 and (piece := file.read(length)):
        pieces.append(piece)
        length -= len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _write_all(file: BinaryIO, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]


def _sync_folder(path: str) -> None:
    """Make a new name durable: without this a power cut may forget it."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
