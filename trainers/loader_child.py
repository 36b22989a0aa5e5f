"""The main program of a loader process: makes the batches that it was told to, block by block."""

from __future__ import annotations

import json
import signal
from collections.abc import Mapping, Sequence
from fractions import Fraction
from multiprocessing.connection import Connection
from typing import Any

from ..pipeline.decode.shared_block import SharedBlock
from ..pipeline.errors import UnlabeledError
from ..pipeline.storage import StoreOptions
from .data import Loader, LoaderSettings
from .mixture import DataShare
from .shared_columns import put_columns


def main(connection: int, *blocks: int) -> None:
    """Serve the process at the other end of `connection`, through `blocks` in turn; return when it is gone.

    It sends the order, then an empty message for each block that may be written to. It is sent a message for each
    batch, one without columns after the last, or {"error": [class, message]}.
    """
    # Ctrl-C reaches the whole process group: the training decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    peer = Connection(connection)
    shared = [SharedBlock(descriptor, 1 << 20) for descriptor in blocks]
    try:
        _serve(peer, shared)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return


def _serve(peer: Connection, blocks: Sequence[SharedBlock]) -> None:
    order = json.loads(peer.recv_bytes())
    try:
        for number, batch in enumerate(_loader(order).batches(order["start_step"], order["stop_step"])):
            peer.recv_bytes()
            told = put_columns(blocks[number % len(blocks)], batch.columns)
            message = {"step": batch.step, "epoch": batch.epoch, "ids": batch.example_ids, **told}
            peer.send_bytes(json.dumps(message, separators=(",", ":")).encode())
    except UnlabeledError as error:
        known = next(kind for kind in type(error).__mro__ if kind.__module__ == UnlabeledError.__module__)
        peer.send_bytes(json.dumps({"error": [known.__name__, str(error)]}).encode())
    else:
        peer.send_bytes(b"{}")


def _loader(order: Mapping[str, Any]) -> Loader:
    shares = [DataShare(dataset, Fraction(share), version) for dataset, share, version in order["data"]]
    options = StoreOptions(**order["store_options"]) if order["store_options"] else None
    return Loader(shares, LoaderSettings.model_validate(order["settings"]), options)
