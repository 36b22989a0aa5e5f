"""The command that erases sources: forget."""

from __future__ import annotations

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
    app,
    run_settings,
)


@app.command()
def forget(
    dataset: Dataset,
    key: Annotated[
        list[str], typer.Argument(metavar="KEY...", help="Source keys, or objects with all their members.")
    ],
    task: OwnTaskOption = None,
    decoder: DecoderFileOption = None,
    num_cpus: NumCpusOption = None,
    address: AddressOption = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Erase sources from all versions, for good: a new version without them, then every object that names them."""
    from .forget import forget as erase
    from .output import ShownProgress, print_json, print_pairs

    run = run_settings(num_cpus, address)
    progress = ShownProgress()
    try:
        report = erase(dataset, key, task=task, decoders=decoder or (), run=run, progress=progress)
    finally:
        progress.close()
    if as_json:
        print_json(report)
        return
    pairs = [
        ("versions left", ", ".join(map(str, report.versions))),
        ("objects removed", str(report.num_removed_objects)),
        ("searched", "every object that is left: none names them"),
    ]
    if report.same_content:
        pairs.append(("same bytes elsewhere", ", ".join(report.same_content)))
    if report.assets:
        pairs.append(("made of a sample, kept", ", ".join(report.assets)))
    print_pairs(f"{report.dataset}: {report.num_sources} sources forgotten, version {report.version}", pairs)
