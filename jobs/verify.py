"""`verify` as a typed Python call."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from ..pipeline import discover
from ..pipeline.decode.decoder_file import read_decoder
from ..pipeline.errors import CheckFailed, ConfigError, CorruptData
from ..pipeline.manifest import Manifest, require_manifest
from ..pipeline.materialize import with_assets
from ..pipeline.rederive import Rederived, SecondOpinion, rederive
from ..pipeline.shard import Target
from ..pipeline.storage import Store, StoreOptions
from ..pipeline.task import PretextTask
from ..pipeline.verify import Findings, verify
from ..pipeline.versions import codec_versions


class ProblemInfo(BaseModel):
    """One thing that is wrong. `row` counts in the shard file, -1 for the whole of it."""

    model_config = ConfigDict(frozen=True)

    check: str
    message: str
    file: str
    row: int
    source_key: str


class VerifyReport(BaseModel):
    """What was verified, and what is wrong. `changed_sources` are no longer what they were: told, not a failure."""

    model_config = ConfigDict(frozen=True)

    dataset: str
    version: int
    ok: bool
    num_files: int
    num_rows: int
    num_bytes: int
    num_rederived_sources: int
    num_rederived_rows: int
    changed_sources: list[str]
    problems: list[ProblemInfo]


def verify_dataset(
    dataset: str,
    *,
    version: int | None = None,
    rederive_fraction: float = 0.0,
    task: str | None = None,
    decoders: Sequence[str] = (),
    digests: bool = True,
    store_options: StoreOptions | None = None,
) -> VerifyReport:
    """Return whether a version is what its manifest says, and whether its labels follow from its sources.

    Args:
        dataset: URI or path.
        version: number of the version; the newest by default.
        rederive_fraction: share of the sources, chosen by key, that are read and decoded again.
        task: file or `module:Class` of the task where it is not built in.
        decoders: files of decoders that the dataset was made with.
        digests: False looks at the content of files whose digests are known to differ.
        store_options: explicit credentials and endpoint; otherwise the environment's.

    Raises:
        NotFound: nothing is published there.
        CheckFailed: manifest or tables are damaged.
        ConfigError: the task's code is not known, or it cannot make labels again.
    """
    if not 0 <= rederive_fraction <= 1:
        raise ConfigError(f"`--rederive` must be within [0, 1], but is {rederive_fraction}.")
    store = Store.open(dataset, store_options)
    try:
        manifest = require_manifest(store, version)
        made_with = _made_with(store, manifest, task, decoders) if rederive_fraction > 0 else None
        findings = verify(store, manifest.version, digests=digests)
    except CorruptData as error:
        raise CheckFailed(str(error)) from error
    done = Rederived()
    if made_with is not None:
        with made_with.fence() as fence:
            opinion = SecondOpinion(made_with.task, Store.open(manifest.input_uri, store_options), fence)
            done = rederive(store, manifest, opinion, findings, fraction=rederive_fraction, digests=digests)
    return _report(store.uri, manifest.version, findings, done)


def _made_with(store: Store, manifest: Manifest, task: str | None, decoders: Sequence[str]) -> Target:
    """Return task, decoders and recipe of a dataset, as far as they are needed to make its labels again.

    Raises:
        ConfigError: the task's code or a decoder is not at hand, or the task has no `rederive`.
        CorruptData: an asset of the task is damaged.
    """
    recipe = manifest.recipe
    task_class = discover.find_task(task or manifest.task)
    if task_class.rederive is PretextTask.rederive:
        raise ConfigError(
            f"`--rederive`: {manifest.task} has no method `rederive(row, item)`, so its labels cannot be made again; "
            "add one, or verify without."
        )
    files = tuple(read_decoder(Path(path)) for path in decoders)
    if len(files) != len(recipe.decoders):
        raise ConfigError(f"`--decoder`: {store.uri} was made with {len(recipe.decoders)}, found {len(files)}.")
    made = discover.make_task(task_class, recipe.task.settings)
    return with_assets(Target(store, recipe, made, codec_versions(), files), manifest.assets)


def _report(dataset: str, version: int, findings: Findings, done: Rederived) -> VerifyReport:
    return VerifyReport(
        dataset=dataset,
        version=version,
        ok=not findings.problems,
        num_files=findings.num_files,
        num_rows=findings.num_rows,
        num_bytes=findings.num_bytes,
        num_rederived_sources=done.num_sources,
        num_rederived_rows=done.num_rows,
        changed_sources=done.changed,
        problems=[
            ProblemInfo(check=one.check, message=one.message, file=one.file, row=one.row, source_key=one.source_key)
            for one in findings.problems
        ],
    )


def failure(report: VerifyReport) -> CheckFailed | None:
    """Return the error that a report amounts to, naming shard file and row; None where all is well."""
    if report.ok:
        return None
    lines = []
    for one in report.problems[:20]:
        place = f" row {one.row}" if one.row >= 0 else ""
        lines.append(f"{one.check}: {one.file}{place}: {one.message}")
    more = f"\n  and {len(report.problems) - 20} more (--json lists them)" if len(report.problems) > 20 else ""
    return CheckFailed(f"{report.dataset}: {len(report.problems)} problems\n  " + "\n  ".join(lines) + more)
