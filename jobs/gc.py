"""`gc` as a typed call: remove what no version, live plan or receipt names."""

from __future__ import annotations

from datetime import timedelta

from pydantic import BaseModel, ConfigDict

from ..pipeline.gc import find_garbage, remove_garbage
from ..pipeline.manifest import require_manifest
from ..pipeline.storage import Store, StoreOptions


class GarbageReport(BaseModel):
    """What was (or would be) removed."""

    model_config = ConfigDict(frozen=True)

    dataset: str
    deleted: bool
    num_objects: int
    num_bytes: int
    num_spared: int
    num_pending_uploads: int
    keys: list[str]


def collect_garbage(
    dataset: str, *, delete: bool = False, min_age_days: float = 7.0, store_options: StoreOptions | None = None
) -> GarbageReport:
    """Find what nothing names and, with `delete`, remove it.

    Raises:
        NotFound: no dataset stands there.
        Conflict: with `delete`, a run is at work on the dataset; nothing is removed then.
        CorruptData: a version cannot be read; nothing is removed then.
    """
    store = Store.open(dataset, store_options)
    require_manifest(store)
    act = remove_garbage if delete else find_garbage
    garbage = act(store, timedelta(days=min_age_days))
    return GarbageReport(
        dataset=store.uri,
        deleted=delete,
        num_objects=len(garbage.objects),
        num_bytes=garbage.num_bytes,
        num_spared=garbage.num_spared,
        num_pending_uploads=len(garbage.pending),
        keys=[info.key for info in garbage.objects],
    )
