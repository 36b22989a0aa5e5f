"""The parent's hold on one child of a fence: started by exec, spoken to over pipes, killed when it must be."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..errors import ConfigError, RejectReason
from .decoder_file import DecoderFile
from .fence_protocol import Channel, ChannelClosed
from .limits import DecodeOptions, Limits
from .shared_block import SharedBlock

_START_SECONDS = 120.0
_STDERR_KEPT_BYTES = 2000
#: One thread for the libraries that read these while they are loaded; the child's environment is empty before.
_BOOTSTRAP = (
    "import os, sys; os.environ.update(OMP_NUM_THREADS='1', OPENBLAS_NUM_THREADS='1'); "
    "sys.path.extend(path for path in sys.argv[6:] if path not in sys.path); "
    "from unlabeled.pipeline.decode.fence_child import main; main()"
)


class ChildProcess:
    """One running child. Not forked from the caller but exec'ed, in its process group; it dies with the caller.

    The kernel ties it to the *thread* that starts it: use it from that thread.
    """

    def __init__(
        self,
        limits: Limits,
        options: DecodeOptions,
        memory_bytes: int,
        decoders: Mapping[str, str],
        decoder_files: Sequence[DecoderFile] = (),
    ) -> None:
        self.inbox = SharedBlock.create("unlabeled-inbox")
        self.outbox = SharedBlock.create("unlabeled-outbox")
        self.channel, theirs = Channel.pair()
        self._stderr, stderr = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)  # never blocks the child; the rest is dropped
        descriptors = (*theirs.descriptors, self.inbox.descriptor, self.outbox.descriptor)
        paths = [path for path in sys.path if Path(path).is_absolute()]
        command = [sys.executable, "-E", "-P", "-X", "utf8", "-X", "faulthandler", "-c", _BOOTSTRAP]
        self._process = subprocess.Popen(
            [*command, *map(str, descriptors), str(os.getpid()), *paths],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            pass_fds=descriptors,
            env={},
            cwd="/",
        )
        theirs.close()
        os.close(stderr)
        self.channel.send(
            {
                "limits": limits.model_dump(),
                "options": options.model_dump(),
                "memory_bytes": memory_bytes,
                "decoders": dict(decoders),
                "decoder_files": {
                    file.handler: {"name": file.name, "media": file.media, "text": file.text} for file in decoder_files
                },
                "inbox_bytes": self.inbox.num_bytes,
                "outbox_bytes": self.outbox.num_bytes,
            }
        )
        self._is_ready = False

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._process.pid

    def wait_until_ready(self) -> None:
        """Return once the child has loaded its decoders.

        Raises ConfigError where it does not start: that is no source's fault.
        """
        if self._is_ready:
            return
        try:
            self.channel.receive(_START_SECONDS)
        except ChannelClosed:
            raise ConfigError(f"The decoder process does not start: {self.died()[1]}") from None
        except TimeoutError:
            raise ConfigError(f"The decoder process did not start within {_START_SECONDS:.0f} s.") from None
        self._is_ready = True

    def is_alive(self) -> bool:
        """Return whether the child still runs."""
        return self._process.poll() is None

    def peak_rss_bytes(self) -> int:
        """Return the most memory that the child has held at once so far; 0 where it is gone."""
        try:
            status = Path(f"/proc/{self.pid}/status").read_text()
        except OSError:
            return 0
        lines = [line for line in status.splitlines() if line.startswith("VmHWM:")]
        return int(lines[0].split()[1]) * 1024 if lines else 0

    def cpu_seconds(self) -> float:
        """Return the CPU time that the child has used so far; 0 where it is gone."""
        try:
            fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return 0.0
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")  # user and system time

    def died(self) -> tuple[RejectReason, str]:
        """Return why the child is gone, as the reason and message of a verdict on what it was decoding."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=5)
        code = self._process.returncode
        if code == -signal.SIGKILL:
            return RejectReason.DECODER_MEMORY, "the decoder was killed, as the system does when memory ends"
        name = signal.Signals(-code).name if code is not None and code < 0 else f"exit status {code}"
        return RejectReason.DECODER_CRASH, f"the decoder died: {name}. {self.read_words()}".strip()

    def kill(self) -> None:
        """Kill the child and free what was shared with it; safe to call again."""
        if self._stderr < 0:
            return
        self._process.kill()
        self._process.wait()
        self.channel.close()
        self.inbox.close()
        self.outbox.close()
        os.close(self._stderr)
        self._stderr = -1

    def read_words(self) -> str:
        """Return the end of what the child has written to its stderr since this was called last."""
        words = b""
        with contextlib.suppress(BlockingIOError):
            while more := os.read(self._stderr, 1 << 16):
                words = (words + more)[-_STDERR_KEPT_BYTES:]
        return " ".join(words.decode("utf-8", "replace").split())
