"""`forget` as a typed call: erase sources from a dataset, from all its versions, for good."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pydantic import BaseModel, ConfigDict

from ..pipeline.card import repair_card
from ..pipeline.config import RunSettings
from ..pipeline.errors import CheckFailed
from ..pipeline.forget import contents_of, purge, resolve, shards_with, survivors
from ..pipeline.forgotten import bury
from ..pipeline.inventory import Inventory
from ..pipeline.lease import acquire
from ..pipeline.manifest import load_tables, require_manifest, versions
from ..pipeline.materialize import Progress
from ..pipeline.storage import Store, StoreOptions
from .config import Settings
from .retry import Retry, tolerant


class ForgetReport(BaseModel):
    """What was erased.

    `same_content`: other sources that hold the same bytes, which stay. `assets`: files that the task made of a sample
    of all sources when the dataset began, which stay, too. `removed`: every object that is gone.
    """

    model_config = ConfigDict(frozen=True)

    dataset: str
    version: int
    versions: list[int]
    num_sources: int
    same_content: list[str]
    assets: list[str]
    num_removed_objects: int
    removed: list[str]


@dataclass(frozen=True)
class Forget(Retry):
    """A run over what a dataset holds, without its forgotten sources; nothing rejected is tried again."""

    forgotten_keys: frozenset[str] = frozenset()

    def inventory(self, cache: Store | None) -> Inventory:
        """Return the dataset's own inventory; the shards that read a forgotten source are planned again."""
        store, _ = self._dataset()
        replanned = shards_with(store, self.forgotten_keys)
        return replace(super().inventory(cache), retry_keys=frozenset(), replanned_shards=replanned)


def forget(
    dataset: str,
    keys: Sequence[str],
    *,
    task: str | None = None,
    decoders: Sequence[str] = (),
    run: RunSettings | None = None,
    store_options: StoreOptions | None = None,
    progress: Progress | None = None,
) -> ForgetReport:
    """Publish a version without some sources, then remove every object that names them; run again, it goes on.

    What shared a shard with them is made again, so the other sources must still be there. Later runs pass over the
    keys, even though the sources are still listed. All that is removed is removed under the dataset's lease: no run is
    at work meanwhile.

    Args:
        dataset: URI or path.
        keys: source keys; an object with members stands for all of them.
        task: file or `module:Class` of the task where it is not built in.
        decoders: files of decoders that the dataset was made with.
        run: where it runs.
        store_options: explicit credentials and endpoint; otherwise the environment's.
        progress: is told how far it is.

    Raises:
        ConfigError: no version holds such a key.
        Conflict: another run is at work on the dataset; nothing is removed yet, and the same call goes on later.
        CheckFailed: a search of all that is left still found one of the keys, or the sha256 of their content.
        UnlabeledError: see pipeline.errors.
    """
    options = store_options or StoreOptions()
    store = Store.open(dataset, options)
    manifest = require_manifest(store)
    sources = resolve(store, keys)
    objects = {key[:place] for key in sources for place, letter in enumerate(key) if letter == "#"}
    digests, same_content = contents_of(store, sources)
    bury(store, sources)
    spec = Forget(
        tasks=[task or manifest.task],
        input=manifest.input_uri,
        output=dataset,
        settings=Settings(run=tolerant(run or RunSettings(), manifest.counts.num_rejected)),
        store_options=options,
        decoders=decoders,
        forgotten_keys=frozenset(sources),
    )
    spec.run(progress)
    # A run that begins from here on knows the tombstones.
    with acquire(store, wait_seconds=spec.settings.run.lease_wait_seconds):
        removed = purge(store, sources)
        newest = require_manifest(store)
        # Its audit is gone, too.
        repair_card(store, newest, load_tables(store, newest, "shards"))
        left = survivors(store, sources | digests)
    if left:
        raise CheckFailed(f"{store.uri}: {len(left)} objects still name a forgotten source, such as {left[0]}.")
    return ForgetReport(
        dataset=store.uri,
        version=newest.version,
        versions=versions(store),
        num_sources=len(sources - objects),
        same_content=sorted(same_content),
        assets=sorted(newest.assets),
        num_removed_objects=len(removed),
        removed=removed,
    )
