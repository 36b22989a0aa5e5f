"""Objects that hold many sources: tar archives (WebDataset) and Parquet files with a column of media bytes.

An index pass lists what is inside without reading the media: headers of a tar, the footer of a Parquet file.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from .byte_ranges import RangedBytes, SparseBytes
from .decode.bytes_source import NamelessFile
from .errors import AlreadyExists, ConfigError, NotFound, Reject, RejectReason, Stage, nearest
from .serial_arrow import ParquetReader, read_footer
from .storage import ObjectInfo, Store

#: Consecutive members of a tar are read together up to this size.
RUN_BYTES = 8 << 20
#: How far behind a tar's end mark is looked: a second archive there would be lost without a word.
TAIL_BYTES = 1 << 20
#: Changes whenever the same object would be indexed in another way.
INDEX_VERSION = 1
CACHE_FOLDER = "_fingerprints/containers/"

#: What an index says of one source inside a container. `member` is the name after `#`, "" for the container
#: itself; where `reason` is set it is rejected. `run` names what is read together. Offsets are -1 for Parquet,
#: rows -1 for tar; the size of a Parquet cell is the mean of its row group.
INDEX_SCHEMA = pa.schema(
    [
        pa.field("member", pa.string()),
        pa.field("num_bytes", pa.int64()),
        pa.field("offset_bytes", pa.int64()),
        pa.field("row_group", pa.int32()),
        pa.field("row", pa.int64()),
        pa.field("run", pa.string()),
        pa.field("reason", pa.string()),
        pa.field("message", pa.string()),
    ]
)


@dataclass(frozen=True, slots=True)
class _Member:
    name: str
    num_bytes: int
    offset_bytes: int
    reason: str = ""
    message: str = ""


def is_container(key: str) -> bool:
    """Return whether the name says that the object may hold many sources."""
    return key.endswith((".tar", ".parquet"))


def index_container(store: Store, info: ObjectInfo, column: str | None, cache: Store | None) -> pa.Table | None:
    """Return what an object holds (INDEX_SCHEMA), or None for a Parquet file without media.

    A container that cannot be read is one row with `member` "" and the reason.

    Args:
        store: where the object is.
        info: the object as listed.
        column: the Parquet column with the media, such as `image`, `image.bytes` or `text`; None: the only one of
            bytes.
        cache: where indices are kept from run to run, by key, etag and size; None keeps nothing.

    Raises:
        ConfigError: a Parquet file lacks `column`, or there are several and none was named.
        StoreError: the store failed.
    """
    place = f"{CACHE_FOLDER}{_cache_name(info, column)}.parquet"
    if cache is not None and info.etag:
        try:
            return ParquetReader(cache.get(place), check_pages=True).read()
        except NotFound:
            pass  # first time
    source = RangedBytes(store, info.key, 0, info.num_bytes, info.etag)
    try:
        table = index_tar(source) if info.key.endswith(".tar") else index_parquet(source, column, info.key)
    except Reject as verdict:
        table = _rejected(info, verdict)
        if not verdict.is_permanent:
            return table
    if cache is not None and info.etag and table is not None:
        _keep(cache, place, table)
    return table


def index_tar(source: RangedBytes) -> pa.Table:
    """Return the members of an uncompressed tar (INDEX_SCHEMA) in its order; folders are left out.

    Raises:
        Reject: it is corrupt or truncated anywhere (then nothing of it is used), gone, or changed.
    """
    members = _last_of_each_name(_tar_members(NamelessFile(SparseBytes(source))))
    return pa.Table.from_pydict(
        {
            "member": [member.name for member in members],
            "num_bytes": [member.num_bytes for member in members],
            "offset_bytes": [member.offset_bytes for member in members],
            "row_group": [-1] * len(members),
            "row": [-1] * len(members),
            "run": _runs(members),
            "reason": [member.reason for member in members],
            "message": [member.message for member in members],
        },
        INDEX_SCHEMA,
    )


def index_parquet(source: RangedBytes, column: str | None, name: str) -> pa.Table | None:
    """Return the rows of a Parquet file whose media column is `column` (INDEX_SCHEMA), from its footer alone.

    None where `column` is None and no column holds bytes: then the file holds no media.

    Raises:
        ConfigError: there is no such column, or several might be meant.
        Reject: the footer is corrupt, or the object is gone or has changed.
    """
    try:
        footer = read_footer(NamelessFile(SparseBytes(source)))
    except (pa.ArrowInvalid, OSError) as error:
        raise Reject(RejectReason.CORRUPT, f"parquet: {error}", stage=Stage.LIST) from error
    path = _media_column(_byte_columns(footer.schema, with_text=column is not None), column, name)
    if path is None:
        return None
    place = [footer.schema.column(i).path for i in range(len(footer.schema))].index(path)
    groups = [footer.row_group(number) for number in range(footer.num_row_groups)]
    counts = np.array([group.num_rows for group in groups], np.int64)
    totals = np.array([group.column(place).total_uncompressed_size for group in groups], np.int64)
    numbers = np.repeat(np.arange(len(groups), dtype=np.int32), counts)
    rows = np.arange(counts.sum(), dtype=np.int64)
    empty = pa.array([""], pa.string()).take(pa.array(np.zeros(len(rows), np.int32)))
    runs = pa.array([f"{number}/{path}" for number in range(len(groups))], pa.string())
    columns = {
        "member": pa.array(rows).cast(pa.string()),
        "num_bytes": (totals // np.maximum(counts, 1))[numbers],
        "offset_bytes": np.full(len(rows), -1, np.int64),
        "row_group": numbers,
        "row": rows,
        "run": runs.take(pa.array(numbers)),
        "reason": empty,
        "message": empty,
    }
    return pa.table(columns, INDEX_SCHEMA)


def _tar_members(file: NamelessFile) -> list[_Member]:
    members = []
    try:
        with tarfile.open(fileobj=file, mode="r:") as archive:
            while (info := archive.next()) is not None:
                archive.members.clear()  # type: ignore[attr-defined]  # would keep a kilobyte a member
                if not info.isdir():
                    members.append(_member(info))
            end = archive.offset
    except (tarfile.TarError, ValueError, OverflowError, RecursionError) as error:
        raise Reject(RejectReason.CORRUPT, f"tar: {error}", stage=Stage.LIST, offset_bytes=file.tell()) from error
    _check_tar_end(file, end)
    return members


def _check_tar_end(file: NamelessFile, end: int) -> None:
    """Check that an end mark stands where tarfile stopped: it stops without a word at a broken header, too."""
    file.seek(end)
    tail = file.read(TAIL_BYTES)
    if not tail:
        raise Reject(RejectReason.TRUNCATED, "tar: no end mark", stage=Stage.LIST, offset_bytes=end)
    if tail.count(0) != len(tail):
        raise Reject(RejectReason.CORRUPT, "tar: no header and no end mark", stage=Stage.LIST, offset_bytes=end)


def _member(info: tarfile.TarInfo) -> _Member:
    name = info.name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    reason, message = "", ""
    if not info.isreg() or info.issparse():
        reason, message = RejectReason.UNSUPPORTED_FEATURE, "tar: a link, device or sparse file, not a plain one"
    elif name != info.name or not name:
        reason, message = RejectReason.UNSUPPORTED_KEY, "tar: the member's name is empty or not UTF-8"
    elif info.size < 0:
        raise tarfile.ReadError(f"member {name!r} has {info.size} bytes")
    return _Member(name, max(0, info.size), info.offset_data, str(reason), message)


def _last_of_each_name(members: Sequence[_Member]) -> list[_Member]:
    """Return the members with unique names: of those that share one, the last counts, as when unpacked."""
    last = {member.name: place for place, member in enumerate(members)}
    message = "tar: a later member has the same name"
    return [
        member
        if last[member.name] == place
        else _Member(
            f"{member.name}@{member.offset_bytes}",
            member.num_bytes,
            member.offset_bytes,
            str(RejectReason.UNSUPPORTED_KEY),
            message,
        )
        for place, member in enumerate(members)
    ]


def _runs(members: Iterable[_Member]) -> list[str]:
    """Return the number of the run that each member is read with."""

    def step(state: tuple[int, int], member: _Member) -> tuple[int, int]:
        run, start = state
        end = member.offset_bytes + member.num_bytes
        return state if end - start <= RUN_BYTES else (run + 1, member.offset_bytes)

    states = accumulate(members, step, initial=(0, 0))
    next(states)
    return [str(run) for run, _ in states]


def _byte_columns(schema: pq.ParquetSchema, *, with_text: bool) -> list[str]:
    """Return the paths of columns that may hold media: binary ones, and `x.bytes` that has an `x.path` beside it.

    Columns of text count where one was named: most tables have some that are no media.
    """
    types = ("NONE", "STRING") if with_text else ("NONE",)
    columns = [schema.column(number) for number in range(len(schema))]
    paths = {column.path for column in columns}
    return [
        column.path
        for column in columns
        if column.physical_type == "BYTE_ARRAY"
        and column.logical_type.type in types
        and column.max_repetition_level == 0
        and ("." not in column.path or column.path.removesuffix(".bytes") + ".path" in paths)
    ]


def _media_column(choices: Sequence[str], column: str | None, name: str) -> str | None:
    if column is not None:
        wanted = next((path for path in (column, f"{column}.bytes") if path in choices), None)
        if wanted is None:
            found = ", ".join(choices) or "none"
            hint = nearest(column, choices)
            raise ConfigError(f"`column`: {name} has no column {column!r} of bytes; it has: {found}.{hint}")
        return wanted
    if len(choices) > 1:
        raise ConfigError(f"`column`: {name} has several columns of bytes: {', '.join(choices)}. Name one.")
    return choices[0] if choices else None


def _rejected(info: ObjectInfo, verdict: Reject) -> pa.Table:
    row = {
        "member": "",
        "num_bytes": info.num_bytes,
        **dict.fromkeys(("offset_bytes", "row_group", "row"), -1),
        "run": "",
        "reason": str(verdict.reason),
        "message": verdict.message,
    }
    return pa.Table.from_pylist([row], INDEX_SCHEMA)


def _cache_name(info: ObjectInfo, column: str | None) -> str:
    parts = [str(INDEX_VERSION), info.key, info.etag.strip('"'), str(info.num_bytes), column or ""]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _keep(cache: Store, place: str, table: pa.Table) -> None:
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
    try:
        cache.create(place, sink.getvalue())
    except AlreadyExists:
        return  # another run indexed the same object
