"""From the loader's arrays to tensors on the device, ahead of the training.

A thread beside the training arranges each batch (masks are drawn there). For a GPU it is copied through pinned
memory on a stream of its own, so that copies and kernels overlap.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .data import Batch

#: Batches that wait on the device.
_AHEAD = 2


@dataclass(frozen=True)
class Staged:
    """One rank's share of a batch on the device. tensors: by name, an entry an example."""

    step: int
    epoch: int
    num_examples: int
    tensors: Mapping[str, Tensor]


Arrange = Callable[[Batch], Mapping[str, Any]]


def staged(batches: Iterable[Batch], arrange: Arrange, device: torch.device) -> Iterator[Staged]:
    """Yield the batches on the device, in order; raises what loading or arranging raised."""
    feed: queue.Queue[tuple[Staged, Any] | BaseException | None] = queue.Queue(_AHEAD)
    stopped = threading.Event()
    stream = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]
    thread = threading.Thread(target=_fill, args=(feed, stopped, batches, arrange, device, stream), daemon=True)
    thread.start()
    try:
        while (item := feed.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield _ready(*item, device)
    finally:
        stopped.set()
        while thread.is_alive():
            _drain(feed)
            thread.join(0.05)


def _ready(batch: Staged, is_copied: Any, device: torch.device) -> Staged:
    """Have the kernels to come wait for this batch's copy, and for no later one."""
    if is_copied is not None:
        current = torch.cuda.current_stream(device)
        current.wait_event(is_copied)
        for tensor in batch.tensors.values():
            # Else the allocator could give the memory to the next copy while kernels still read it.
            tensor.record_stream(current)
    return batch


def _drain(feed: queue.Queue[Any]) -> None:
    while not feed.empty():
        feed.get_nowait()


def _fill(
    feed: queue.Queue[Any],
    stopped: threading.Event,
    batches: Iterable[Batch],
    arrange: Arrange,
    device: torch.device,
    stream: Any,
) -> None:
    source = iter(batches)
    try:
        for batch in source:
            tensors = to_device(arrange(batch), device, stream)
            is_copied = None if stream is None else stream.record_event()
            feed.put((Staged(batch.step, batch.epoch, len(batch.example_ids), tensors), is_copied))
            if stopped.is_set():
                break
        feed.put(None)
    except BaseException as error:  # noqa: BLE001 - raised again where the batches are consumed
        feed.put(error)
    finally:
        close = getattr(source, "close", None)
        if close is not None:
            close()


def to_device(arrays: Mapping[str, Any], device: torch.device, stream: Any = None) -> dict[str, Tensor]:
    """Return arrays as tensors on the device; with a stream, copied on it through pinned memory."""
    tensors = {name: _tensor(array) for name, array in arrays.items()}
    if stream is None:
        return {name: tensor.to(device) for name, tensor in tensors.items()}
    with torch.cuda.stream(stream):
        return {name: tensor.pin_memory().to(device, non_blocking=True) for name, tensor in tensors.items()}


def _tensor(array: Any) -> Tensor:
    array = np.ascontiguousarray(array)
    # Decoded media may be read-only views; nothing writes to a batch.
    return torch.from_numpy(array if array.flags.writeable else array.copy())
