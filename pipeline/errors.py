"""Every exception of the project, in one tree.

    UnlabeledError                exit 1
    ├── ConfigError               exit 2   a setting, task or location is wrong; nothing was done
    ├── TooManyRejects            exit 3   rejects over the limit; nothing was published
    ├── Conflict                  exit 4   another writer published first
    ├── CheckFailed               exit 5   verify or audit found a problem
    ├── Interrupted               exit 75  stopped on request; running again resumes
    ├── CorruptData               exit 1   stored bytes are not what their checksum or format says
    └── StoreError                exit 1   the object store failed beyond its retry budget
        ├── NotFound
        ├── AlreadyExists
        ├── PermissionDenied
        └── Changed               an object is not the one that was listed

Two exceptions carry the fate of one source and never leave a run:

    Reject      the source cannot be used: its bytes are wrong, hostile, missing or over a limit
    Filtered    the source is fine, but this task can make no example of it
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from enum import StrEnum
from typing import ClassVar


class UnlabeledError(Exception):
    """Base of every error that ends a command."""

    exit_code: ClassVar[int] = 1


class ConfigError(UnlabeledError):
    """A setting, task name or location is wrong; raised before any work starts."""

    exit_code = 2


class TooManyRejects(UnlabeledError):
    """More sources were rejected than the limit allows; nothing was published."""

    exit_code = 3


class Conflict(UnlabeledError):
    """Another writer published the version that this one had prepared."""

    exit_code = 4


class CheckFailed(UnlabeledError):
    """A check (verify, audit) found a problem."""

    exit_code = 5


class Interrupted(UnlabeledError):
    """The run was stopped on request; running the same command again resumes it."""

    exit_code = 75


class CorruptData(UnlabeledError):
    """Stored bytes are not what their checksum, schema or format version says."""


class StoreError(UnlabeledError):
    """The object store failed beyond its retry budget, or refused for good."""


class NotFound(StoreError):
    """No object stands under this key."""


class AlreadyExists(StoreError):
    """A create-only put found the key taken."""


class PermissionDenied(StoreError):
    """The store refused the credentials or the operation."""


class Changed(StoreError):
    """The object under this key is not the one that was listed."""


class RejectReason(StrEnum):
    """Why a source was rejected: the closed list that `rejects` counts by."""

    UNSUPPORTED_KEY = "unsupported_key"
    MISSING = "missing"
    CHANGED = "changed"
    EMPTY = "empty"
    UNIDENTIFIED = "unidentified"
    FORMAT_NOT_ALLOWED = "format_not_allowed"
    NO_STREAM = "no_stream"
    CORRUPT = "corrupt"
    TRUNCATED = "truncated"
    NON_FINITE = "non_finite"
    ZERO_DURATION = "zero_duration"
    UNSUPPORTED_FEATURE = "unsupported_feature"
    LIMIT_BYTES = "limit_bytes"
    LIMIT_PIXELS = "limit_pixels"
    LIMIT_FRAMES = "limit_frames"
    LIMIT_SECONDS = "limit_seconds"
    LIMIT_SAMPLES = "limit_samples"
    LIMIT_CHANNELS = "limit_channels"
    LIMIT_RATE = "limit_rate"
    LIMIT_OUTPUT = "limit_output"
    BAD_ENCODING = "bad_encoding"
    DECODER_CRASH = "decoder_crash"
    DECODER_HANG = "decoder_hang"
    DECODER_MEMORY = "decoder_memory"
    WORKER_DEATH = "worker_death"
    UNKNOWN = "unknown"


class Stage(StrEnum):
    """Where on the way a source was rejected."""

    LIST = "list"
    READ = "read"
    DECODE = "decode"
    EXAMPLES = "examples"


#: The same bytes may well decode on another try: a clock, memory or a crash decided.
TRANSIENT_REASONS = frozenset(
    {
        RejectReason.MISSING,
        RejectReason.CHANGED,
        RejectReason.DECODER_CRASH,
        RejectReason.DECODER_HANG,
        RejectReason.DECODER_MEMORY,
        RejectReason.WORKER_DEATH,
    }
)


class Reject(Exception):
    """A source cannot be used.

    Args:
        reason: from the closed list.
        message: what a person needs to find the fault; at most 500 characters are kept.
        stage: where on the way it was found.
        offset_bytes: where in the source, when known.
    """

    def __init__(
        self,
        reason: RejectReason,
        message: str,
        *,
        stage: Stage = Stage.DECODE,
        offset_bytes: int | None = None,
    ) -> None:
        super().__init__(message)
        self.reason = RejectReason(reason)
        self.message = message[:500]
        self.stage = stage
        self.offset_bytes = offset_bytes

    @property
    def is_permanent(self) -> bool:
        """True where the same bytes will get the same verdict again."""
        return self.reason not in TRANSIENT_REASONS

    def __reduce__(self) -> tuple[object, ...]:
        return (_make_reject, (str(self.reason), self.message, str(self.stage), self.offset_bytes))


def _make_reject(reason: str, message: str, stage: str, offset_bytes: int | None) -> Reject:
    return Reject(RejectReason(reason), message, stage=Stage(stage), offset_bytes=offset_bytes)


class Filtered(Exception):
    """The source is sound, but this task makes no example of it.

    Args:
        reason: a short snake_case code that `filtered_by_reason` counts by, such as `too_short`.
        message: the measured value and the limit, for a person.
    """

    def __init__(self, reason: str, message: str = "") -> None:
        super().__init__(reason, message)
        self.reason = reason
        self.message = message[:500]


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ` Did you mean 'x'?` for the known name closest to `name`, or an empty string."""
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" Did you mean {matches[0]!r}?" if matches else ""
