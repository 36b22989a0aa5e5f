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
- No file can be opened and no socket made (see confine.FileGate): import what is needed at the top of the module, or
  list the module in MODULES, from where it is loaded before the handler's first call.
- Raise Reject for a verdict on the source. MemoryError becomes `decoder_memory`; any other exception is `unknown`,
  so map what a decoder is known to raise.

`args` are JSON values. Handlers are pure: a call that is repeated in a fresh child answers the same.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from types import ModuleType
from typing import Any

from ..errors import Reject, RejectReason
from .bytes_source import Blocks, ByteSource, MemoryBytes
from .confine import FileGate, confine
from .fence_protocol import Answer, Channel, ChannelClosed, Message, num_bytes_of, put_arrays
from .limits import DecodeOptions, Limits
from .shared_block import SharedBlock

Handler = Callable[..., Answer | Generator[Answer, None, Answer]]

#: Pillow imports its readers, and what these share, when a file first asks for them.
_PILLOW = (
    *(f"{name}ImagePlugin" for name in ("Avif", "Bmp", "Gif", "Jpeg", "Mpo", "Png", "Ppm", "Tiff", "WebP")),
    *("ImageChops", "ImageOps", "ImagePalette", "ImageSequence", "JpegPresets"),
)
#: Modules that a handler needs, and that not every child does.
MODULES: Mapping[str, Sequence[str]] = {
    **dict.fromkeys(("image", "images"), tuple(f"PIL.{name}" for name in _PILLOW)),
    "documents": (f"{__package__}.text",),
    "audio": (f"{__package__}.audio",),
    "video": (f"{__package__}.video", "av.subtitles.codeccontext", "av.subtitles.subtitle"),
}


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


class _Server:
    """Answers requests until the parent is gone."""

    def __init__(self, peer: _Peer, session: Session, handlers: dict[str, Handler]) -> None:
        self._peer = peer
        self._session = session
        self._handlers = handlers
        self._gate = FileGate()

    def run(self) -> None:
        while True:
            request = self._peer.channel.receive()
            self._peer.channel.send(self._answer(request))

    def _answer(self, request: Message) -> Message:
        """Return the last message that answers `request`."""
        try:
            handler = self._handlers[request["do"]]
            self._import(MODULES.get(request["do"], ()))
            if request["source"] is not None:
                self._session.open(request["source"])
            result = handler(self._session, **request["args"])
            return self._peer.message("done", result if isinstance(result, Answer) else _stream(result, self._peer))
        except Reject as reject:
            return _rejected(reject.reason, reject.message, reject.offset_bytes)
        except MemoryError:
            return _rejected(RejectReason.DECODER_MEMORY, "the decoder ran out of memory")
        except ChannelClosed:
            raise
        except Exception as error:  # noqa: BLE001 - damaged media make decoders raise anything; a verdict on them
            return _rejected(RejectReason.UNKNOWN, f"{type(error).__name__}: {error}")

    def _import(self, modules: Sequence[str]) -> None:
        """Load what a handler needs, the first time that it is called."""
        if any(module not in sys.modules for module in modules):
            with self._gate.opened():
                for module in modules:
                    importlib.import_module(module)


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


def _load(where: str) -> Handler:
    """Return the function that `path/to/file.py:function` or `package.module:function` names."""
    module, _, function = where.rpartition(":")
    handler: Handler = getattr(
        _load_file(module) if module.endswith(".py") else importlib.import_module(module), function
    )
    return handler


@functools.cache
def _load_file(path: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location("unlabeled_user_decoder", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"cannot load {path}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _moved_down(descriptor: int) -> int:
    """Return the lowest number that the descriptor can have: its parent may hold thousands of files."""
    lower = os.dup(descriptor)
    if lower > descriptor:
        os.close(lower)
        return descriptor
    os.close(descriptor)
    return lower


def main() -> None:
    """Serve the parent; the command line names the descriptors (two pipes, inbox, outbox) and the parent's pid."""
    reading, writing, inbox, outbox = (_moved_down(int(word)) for word in sys.argv[1:5])
    parent_pid = int(sys.argv[5])
    channel = Channel(reading, writing)
    settings = channel.receive()
    confine(parent_pid, settings["memory_bytes"])
    from .fence_handlers import HANDLERS, prepare  # decoders are loaded within the limits

    handlers = dict(HANDLERS) | {name: _load(where) for name, where in settings["decoders"].items()}
    if settings["decoder_files"]:
        from .decoder_handlers import load_handler

        handlers |= {handler: load_handler(file) for handler, file in settings["decoder_files"].items()}
    peer = _Peer(channel, SharedBlock(inbox, settings["inbox_bytes"]), SharedBlock(outbox, settings["outbox_bytes"]))
    session = Session(Limits(**settings["limits"]), DecodeOptions(**settings["options"]), peer)
    prepare(session.limits)
    try:
        channel.send({"is": "ready"})
        _Server(peer, session, handlers).run()
    except ChannelClosed:
        return
