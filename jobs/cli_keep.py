"""Commands that look at a dataset and keep it: show, rejects, preview, verify, retry, gc."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from .cli_options import (
    AddressOption,
    AsJson,
    Dataset,
    Debug,
    DecoderFileOption,
    NumCpusOption,
    OwnTaskOption,
    Version,
    app,
    run_settings,
)


@app.command()
def show(
    dataset: Dataset,
    example_id: Annotated[
        str | None, typer.Argument(metavar="[EXAMPLE_ID]", help="Tell where this example comes from.")
    ] = None,
    files: Annotated[bool, typer.Option("--files", help="Print the version's shard files, nothing else.")] = False,
    version: Version = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Show a dataset's newest version: counts, settings, splits, files; or one example: source, bytes, crop, label."""
    from . import reading
    from .output import print_json
    from .planned import print_example, print_shown

    if example_id is not None:
        example = reading.show_example(dataset, example_id, version=version)
        if as_json:
            print_json(example)
        else:
            print_example(example)
        return
    shown = reading.show(dataset, version=version)
    if as_json:
        print_json(shown)
    elif files:
        for names in shown.files.values():
            for name in names:
                sys.stdout.write(name + "\n")
    else:
        print_shown(shown)


@app.command()
def rejects(dataset: Dataset, version: Version = None, as_json: AsJson = False, debug: Debug = False) -> None:
    """List the sources that could not be used, with reason, stage and message."""
    from . import reading
    from .output import print_json
    from .planned import print_rejects

    listed = reading.rejects(dataset, version=version)
    if as_json:
        print_json(listed)
    else:
        print_rejects(listed)


@app.command()
def preview(
    dataset: Dataset,
    out: Annotated[Path, typer.Option("--out", help="HTML file to write.")],
    examples: Annotated[int, typer.Option(help="Examples to show, at most.")] = 24,
    version: Version = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Write one static page: examples with labels, the odd ones first, counts, sizes, what was left out."""
    from .output import format_bytes, format_seconds, print_json, print_pairs
    from .preview import preview as write_page

    report = write_page(dataset, out, version=version, num_examples=examples)
    if as_json:
        print_json(report)
        return
    print_pairs(
        f"{report.dataset}: {report.num_examples} examples, {report.num_odd} of them odd, {report.num_rows_read} read",
        [("page", f"{report.out}, {format_bytes(report.num_bytes)}"), ("took", format_seconds(report.seconds))],
    )


@app.command()
def verify(
    dataset: Dataset,
    rederive: Annotated[
        float, typer.Option(help="Share of the sources to read again and recompute labels from, 0 to 1.")
    ] = 0.0,
    task: OwnTaskOption = None,
    decoder: DecoderFileOption = None,
    version: Version = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Check digests, schema, counts, identities, splits and balance; --rederive checks labels. Exit 5 on a fault."""
    from .output import print_json, print_pairs
    from .verify import failure, verify_dataset

    report = verify_dataset(dataset, version=version, rederive_fraction=rederive, task=task, decoders=decoder or ())
    if as_json:
        print_json(report)
    error = failure(report)
    if error is not None:
        raise error
    if not as_json:
        rederived = f"{report.num_rederived_rows} rows of {report.num_rederived_sources} sources"
        print_pairs(
            f"{report.dataset}: version {report.version} is what its manifest says",
            [
                ("shard files", str(report.num_files)),
                ("rows", str(report.num_rows)),
                ("rederived", rederived),
                ("sources changed since", str(len(report.changed_sources))),
            ],
        )


@app.command()
def retry(
    dataset: Dataset,
    all_: Annotated[
        bool, typer.Option("--all", help="Also permanent rejects whose object has not changed since.")
    ] = False,
    task: OwnTaskOption = None,
    decoder: DecoderFileOption = None,
    num_cpus: NumCpusOption = None,
    address: AddressOption = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Try rejected sources again, nothing else: transient ones and changed objects. Publishes a new version."""
    from .output import ShownProgress, print_json, print_pairs
    from .retry import retry as try_again

    run = run_settings(num_cpus, address)
    progress = ShownProgress()
    try:
        report = try_again(dataset, everything=all_, task=task, decoders=decoder or (), run=run, progress=progress)
    finally:
        progress.close()
    if as_json:
        print_json(report)
        return
    print_pairs(
        f"{report.dataset}: version {report.version}",
        [
            ("tried again", str(report.num_retried)),
            ("no longer rejected", str(len(report.recovered))),
            ("still rejected", str(report.num_rejected)),
        ],
    )


@app.command()
def gc(
    dataset: Dataset,
    delete: Annotated[
        bool, typer.Option("--delete", help="Really remove; without it only say what would go.")
    ] = False,
    min_age_days: Annotated[float, typer.Option(help="Spare what is younger, by the store's clock.")] = 7.0,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Remove what no version, live plan or receipt names: orphans of killed runs, pending uploads."""
    from .gc import collect_garbage
    from .output import format_bytes, print_json, print_pairs

    report = collect_garbage(dataset, delete=delete, min_age_days=min_age_days)
    if as_json:
        print_json(report)
        return
    done = "removed" if delete else "would be removed (add --delete)"
    print_pairs(
        f"{report.dataset}: {report.num_objects} objects, {format_bytes(report.num_bytes)}, {done}",
        [("spared, too young", str(report.num_spared)), ("pending uploads", str(report.num_pending_uploads))],
    )
