"""Reports as people read them: plan, materialize, show, rejects, audit."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from ..pipeline.audit.report import AuditReport, FamilyReport
from .output import console, format_bytes, format_seconds, print_pairs, print_table, program_name
from .reading import Rejects, Shown, ShownExample


def print_plans(reports: Sequence[Any]) -> None:
    """Print what materialize would do."""
    for report in reports:
        if not report.num_shards_to_make:
            print_pairs(f"{report.dataset}: nothing to do", [("version", str(report.base_version))])
            continue
        estimate = "pilot of " + str(report.num_pilot_sources) if report.num_pilot_sources else "constants"
        print_pairs(
            f"{report.task} -> {report.dataset}",
            [
                ("sources", f"{report.num_sources:,} ({report.num_planned_sources:,} to do)"),
                ("new", f"{report.num_new_sources:,}"),
                ("shards to make", f"{report.num_shards_to_make:,}"),
                ("shards kept", f"{report.num_shards_kept:,}"),
                ("shards planned again", f"{report.num_shards_replanned:,}"),
                ("examples", f"about {report.estimated_num_examples:,} ({estimate})"),
                ("bytes out", f"about {format_bytes(report.estimated_num_bytes)}"),
                ("CPU", f"about {report.estimated_cpu_hours:.2f} hours"),
                *([("rejected at listing", f"{report.num_rejected:,}")] if report.num_rejected else []),
            ],
        )


def print_reports(reports: Sequence[Any]) -> None:
    """Print what materialize did."""
    for report in reports:
        if not report.published:
            print_pairs(
                f"{report.dataset}: nothing new, version {report.version} stands",
                [("examples", f"{report.num_examples:,}"), ("took", format_seconds(report.seconds))],
            )
            continue
        rate = report.num_examples / report.seconds if report.seconds else 0.0
        print_pairs(
            f"{report.dataset}: version {report.version} published",
            [
                ("sources", _sources(report)),
                ("examples", f"{report.num_examples:,} in {report.num_shards} shards"),
                ("bytes", f"{format_bytes(report.num_bytes_out)} out, {format_bytes(report.num_bytes_in)} read"),
                ("took", f"{format_seconds(report.seconds)} ({rate:,.0f} examples/s), CPU {report.cpu_seconds:.1f} s"),
                ("peak worker memory", format_bytes(report.peak_worker_rss_bytes)),
                ("fingerprint", report.fingerprint[:16]),
                *_near_duplicates(report),
                *_reasons("filtered", report.filtered_by_reason),
                *_reasons("rejected", report.rejected_by_reason),
            ],
        )
        _print_next(report.dataset, report.num_rejected)


def print_profiles(reports: Sequence[Any]) -> None:
    """Print CPU seconds by stage, in all and for each source, on stderr."""
    for report in reports:
        total = sum(report.cpu_seconds_by_stage.values())
        lines = [f"{'stage':<10} {'CPU s':>9} {'ms/source':>10} {'share':>6}"]
        for stage, spent in [*report.cpu_seconds_by_stage.items(), ("all", total)]:
            each_ms = 1000 * spent / max(1, report.num_sources)
            lines.append(f"{stage:<10} {spent:>9.2f} {each_ms:>10.3f} {spent / (total or 1):>6.1%}")
        sys.stderr.write("\n".join([*lines, ""]))


def print_shown(shown: Shown) -> None:
    """Print one version of a dataset."""
    counts = shown.counts
    print_pairs(
        f"{shown.dataset}: {shown.task}, version {shown.version} of {len(shown.versions)}",
        [
            ("sources", _sources(counts)),
            ("examples", f"{counts.num_examples:,} in {counts.num_shards} shards, {format_bytes(counts.num_bytes)}"),
            ("made from", shown.input),
            ("objective", shown.objective),
            ("settings", ", ".join(f"{name}={value}" for name, value in shown.settings.items())),
            ("fingerprint", shown.fingerprint),
            *_reasons("filtered", counts.filtered_by_reason),
            *_reasons("rejected", counts.rejected_by_reason),
        ],
    )
    rows = [
        [name, f"{split.num_examples:,}", str(split.num_shards), format_bytes(split.num_bytes)]
        for name, split in shown.splits.items()
    ]
    print_table(["split", "examples", "shards", "bytes"], rows)
    columns = [
        [column["name"], column.get("dtype") or column["kind"], column["role"], column.get("doc", "")]
        for column in shown.columns
    ]
    print_table(["column", "type", "role", "meaning"], columns)


def print_example(example: ShownExample) -> None:
    """Print one example from its source to its label."""
    part = "" if example.source_end < 0 else f", from {example.source_start} to {example.source_end}"
    print_pairs(
        f"{example.example_id}: {example.split} of {example.dataset}, version {example.version}",
        [
            ("source", f"{example.source}{part}"),
            ("bytes", f"{example.source_num_bytes:,}, sha256 {example.source_sha256}"),
            ("group", example.group_id),
            ("draw", f"segment {example.segment}, draw {example.draw}, seed {example.seed}"),
            ("stands in", f"{example.file}, row group {example.row_group}, row {example.row}"),
            ("made by", f"{example.task} {example.task_version}, code sha256 {example.task_source_sha256}"),
            ("settings", ", ".join(f"{name}={value}" for name, value in example.settings.items())),
            ("recipe", example.recipe_hash),
            ("versions", ", ".join(f"{name} {value}" for name, value in example.codec_versions.items())),
        ],
    )
    rows = [[role, name, str(value)[:200]] for role, of in example.columns.items() for name, value in of.items()]
    print_table(["role", "column", "value"], rows)


def print_rejects(listed: Rejects) -> None:
    """Print the dead letters of a version."""
    share = listed.num_rejected / max(1, listed.num_sources)
    out = console()
    out.print(
        f"{listed.num_rejected} of {listed.num_sources:,} sources rejected ({share:.2%}), "
        f"{listed.num_transient} of them transient (the next run tries those again)"
    )
    if listed.by_reason:
        print_table(["reason", "sources"], [[name, str(number)] for name, number in listed.by_reason.items()])
        rows = [[reject.source_key, reject.stage, reject.reason, reject.message] for reject in listed.rejects[:100]]
        print_table(["source", "stage", "reason", "message"], rows)
        if len(listed.rejects) > 100:
            out.print(f"... and {len(listed.rejects) - 100} more; --json lists all")


def print_audit(report: AuditReport) -> None:
    """Print what an audit found: first whether the label means anything, then family by family."""
    print_pairs(
        f"{report.dataset}: version {report.version}, audit: {report.verdict}",
        [
            ("meaning", f"{report.meaning.verdict}: {report.meaning.message}"),
            ("looked at", f"{report.num_examples:,} of {report.num_dataset_examples:,} examples"),
            ("groups", f"{report.num_groups:,}"),
            ("took", format_seconds(report.seconds)),
        ],
    )
    if report.families:
        rows = [
            (one.family, one.target, f"{one.score:.3f}", f"[{one.low:.3f}, {one.high:.3f}]", _audit_verdict(one))
            for one in report.families
        ]
        print_table(("family", "label", "score", "95 % interval", "verdict"), rows)
    if report.trivial:
        shares = [
            (one.predictor, f"{one.skill:.3f}", f"{one.solved:.1%}", f"[{one.solved_low:.1%}, {one.solved_high:.1%}]")
            for one in report.trivial
        ]
        verdicts = [one.verdict for one in report.trivial]
        rows_of = [(*row, verdict) for row, verdict in zip(shares, verdicts, strict=True)]
        print_table(("trivial predictor", "skill", "solved", "95 % interval", "verdict"), rows_of)


def _audit_verdict(one: FamilyReport) -> str:
    return f"{one.verdict} (about {one.num_missing:,} examples missing)" if one.num_missing else one.verdict


def _sources(counts: Any) -> str:
    return (
        f"{counts.num_sources:,} = {counts.num_used:,} used + {counts.num_filtered:,} filtered "
        f"+ {counts.num_rejected:,} rejected"
    )


def _near_duplicates(report: Any) -> list[tuple[str, str]]:
    found = [("near-duplicates", f"{report.num_near_duplicates:,} sources")] if report.num_near_duplicates else []
    alike = [f"{number:,} like {key}" for key, number in report.large_components.items()]
    return found + ([("not grouped", f"too many alike: {', '.join(alike)}")] if alike else [])


def _reasons(name: str, by_reason: Mapping[str, int]) -> list[tuple[str, str]]:
    if not by_reason:
        return []
    return [(name, ", ".join(f"{number:,} {reason}" for reason, number in by_reason.items()))]


def _print_next(dataset: str, num_rejected: int) -> None:
    out = console()
    program = program_name()
    out.print(f"  look     {program} show {dataset}", markup=False)
    if num_rejected:
        out.print(f"  rejects  {program} rejects {dataset}", markup=False)
