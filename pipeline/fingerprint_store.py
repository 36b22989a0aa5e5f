"""Fingerprints kept in a dataset's store, so that the next run takes only those of new sources.

_fingerprints/media/<sha256>.parquet   a row a source: what it was (key, etag, size, sha256), kind, fingerprint
"""

from __future__ import annotations

import pyarrow as pa

from .errors import CorruptData
from .manifest import create_content, parquet_bytes
from .rng import sha256_hex
from .serial_arrow import read_parquet
from .storage import Store

FOLDER = "_fingerprints/media/"
#: sha256: "" where the source was not read whole. kind: name and version of the fingerprint, with what decides its
#: bytes. fingerprint: null where the source gives none: it does not decode, or has nothing to tell it by.
FINGERPRINTS_SCHEMA = pa.schema(
    [
        pa.field("source_key", pa.string()),
        pa.field("etag", pa.string()),
        pa.field("num_bytes", pa.int64()),
        pa.field("sha256", pa.string()),
        pa.field("kind", pa.string()),
        pa.field("fingerprint", pa.binary()),
    ]
)
_IDENTITY = ["source_key", "etag", "num_bytes"]


def save_fingerprints(store: Store, table: pa.Table) -> None:
    """Keep fingerprints (FINGERPRINTS_SCHEMA)."""
    if table.num_rows:
        data = parquet_bytes(table.cast(FINGERPRINTS_SCHEMA))
        create_content(store, f"{FOLDER}{sha256_hex(data)}.parquet", data)


def read_fingerprints(store: Store) -> pa.Table:
    """Return all fingerprints that are kept (FINGERPRINTS_SCHEMA), in no particular order.

    Raises:
        CorruptData: a file's bytes do not match its name.
    """
    keys = sorted(info.key for page in store.list(FOLDER) for info in page)
    return pa.concat_tables([FINGERPRINTS_SCHEMA.empty_table(), *(_read(store, key) for key in keys)])


def _read(store: Store, key: str) -> pa.Table:
    data = store.get(key)
    if f"{FOLDER}{sha256_hex(data)}.parquet" != key:
        raise CorruptData(f"{key}: its bytes do not match its name; remove it, and it is made again.")
    return read_parquet(data)


def matched(sources: pa.Table, kept: pa.Table, kind: str) -> tuple[pa.Table, pa.Table]:
    """Return (fingerprints of `sources` that are kept, the sources whose fingerprints are not).

    Args:
        sources: inventory columns, each source_key once.
        kept: FINGERPRINTS_SCHEMA; several versions of a source may be there.
        kind: the kind that counts.
    """
    of_kind = [row for row, name in enumerate(kept["kind"].to_pylist()) if name == kind]
    kept = kept.take(pa.array(of_kind, pa.int64()))
    place = {identity: row for row, identity in enumerate(_identities(kept))}
    found = [place.get(identity, -1) for identity in _identities(sources)]
    have = kept.take(pa.array([row for row in found if row >= 0], pa.int64()))
    lack = sources.take(pa.array([at for at, row in enumerate(found) if row < 0], pa.int64()))
    return have, lack


def _identities(table: pa.Table) -> list[tuple[str, str, int]]:
    return list(zip(*(table[name].to_pylist() for name in _IDENTITY), strict=True))
