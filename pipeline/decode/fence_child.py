"""The child of a fence: a process that may do nothing but compute, and in which untrusted bytes are decoded.

Decoders run here through *handlers*, functions that are found by name:

    def handler(session: Session, **args) -> Answer                              one reply
    def handler(session: Session, **args) -> Generator[Answer, None, Answer]     items, then a last reply

- `session.source` is the ByteSource to decode (`NamelessFile(session.source)` makes a file of it). Where the bytes are
  not in memory, each read of a block goes to the parent: the child has no store, no network and no file of its own.
- `session.data()` is all of the source as bytes, for decoders that want everything at once.
- `session.limits` and `session.options` are the settings.
- `session.kept` is what a handler leaves for the next call on the same source (an open container, a picture). It is
  None when a call brings a new source, and the parent opens the source again where the child had to be replaced.
- What comes back is an `Answer(header, arrays)`: header is JSON, arrays are numpy arrays of the types in
  fence_protocol.DTYPES. A generator's answers are handed to the parent one by one, and the parent may stop early: the
  generator is then closed, so that `finally` runs.
- Raise Reject for a verdict on the source. MemoryError becomes `decoder_memory`; any other exception is `unknown`,
  so map what a decoder is known to raise.

`args` are JSON values. Handlers are pure: a call that is repeated in a fresh child answers the same.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import os
import resource
import signal
import socket
import sys
import warnings
from collections.abc import Callable, Generator
from typing import Any

from ..errors import Reject, RejectReason
from .bytes_source import Blocks, ByteSource, MemoryBytes
from .fence_protocol import Answer, Channel, ChannelClosed, Message, num_bytes_of, put_arrays
from .limits import DecodeOptions, Limits
from .shared_block import SharedBlock

Handler = Callable[..., Answer | Generator[Answer, None, Answer]]

_MAX_OPEN_FILES = 32
_PR_SET_PDEATHSIG = 1
#: glibc: one arena (each takes 64 MB of the address space), and freed pictures are kept for the next one: giving
#: 750 kB back and taking it again, page by page, would take a third of the time of a photograph.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_MALLOC = ((_M_ARENA_MAX, 1), (_M_MMAP_THRESHOLD, 32 << 20), (_M_TRIM_THRESHOLD, 64 << 20))


class Session:
    """What a handler works with; see the module's docstring."""

    def __init__(self, limits: Limits, options: DecodeOptions, peer: _Peer) -> None:
        self.limits = limits
        self.options = options
        self.source: ByteSource = MemoryBytes(b"")
        self.kept: Any = None
        self._peer = peer

    def data(self) -> bytes:
        """Return the whole source."""
        return self.source.read(0, self.source.num_bytes)

    def open(self, source: Message) -> None:
        """Turn to a new source; whatever was kept of the last one is dropped."""
        self.kept = None
        self.source = MemoryBytes(b"")
        self._peer.inbox.attach_again(source["inbox_bytes"])
        if source["is_inline"]:
            self.source = MemoryBytes(self._peer.inbox.memory[: source["num_bytes"]])
        else:
            self.source = Blocks(_ParentSource(source["num_bytes"], self._peer))


class _Peer:
    """The parent, as the child sees it."""

    def __init__(self, channel: Channel, inbox: SharedBlock, outbox: SharedBlock) -> None:
        self.channel = channel
        self.inbox = inbox
        self.outbox = outbox

    def ask(self, message: Message) -> Message:
        self.channel.send(message)
        return self.channel.receive()

    def message(self, kind: str, answer: Answer) -> Message:
        """Return the message for `answer`, its arrays put into the outbox."""
        needed_bytes = num_bytes_of(answer.arrays)
        if needed_bytes > self.outbox.num_bytes:
            self.outbox.attach_again(self.ask({"is": "grow", "num_bytes": needed_bytes})["outbox_bytes"])
        return {"is": kind, "header": answer.header, "arrays": put_arrays(self.outbox, answer.arrays)}


