"""Commands that doubt a dataset: audit."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .cli_options import AddressOption, AsJson, Dataset, Debug, NumCpusOption, Version, app, run_settings


@app.command()
def audit(
    dataset: Dataset,
    out: Annotated[Path | None, typer.Option("--out", help="HTML file to write.")] = None,
    max_examples: Annotated[int, typer.Option(help="About how many examples to look at.")] = 6000,
    meaning: Annotated[
        bool, typer.Option("--meaning/--no-meaning", help="Train a small network, too (needs torch).")
    ] = True,
    seed: Annotated[int, typer.Option(help="Seed of folds, permutations and the network.")] = 0,
    version: Version = None,
    num_cpus: NumCpusOption = None,
    address: AddressOption = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Can cheap cues tell the label, and what does it mean here? Verdicts stay in the dataset. Exit 5 on a leak."""
    from .audit import Audit, failure, write_page
    from .output import ShownProgress, print_json
    from .planned import print_audit

    run = run_settings(num_cpus, address)
    progress = ShownProgress(quiet=as_json)
    report = Audit(dataset, version, max_examples, seed, meaning, run, say=progress.phase)()
    if out is not None:
        write_page(report, out)
    if as_json:
        print_json(report)
    else:
        print_audit(report)
    error = failure(report)
    if error is not None:
        raise error
