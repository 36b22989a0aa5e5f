"""Receipts and attempts: what has been done of a plan. Receipts are create-only: the first writer of a shard wins."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any

from .config import FORMAT_VERSION
from .errors import AlreadyExists, CorruptData, NotFound
from .rng import canonical_json, sha256_hex
from .storage import Store

_RECEIPTS = "_receipts/"
_ATTEMPTS = "_attempts/"
#: A part: its source's key, and where it starts in the source (microseconds or bytes).
PartName = tuple[str, int]
#: Parallel reads of small objects: enough to hide 30 ms of latency, few enough for any store.
_NUM_THREADS = 32


@dataclass(frozen=True, slots=True)
class RowGroup:
    """One row group of a shard: what a loader fetches at once."""

    num_rows: int
    offset_bytes: int
    num_bytes: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one part. `status`: used, filtered or rejected; context parts have none and are left out.

    A part is named by its source and by where it starts in it, 0 for a whole source.
    """

    source_key: str
    status: str
    reason: str = ""
    stage: str = ""
    message: str = ""
    is_permanent: bool = True
    offset_bytes: int = -1
    sha256: str = ""
    num_bytes: int = 0
    etag: str = ""
    num_examples: int = 0
    start: int = 0

    @property
    def name(self) -> PartName:
        """Which part."""
        return self.source_key, self.start


@dataclass(frozen=True, slots=True)
class Receipt:
    """The proof that one shard is done. `file` is empty where the shard has no rows."""

    shard_id: str
    split: str
    file: str
    sha256: str
    num_bytes: int
    num_rows: int
    footer_sha256: str
    footer_num_bytes: int
    row_groups: tuple[RowGroup, ...]
    outcomes: tuple[Outcome, ...]
    versions: Mapping[str, str]
    stats: Mapping[str, float] = field(default_factory=dict)

    def to_json(self) -> bytes:
        """Return the receipt as JSON with its own digest; outcomes column by column."""
        body: dict[str, Any] = {"format_version": FORMAT_VERSION, **asdict(self)}
        body["row_groups"] = [[group.num_rows, group.offset_bytes, group.num_bytes] for group in self.row_groups]
        names = Outcome.__dataclass_fields__
        body["outcomes"] = {name: [getattr(outcome, name) for outcome in self.outcomes] for name in names}
        return with_digest(body)

    @classmethod
    def from_json(cls, data: bytes, name: str) -> Receipt:
        """Return the receipt that `to_json` wrote.

        Raises:
            CorruptData: naming `name`, where digest, version or fields are not right.
        """
        body = checked_json(data, name)
        try:
            columns = body.pop("outcomes")
            outcomes = tuple(
                Outcome(**dict(zip(columns, row, strict=True))) for row in zip(*columns.values(), strict=True)
            )
            groups = tuple(RowGroup(*row) for row in body.pop("row_groups"))
            return cls(**body, row_groups=groups, outcomes=outcomes)
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            raise CorruptData(f"{name}: not a receipt of this version: {error}.") from error


def with_digest(body: Mapping[str, Any]) -> bytes:
    """Return `body` as canonical JSON with a field `sha256` over the rest."""
    return canonical_json({**body, "sha256_of_rest": sha256_hex(canonical_json(body))})


def checked_json(data: bytes, name: str) -> dict[str, Any]:
    """Return the fields that `with_digest` wrote, without digest and format version.

    Raises:
        CorruptData: no JSON object, wrong digest, or a format version that this release does not know.
    """
    try:
        body = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise CorruptData(f"{name}: not JSON: {error}.") from error
    if not isinstance(body, dict) or "format_version" not in body:
        raise CorruptData(f"{name}: not a file of this project.")
    if body["format_version"] != FORMAT_VERSION:
        raise CorruptData(
            f"{name}: format version {body['format_version']!r}, but this release reads {FORMAT_VERSION}; upgrade it."
        )
    digest = body.pop("sha256_of_rest", None)
    if digest != sha256_hex(canonical_json(body)):
        raise CorruptData(f"{name}: its checksum does not match; the file is damaged.")
    del body["format_version"]
    return body


def receipt_key(shard_id: str) -> str:
    """Return the key of a shard's receipt."""
    return f"{_RECEIPTS}{shard_id}.json"


def write_receipt(store: Store, receipt: Receipt) -> Receipt:
    """Create the receipt and return the one that counts: ours, or that of the writer who was first."""
    key = receipt_key(receipt.shard_id)
    try:
        store.create(key, receipt.to_json())
    except AlreadyExists:
        return Receipt.from_json(store.get(key), key)
    return receipt


def read_receipt(store: Store, shard_id: str) -> Receipt | None:
    """Return the shard's receipt, or None where there is none yet.

    Raises:
        CorruptData: there is one, but it is damaged.
    """
    key = receipt_key(shard_id)
    try:
        return Receipt.from_json(store.get(key), key)
    except NotFound:
        return None


def listed_receipts(store: Store) -> set[str]:
    """Return the ids of all shards that have a receipt."""
    return {
        info.key.removeprefix(_RECEIPTS).removesuffix(".json")
        for page in store.list(_RECEIPTS)
        for info in page
        if info.key.endswith(".json")
    }


def read_receipts(store: Store, shard_ids: Iterable[str]) -> list[Receipt]:
    """Return the receipts of `shard_ids`, in order; raises as `each_receipt`."""
    return [*each_receipt(store, shard_ids)]


def each_receipt(store: Store, shard_ids: Iterable[str]) -> Iterator[Receipt]:
    """Yield the receipts of `shard_ids`, in order, read in parallel, few of them ahead: a part takes half a kilobyte.

    Raises:
        NotFound, CorruptData: naming the receipt.
    """

    def read(shard_id: str) -> Receipt:
        key = receipt_key(shard_id)
        return Receipt.from_json(store.get(key), key)

    waiting: deque[Future[Receipt]] = deque()
    with ThreadPoolExecutor(_NUM_THREADS) as pool:
        for shard_id in shard_ids:
            waiting.append(pool.submit(read, shard_id))
            if len(waiting) > _NUM_THREADS:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def begin_attempt(store: Store, shard_id: str) -> int:
    """Record that work on the shard begins and return the attempt's number, from 1; create-only, so never shared."""
    attempt = 1
    while True:
        try:
            store.create(f"{_ATTEMPTS}{shard_id}/{attempt}", b"")
        except AlreadyExists:
            attempt += 1
        else:
            return attempt