class _ParentSource:
    """A source whose bytes the parent fetches."""

    def __init__(self, num_bytes: int, peer: _Peer) -> None:
        self._num_bytes = num_bytes
        self._peer = peer

    @property
    def num_bytes(self) -> int:
        return self._num_bytes

    def read(self, offset: int, length: int) -> bytes:
        got = self._peer.ask({"is": "need", "offset": offset, "length": length})
        self._peer.inbox.attach_again(got["inbox_bytes"])
        return self._peer.inbox.memory[: got["num_bytes"]]


def _serve(peer: _Peer, session: Session, handlers: dict[str, Handler]) -> None:
    """Answer requests until the parent is gone."""
    while True:
        request = peer.channel.receive()
        peer.channel.send(_answer(request, peer, session, handlers))


def _answer(request: Message, peer: _Peer, session: Session, handlers: dict[str, Handler]) -> Message:
    """Return the last message that answers `request`."""
    try:
        if request["source"] is not None:
            session.open(request["source"])
        result = handlers[request["do"]](session, **request["args"])
        answer = result if isinstance(result, Answer) else _stream(result, peer)
        return peer.message("done", answer)
    except Reject as reject:
        return _rejected(reject.reason, reject.message, reject.offset_bytes)
    except MemoryError:
        return _rejected(RejectReason.DECODER_MEMORY, "the decoder ran out of memory")
    except ChannelClosed:
        raise
    except Exception as error:  # noqa: BLE001 - damaged media make decoders raise anything; here it becomes a verdict
        return _rejected(RejectReason.UNKNOWN, f"{type(error).__name__}: {error}")


def _stream(items: Generator[Answer, None, Answer], peer: _Peer) -> Answer:
    """Hand the items to the parent one by one and return the generator's own answer."""
    while True:
        try:
            item = next(items)
        except StopIteration as stop:
            return stop.value if isinstance(stop.value, Answer) else Answer()
        if peer.ask(peer.message("item", item))["go"] == "stop":
            items.close()
            return Answer()


def _rejected(reason: RejectReason, message: str, offset_bytes: int | None = None) -> Message:
    return {"is": "reject", "reason": reason.value, "message": message[:500], "offset_bytes": offset_bytes}


def _confine(parent_pid: int, memory_bytes: int) -> None:
    """Take away from this process what a decoder does not need; it dies with its parent."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent_pid:  # gone before the line above took effect
        os._exit(0)
    for parameter, value in _MALLOC:
        libc.mallopt(parameter, value)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interrupt means
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (_MAX_OPEN_FILES, _MAX_OPEN_FILES))
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    warnings.simplefilter("ignore")


def _load(where: str) -> Handler:
    """Return the function that `path/to/file.py:function` or `package.module:function` names."""
    module_name, _, function = where.rpartition(":")
    if module_name.endswith(".py"):
        spec = importlib.util.spec_from_file_location("unlabeled_user_decoder", module_name)
        if spec is None or spec.loader is None:
            raise ImportError(f"cannot load {module_name}")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    else:
        module = importlib.import_module(module_name)
    handler: Handler = getattr(module, function)
    return handler


def main() -> None:
    """Serve the parent on the descriptors that the command line names: socket, inbox, outbox, parent's pid."""
    connection, inbox, outbox, parent_pid = (int(word) for word in sys.argv[1:5])
    channel = Channel(socket.socket(fileno=connection))
    settings = channel.receive()
    _confine(parent_pid, settings["memory_bytes"])
    from .fence_handlers import HANDLERS, prepare  # decoders are loaded within the limits

    handlers = dict(HANDLERS) | {name: _load(where) for name, where in settings["decoders"].items()}
    peer = _Peer(channel, SharedBlock(inbox, settings["inbox_bytes"]), SharedBlock(outbox, settings["outbox_bytes"]))
    session = Session(Limits(**settings["limits"]), DecodeOptions(**settings["options"]), peer)
    prepare(session.limits)
    try:
        channel.send({"is": "ready"})
        _serve(peer, session, handlers)
    except ChannelClosed:
        return
