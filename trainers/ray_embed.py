"""The Ray Data graph of embeddings: row groups in, a few kilobytes an example out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import ray
import ray.data

from .embed import Embedder, Work

_NO_PROGRESS_SECONDS = 6 * 3600


def embed_units(work: Work, num_units: int, num_workers: int) -> Iterator[pa.Table]:
    """Yield the embeddings of all units of a dataset, in plan order.

    Args:
        work: what is embedded, by what.
        num_units: row groups of the split.
        num_workers: processes, each with its own encoder.

    Raises:
        ray.exceptions.RayError: what a worker raised, as its cause.
    """
    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.execution_no_progress_timeout_s = _NO_PROGRESS_SECONDS
    units = ray.data.from_items([{"unit": unit} for unit in range(num_units)], override_num_blocks=num_units)
    units.set_name("embed")
    embedded = units.map_batches(
        _Worker,
        fn_constructor_args=(ray.put(work),),
        batch_size=None,
        batch_format="pyarrow",
        num_cpus=1,
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=max(1, min(num_workers, num_units))),
    )
    yield from embedded.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0)


class _Worker:
    """Embeds units; the encoder is loaded once."""

    def __init__(self, work: Any) -> None:
        import torch

        torch.set_num_threads(1)
        self._embedder = Embedder(ray.get(work))

    def __call__(self, units: pa.Table) -> pa.Table:
        return pa.concat_tables([self._embedder.embed(unit) for unit in units["unit"].to_pylist()])
