"""The command `embed`."""

from __future__ import annotations

from typing import Annotated

import typer

from .cli_options import AsJson, Dataset, Debug, Version, app


@app.command()
def embed(
    dataset: Dataset,
    encoder: Annotated[str, typer.Option("--encoder", "-e", help="Folder of an encoder, or of a run that holds one.")],
    output: Annotated[str, typer.Option("--output", "-o", help="Parquet file to make; never replaced.")],
    split: Annotated[str, typer.Option(help="train, val or all.")] = "all",
    batch_size: Annotated[int, typer.Option(min=1, help="Examples that the encoder takes at a time.")] = 64,
    milvus: Annotated[str, typer.Option(help="File (Milvus Lite) or server that gets a collection, too.")] = "",
    collection: Annotated[str, typer.Option(help="Name of that collection.")] = "embeddings",
    lance: Annotated[str, typer.Option(help="Where to make a Lance dataset, too.")] = "",
    num_cpus: Annotated[int | None, typer.Option(help="CPUs of a local Ray. [default: all]")] = None,
    address: Annotated[str | None, typer.Option(envvar="RAY_ADDRESS", help="Address of a Ray cluster.")] = None,
    version: Version = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Turn each example of a dataset into a vector: one Parquet file of ids, keys, labels and embeddings."""
    from ..pipeline.config import RunSettings
    from ..pipeline.errors import ConfigError, nearest
    from .embed import Embed
    from .output import format_bytes, format_seconds, print_json, print_pairs

    splits = ("train", "val", "all")
    if split not in splits:
        raise ConfigError(f"split: found {split!r}, expected {', '.join(splits)}.{nearest(split, splits)}")
    report = Embed(
        dataset,
        encoder,
        output,
        split=split,  # type: ignore[arg-type] # one of the three, as checked above
        version=version,
        batch_size=batch_size,
        milvus=milvus,
        collection=collection,
        lance=lance,
        run=RunSettings(num_cpus=num_cpus, address=address),
    ).execute()
    if as_json:
        print_json(report)
        return
    pairs = [
        ("examples", f"{report.num_examples}, each {report.num_features} numbers"),
        ("file", f"{report.output}, {format_bytes(report.num_bytes)}"),
        ("took", format_seconds(report.seconds)),
    ]
    pairs += [(name, place) for name, place in (("milvus", report.milvus), ("lance", report.lance)) if place]
    print_pairs(f"{report.dataset}: version {report.version} embedded", pairs)
