"""Commands that train on datasets: pretrain."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from .cli_options import AddressOption, AsJson, ConfigOption, Debug, NumCpusOption, SeedOption, SetOption, app


@app.command()
def pretrain(
    data: Annotated[
        list[str],
        typer.Option("--data", "-d", help="Pretext dataset: URI or path; several as DATASET=SHARE, such as a/b=0.7."),
    ],
    output: Annotated[str, typer.Option("--output", "-o", help="Where the run stands or shall stand.")],
    encoder: Annotated[
        str | None, typer.Option(help="Name of the encoder, such as resnet-18 or vit-small; default by the data.")
    ] = None,
    epochs: Annotated[float | None, typer.Option(help="Passes over the train split. [default: 10]")] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Examples of a step, over all workers. [default: 256]")
    ] = None,
    num_workers: Annotated[
        int | None, typer.Option(help="Ray Train workers; 0 trains in this process. [default: 1]")
    ] = None,
    seed: SeedOption = None,
    num_cpus: NumCpusOption = None,
    address: AddressOption = None,
    config: ConfigOption = None,
    set_: SetOption = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Pretrain an encoder on a dataset. Run it again: it resumes, or says that it is done."""
    from ..trainers.config import PretrainSettings
    from ..trainers.loop import Report
    from ..trainers.metrics import progress_line
    from ..trainers.mixture import parse_data
    from .config import read_settings
    from .output import format_seconds, print_json, print_pairs
    from .pretrain import Pretrain, Remaining

    overrides = {
        "encoder.name": encoder,
        "num_epochs": epochs,
        "batch_size": batch_size,
        "run.num_workers": num_workers,
        "seed": seed,
        "run.num_cpus": num_cpus,
        "run.address": address,
    }
    settings: PretrainSettings = read_settings(PretrainSettings, config, set_ or (), overrides)
    remaining = Remaining()

    def show(report: Report) -> None:
        num_steps = round(settings.num_epochs * report["step"] / report["epoch"])
        left = remaining.seconds(report, num_steps)
        sys.stderr.write(progress_line(report, num_steps, settings.num_epochs, left) + "\n")
        sys.stderr.flush()

    result = Pretrain(parse_data(data), output, settings).run(show)
    if as_json:
        print_json(result)
        return
    scores = [(name, f"{value:.4g}") for name, value in result.metrics.items() if name.startswith("val_")]
    print_pairs(
        f"{result.output}: {result.encoder} pretrained by {result.task}",
        [
            ("encoder", f"{result.output}/encoder, {result.num_parameters:,} parameters"),
            ("examples", f"{result.num_examples:,} in {result.num_steps:,} steps, {format_seconds(result.seconds)}"),
            *scores,
            ("curves", f"tensorboard --logdir {result.output}/tensorboard"),
        ],
    )
