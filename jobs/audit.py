"""`unlabeled audit` as a typed Python call."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pyarrow as pa

from ..pipeline.audit.judge import group_numbers, judge_families, judge_trivial
from ..pipeline.audit.measure import Spec
from ..pipeline.audit.report import AuditReport, FamilyReport, MeaningReport, TrivialReport, store_verdicts
from ..pipeline.audit.sample import MAX_EXAMPLES, Unit, choose_units, measure_here
from ..pipeline.card import repair_card
from ..pipeline.config import RunSettings
from ..pipeline.errors import CheckFailed, ConfigError
from ..pipeline.manifest import load_tables, require_manifest, versions
from ..pipeline.storage import Store, StoreOptions
from .audit_meaning import judge_meaning
from .ray_start import has_cluster, started_ray

#: Fewer row groups than this are measured sooner than a local Ray has started.
_FEW_UNITS = 4


@dataclass(frozen=True)
class Audit:
    """What to audit and how.

    Args:
        dataset: URI or path.
        version: number of the version; the newest by default.
        max_examples: about how many examples are looked at (whole row groups).
        seed: of folds, permutations and the small network.
        meaning: whether the small network is trained, where torch is installed.
        run: where Ray is.
        store_options: explicit credentials and endpoint; otherwise the environment's.
        say: is told what begins.
    """

    dataset: str
    version: int | None = None
    max_examples: int = MAX_EXAMPLES
    seed: int = 0
    meaning: bool = True
    run: RunSettings = field(default_factory=RunSettings)
    store_options: StoreOptions | None = None
    say: Callable[[str], object] = str

    def __call__(self) -> AuditReport:
        """Audit, keep the report in the dataset (report.verdicts_key), have the card say so, and return it.

        Raises:
            NotFound: nothing is published there.
            ConfigError: `max_examples` is not positive, or scikit-learn is not installed.
            CorruptData: stored bytes do not match their checksum.
        """
        if self.max_examples < 1:
            raise ConfigError(f"`--max-examples` must be at least 1, but is {self.max_examples}.")
        if not has_cluster(self.run):
            return self._report()
        with started_ray(self.run):
            from .ray_metrics import show_leakage

            report = self._report()
            show_leakage(report)
            return report

    def _report(self) -> AuditReport:
        began = time.monotonic()
        store = Store.open(self.dataset, self.store_options)
        manifest = require_manifest(store, self.version)
        spec = Spec.of(manifest)
        units = choose_units(store, manifest, self.max_examples)
        self.say(f"measuring {sum(unit.group['num_rows'] for unit in units):,} examples")
        table = self._measured(store, spec, units)
        self.say("probing")
        families = judge_families(table, spec, self.seed) if table.num_rows else []
        trivial = judge_trivial(table)
        meaning = MeaningReport(verdict="skipped", message="The small network was not asked for.")
        if self.meaning:
            self.say("training a small network")
            meaning = judge_meaning(store, spec, units, families, self.seed)
        report = AuditReport(
            dataset=store.uri,
            version=manifest.version,
            fingerprint=manifest.fingerprint,
            task=manifest.task,
            objective=manifest.objective,
            verdict=overall(families, trivial),
            meaning=meaning,
            families=tuple(families),
            trivial=tuple(trivial),
            num_dataset_examples=manifest.counts.num_examples,
            num_examples=table.num_rows,
            num_groups=len(set(group_numbers(table).tolist())),
            seconds=round(time.monotonic() - began, 3),
        )
        store_verdicts(store, report)
        # The card is the newest version's; one that is published meanwhile brings its own.
        if versions(store)[-1] == manifest.version:
            repair_card(store, manifest, load_tables(store, manifest, "shards"))
        return report

    def _measured(self, store: Store, spec: Spec, units: list[Unit]) -> pa.Table:
        if len(units) < _FEW_UNITS:
            return measure_here(store, spec, units)
        with started_ray(self.run):
            from ..pipeline.ray_audit import measure_on_ray

            return measure_on_ray(store, spec, units)


def overall(families: list[FamilyReport], trivial: list[TrivialReport]) -> Literal["pass", "fail", "inconclusive"]:
    """Return `fail` where anything fails, `pass` where something was looked at and all passes, else `inconclusive`."""
    verdicts = {*(one.verdict for one in families), *(one.verdict for one in trivial)} - {"semantic"}
    if "fail" in verdicts:
        return "fail"
    return "pass" if verdicts == {"pass"} else "inconclusive"


def failure(report: AuditReport) -> CheckFailed | None:
    """Return the error that a report amounts to, naming the families; None where nothing fails."""
    if report.verdict != "fail":
        return None
    lines = [
        f"{one.family} tells {one.target}: score {one.score:.3f} [{one.low:.3f}, {one.high:.3f}] ({one.about})"
        for one in report.families
        if one.verdict == "fail"
    ]
    lines += [
        f"{one.predictor}, which has learnt nothing, solves {one.solved:.0%} of the examples"
        for one in report.trivial
        if one.verdict == "fail"
    ]
    return CheckFailed(f"{report.dataset}: the label can be had without looking\n  " + "\n  ".join(lines))


def write_page(report: AuditReport, out: str | Path) -> None:
    """Write the report as one static page, replacing the file `out`.

    Raises ConfigError where `out` is no place for a file.
    """
    from ..pipeline.audit.page import render

    path = Path(out)
    if path.is_dir() or not path.parent.is_dir():
        raise ConfigError(f"`--out`: found {str(out)!r}, expected the name of a file in a folder that exists.")
    path.write_text(render(report), encoding="utf-8")
