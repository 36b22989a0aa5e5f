"""The command that merges small shards: compact."""

from __future__ import annotations

from typing import Annotated

import typer

from .cli_options import AsJson, Dataset, Debug, app


@app.command()
def compact(
    dataset: Dataset,
    wait_seconds: Annotated[float, typer.Option(help="Wait so long for a run that is at work on the dataset.")] = 0.0,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Merge shards below a quarter of the target size, as many small increments leave them; no row changes."""
    from .compact import Compact
    from .output import format_bytes, format_seconds, print_json, print_pairs

    report = Compact(dataset, wait_seconds).run()
    if as_json:
        print_json(report)
        return
    if not report.published:
        print_pairs(f"{report.dataset}: version {report.version}, no two small shards to merge", [])
        return
    print_pairs(
        f"{report.dataset}: version {report.version}, {report.num_merged} small shards became {report.num_made}",
        [
            ("shards", f"{report.num_shards_before} -> {report.num_shards}"),
            ("rewritten", format_bytes(report.num_bytes_rewritten)),
            ("took", format_seconds(report.seconds)),
            ("old files", "stay for old versions; `unlabeled gc` removes what no version names"),
        ],
    )
