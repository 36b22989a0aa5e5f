"""`retry` as a typed Python call: work through the rejected sources of a dataset alone."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..pipeline import discover
from ..pipeline.config import RejectLimits, RunSettings
from ..pipeline.errors import ConfigError
from ..pipeline.inventory import Inventory
from ..pipeline.manifest import Manifest, Tables, load_tables, require_manifest
from ..pipeline.materialize import Output, Progress, Request
from ..pipeline.retry import retry_inventory
from ..pipeline.shard import Target
from ..pipeline.storage import Store, StoreOptions
from ..pipeline.versions import codec_versions
from .config import Settings
from .materialize import Materialize, MaterializeReport


class RetryReport(MaterializeReport):
    """What a retry did. `recovered`: keys that were rejected and no longer are; `num_retried`: sources tried again."""

    num_retried: int
    recovered: list[str]


@dataclass(frozen=True)
class Retry(Materialize):
    """A run over the rejects of a dataset: settings, input and groups are the dataset's own."""

    everything: bool = False

    def outputs(self) -> list[Output]:
        """Return the dataset with the recipe that it was made with.

        Raises:
            ConfigError: the task's code is not the one it was made with, or is not known.
        """
        store, manifest = self._dataset()
        recipe = manifest.recipe
        task_class = discover.find_task(self.tasks[0])
        if discover.source_sha256(task_class) != recipe.task.source_sha256:
            raise ConfigError(
                f"task {manifest.task}: its code is not the one that {store.uri} was made with; "
                "rows of both would differ. Make a new dataset with `unlabeled materialize`."
            )
        task = discover.make_task(task_class, recipe.task.settings)
        group_csv = _groups(load_tables(store, manifest, "parts")) if recipe.group_csv_sha256 else None
        target = Target(store, recipe, task, codec_versions(), self._decoder_files())
        return [Output(target, group_csv)]

    def inventory(self, cache: Store | None) -> Inventory:
        """Return the dataset's own inventory, with its rejects looked at anew."""
        store, manifest = self._dataset()
        inputs = Store.open(manifest.input_uri, self.store_options)
        return retry_inventory(store, manifest, inputs, everything=self.everything)

    def _dataset(self) -> tuple[Store, Manifest]:
        store = Store.open(self.output, self.store_options)
        return store, require_manifest(store)

    def _request(self, outputs: Sequence[Output], inventory: Inventory, inputs: Store) -> Request:
        # A plan that an earlier run left is finished first, and changes what is rejected.
        request = super()._request(outputs, inventory, inputs)
        return replace(request, take_inventory=lambda: self.inventory(None))


def retry(
    dataset: str,
    *,
    everything: bool = False,
    task: str | None = None,
    decoders: Sequence[str] = (),
    run: RunSettings | None = None,
    store_options: StoreOptions | None = None,
    progress: Progress | None = None,
) -> RetryReport:
    """Try the rejected sources of a dataset again and publish what comes of it as a new version.

    Args:
        dataset: URI or path.
        everything: also those whose reject is permanent and whose object has not changed.
        task: file or `module:Class` of the task where it is not built in.
        decoders: files of decoders that the dataset was made with.
        run: where it runs.
        store_options: explicit credentials and endpoint; otherwise the environment's.
        progress: is told how far it is.

    Raises:
        UnlabeledError: see pipeline.errors.
    """
    options = store_options or StoreOptions()
    store = Store.open(dataset, options)
    manifest = require_manifest(store)
    before = _shards_of_rejects(load_tables(store, manifest, "rejects"))
    settings = Settings(run=tolerant(run or RunSettings(), manifest.counts.num_rejected))
    spec = Retry(
        tasks=[task or manifest.task],
        input=manifest.input_uri,
        output=dataset,
        settings=settings,
        store_options=options,
        decoders=decoders,
        everything=everything,
    )
    (report,) = spec.run(progress)
    newest = require_manifest(store)
    tables = load_tables(store, newest, "parts", "rejects")
    now = _shards_of_rejects(tables)
    keys = set(tables.parts["source_key"].to_pylist())
    recovered = sorted(key for key in before if key not in now and key in keys)
    num_retried = len(recovered) + sum(1 for key, shard in before.items() if key in now and now[key] != shard)
    return RetryReport(**_fields(report), num_retried=num_retried, recovered=recovered)


def tolerant(run: RunSettings, num_rejected: int) -> RunSettings:
    """Return settings under which as many rejects as there are already are no reason to refuse."""
    limits = run.rejects
    allowed = RejectLimits(
        max_reject_fraction=limits.max_reject_fraction, max_rejects_min=max(limits.max_rejects_min, num_rejected)
    )
    return run.model_copy(update={"rejects": allowed})


def _shards_of_rejects(tables: Tables) -> dict[str, str]:
    return dict(zip(tables.rejects["source_key"].to_pylist(), tables.rejects["shard_id"].to_pylist(), strict=True))


def _fields(report: MaterializeReport) -> dict[str, Any]:
    return report.model_dump()


def _groups(tables: Tables) -> bytes:
    """Return the groups that the dataset records, as the csv that gave them."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(("source_key", "group"))
    writer.writerows(zip(tables.parts["source_key"].to_pylist(), tables.parts["group_id"].to_pylist(), strict=True))
    return text.getvalue().encode("utf-8", "surrogatepass")
