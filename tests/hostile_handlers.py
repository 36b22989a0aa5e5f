"""Handlers for a fence's child that do what no decoder should; given to a Fence by `decoders=DECODERS`."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import socket
import time
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from unlabeled.pipeline.decode.fence_child import Session
from unlabeled.pipeline.decode.fence_handlers import HANDLERS
from unlabeled.pipeline.decode.fence_protocol import Answer
from unlabeled.pipeline.errors import Reject, RejectReason


def crash(session: Session) -> Answer:
    """Read from nowhere: a real segmentation fault."""
    ctypes.string_at(0)
    return Answer()


def abort(session: Session) -> Answer:
    os.write(2, b"free(): invalid pointer\n")
    os.abort()


def leave(session: Session) -> Answer:
    os._exit(3)


def killed(session: Session) -> Answer:
    os.kill(os.getpid(), signal.SIGKILL)
    return Answer()


def hang(session: Session) -> Answer:
    time.sleep(3600)
    return Answer()


def hang_while_reading(session: Session) -> Answer:
    """Ask for bytes again and again: the parent is busy all the time, but nothing is ever finished."""
    while True:
        session.source.read(0, 1)
        time.sleep(0.001)


def fill_memory(session: Session) -> Answer:
    held = [np.ones(1 << 24, np.uint8) for _ in range(10_000)]
    return Answer({"held": len(held)})


def chatter(session: Session) -> Answer:
    """Write far more to stderr than a pipe holds."""
    with contextlib.suppress(BlockingIOError):
        for _ in range(100):
            os.write(2, b"x" * 10_000)
    return Answer()


def unknown(session: Session) -> Answer:
    raise KeyError("no decoder is known to raise this")


def verdict(session: Session) -> Answer:
    raise Reject(RejectReason.CORRUPT, "damaged", offset_bytes=7)


def nonsense(session: Session) -> Answer:
    session._peer.ask({"is": "a surprise"})
    return Answer()


def beyond(session: Session) -> Answer:
    """Claim an array that lies outside of the shared block."""
    places = [{"dtype": "|u1", "shape": [1 << 40], "offset": 0}]
    session._peer.ask({"is": "done", "header": {}, "arrays": places})
    return Answer()


def greedy(session: Session) -> Answer:
    """Ask for bytes that no source has."""
    session._peer.ask({"is": "need", "offset": -5, "length": 1 << 40})
    return Answer()


def count(session: Session, num_items: int, item_bytes: int = 1) -> Generator[Answer, None, Answer]:
    """Yield numbers with arrays; say at the end that all were asked for."""
    for number in range(num_items):
        yield Answer({"number": number, "pid": os.getpid()}, [np.full(item_bytes, number % 256, np.uint8)])
    return Answer({"all": True})


def echo(session: Session) -> Answer:
    return Answer({"num_bytes": session.source.num_bytes}, [np.frombuffer(session.data(), np.uint8)])


def read(session: Session, offset: int, length: int) -> Answer:
    return Answer({}, [np.frombuffer(session.source.read(offset, length), np.uint8)])


def keep(session: Session) -> Answer:
    session.kept = session.data()
    return Answer({"num_bytes": len(session.kept)})


def kept(session: Session) -> Answer:
    return Answer({"kept": None if session.kept is None else session.kept.decode()})


def surroundings(session: Session) -> Answer:
    """Say what this process sees of the world."""
    limits = ("AS", "CORE", "FSIZE", "NOFILE")
    return Answer(
        {
            "cwd": str(Path.cwd()),
            "group": os.getpgid(0),
            "limits": {name: resource.getrlimit(getattr(resource, f"RLIMIT_{name}")) for name in limits},
        }
    )


def attempt(session: Session, what: str, path: str) -> Answer:
    """Try something that takes a file or a socket, and say what came of it."""
    attempts = {
        "read": lambda: Path(path).read_bytes(),
        "write": lambda: Path(path).write_bytes(b"x"),
        "list": lambda: os.listdir(path),  # noqa: PTH208 - any way counts
        "socket": lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM),
        "pipe": os.pipe,
        "write with descriptors": lambda: _write_with_descriptors(path),
    }
    try:
        attempts[what]()
    except OSError as error:
        return Answer({"errno": error.errno})
    return Answer({"errno": 0})


def _write_with_descriptors(path: str) -> None:
    """Lift the limit on descriptors first, as only code of one's own can: the limit on file sizes still holds."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with open(path, "wb") as file:  # noqa: PTH123 - the plainest way
        file.write(b"x")


def image_with_poison(session: Session, **args: Any) -> Answer | Generator[Answer, None, Answer]:
    return _dying_of_poison("image", session, args)


def images_with_poison(session: Session, **args: Any) -> Answer | Generator[Answer, None, Answer]:
    return _dying_of_poison("images", session, args)


def _dying_of_poison(
    handler: str, session: Session, args: Mapping[str, Any]
) -> Answer | Generator[Answer, None, Answer]:
    if POISON in session.data():
        ctypes.string_at(0)
    return HANDLERS[handler](session, **args)


#: Kills the handlers of POISONED when it stands in a picture's bytes.
POISON = b"poison of tests"
POISONED = {name: f"{__file__}:{name}_with_poison" for name in ("image", "images")}
DECODERS = {
    function.__name__: f"{__file__}:{function.__name__}"
    for function in (
        crash, abort, leave, killed, hang, hang_while_reading, fill_memory, chatter, unknown, verdict, nonsense,
        beyond, greedy, count, echo, read, keep, kept, surroundings, attempt,
    )
}  # fmt: skip
