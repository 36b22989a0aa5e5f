"""obstore's clients: how they are opened, and what their errors mean."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import urlsplit

from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
)

from .errors import AlreadyExists, Changed, ConfigError, NotFound, PermissionDenied, StoreError
from .storage import StoreOptions

if TYPE_CHECKING:
    from obstore.store import AzureStore, ClientConfig, GCSStore, RetryConfig, S3Config, S3CredentialProvider, S3Store

Client: TypeAlias = "S3Store | GCSStore | AzureStore"


class ShortBody(OSError):
    """A body ended before the length that its header announced, or is not what its checksum announced."""


class RangeNotSatisfiable(StoreError):
    """A range starts at or after the object's end."""


#: What obstore raises: its own errors, FileNotFoundError, and ValueError for a key that it cannot name.
CLIENT_ERRORS = (BaseError, OSError, ValueError)

_STATUS = re.compile(r"status code: (\d{3})")
_TAG = re.compile(r"<(Code|Message)>(.*?)</\1>", re.DOTALL)
_CAUSE = re.compile(r"\bkind: (Connect|Timeout|Interrupted|Decode)\b")
_UNANSWERED = re.compile(r"\bkind: (Connect|Timeout|Interrupted)\b")
_RETRIED = re.compile(r" after \d+ retries, max_retries: ")
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


def open_client(scheme: str, bucket: str, options: StoreOptions) -> Client:
    """Return an obstore client for a bucket; nothing is contacted yet.

    Raises:
        ConfigError: half of a key pair, or an unencrypted endpoint elsewhere without `allow_http`.
        PermissionDenied: no S3 credentials anywhere, where the metadata service is switched off.
    """
    from obstore.store import AzureStore, GCSStore

    if scheme == "s3":
        return _open_s3(bucket, options)
    client, retries = client_config(options), retry_config(options)
    if scheme == "gs":
        return GCSStore(bucket, client_options=client, retry_config=retries)
    return AzureStore(bucket, client_options=client, retry_config=retries)


def client_config(options: StoreOptions) -> ClientConfig:
    """Return timeouts, and whether http is allowed: to this machine always, elsewhere where the user says so."""
    config: ClientConfig = {
        "connect_timeout": timedelta(seconds=min(10.0, options.timeout_seconds)),
        "read_timeout": timedelta(seconds=options.timeout_seconds),
        "timeout": timedelta(seconds=options.timeout_seconds * 10),
    }
    if options.allow_http or is_loopback(s3_endpoint(options)):
        config["allow_http"] = True
    return config


def retry_config(options: StoreOptions) -> RetryConfig:
    """Return obstore's own retries: exponential with jitter, bounded in number and time."""
    return {
        "max_retries": options.num_retries,
        "retry_timeout": timedelta(seconds=options.retry_budget_seconds),
        "backoff": {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=10), "base": 2},
    }


def s3_endpoint(options: StoreOptions) -> str:
    """Return the S3 endpoint of options or environment, "" for Amazon's own."""
    names = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
    return options.endpoint_url or next((os.environ[name] for name in names if os.environ.get(name)), "")


def s3_region(options: StoreOptions) -> str:
    """Return the region of options or environment; us-east-1 where neither says."""
    return options.region or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"


def s3_config(options: StoreOptions) -> S3Config:
    """Return what the options say explicitly, in obstore's words; the rest it takes from the environment.

    Raises:
        ConfigError: half of a key pair, or an unencrypted endpoint elsewhere without `allow_http`.
    """
    if bool(options.access_key_id) != bool(options.secret_access_key):
        raise ConfigError("store options: access_key_id and secret_access_key go together; found only one of them.")
    endpoint = s3_endpoint(options)
    is_http_allowed = options.allow_http or _is_set("AWS_ALLOW_HTTP") or is_loopback(endpoint)
    if endpoint.startswith("http://") and not is_http_allowed:
        raise ConfigError(f"endpoint {endpoint!r} is not encrypted: use https://, or set AWS_ALLOW_HTTP=true.")
    config: S3Config = {"region": s3_region(options)}
    if options.endpoint_url:
        config["aws_endpoint_url_s3"] = options.endpoint_url  # the one name that no variable overrides
    if options.access_key_id:
        config["access_key_id"] = options.access_key_id
        config["secret_access_key"] = options.secret_access_key
        config["session_token"] = options.session_token
    return config


def is_loopback(endpoint: str) -> bool:
    """Return whether the endpoint is on this machine."""
    return urlsplit(endpoint).hostname in _LOOPBACK


def _open_s3(bucket: str, options: StoreOptions) -> S3Store:
    from obstore.store import S3Store

    return S3Store(
        bucket,
        config=s3_config(options),
        client_options=client_config(options),
        retry_config=retry_config(options),
        credential_provider=s3_credential_provider(options),
    )


def s3_credential_provider(options: StoreOptions) -> S3CredentialProvider | None:
    """Return a source of credentials that obstore does not know itself (profiles), or None.

    obstore reads key pairs, web identity and container credentials from the environment, and asks the
    instance's metadata service last; that last step is refused here where AWS_EC2_METADATA_DISABLED is true.

    Raises:
        PermissionDenied: there are no credentials.
    """
    known = ("AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
             "AWS_CONTAINER_CREDENTIALS_FULL_URI")  # fmt: skip
    if options.access_key_id or _is_set("AWS_SKIP_SIGNATURE") or any(os.environ.get(name) for name in known):
        return None
    profile = os.environ.get("AWS_PROFILE", "")
    files = [os.environ.get("AWS_SHARED_CREDENTIALS_FILE", ""), os.environ.get("AWS_CONFIG_FILE", "")]
    files += [str(Path.home() / ".aws" / name) for name in ("credentials", "config")]
    if profile or any(path and Path(path).is_file() for path in files):
        if importlib.util.find_spec("boto3"):
            from obstore.auth.boto3 import Boto3CredentialProvider

            return Boto3CredentialProvider()
        if profile:
            raise ConfigError(f"AWS_PROFILE={profile}: profiles need boto3: pip install 'unlabeled[s3]'.")
    if _is_set("AWS_EC2_METADATA_DISABLED"):
        raise PermissionDenied("no S3 credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile.")
    return None


def _is_set(name: str) -> bool:
    return os.environ.get(name, "").lower() in ("1", "true", "yes", "on")


def is_worth_another_try(error: Exception) -> bool:
    """Return whether obstore gave up on what may pass: creates that conflict or stay unanswered, a body cut short.

    Amazon answers 409 ConditionalRequestConflict where two creates meet; obstore reports it as AlreadyExists
    although the key may still be free. A create that timed out or whose connection broke it does not repeat, since it
    may have worked: then the repetition finds the key taken.
    """
    text = str(error)
    is_unanswered_create = bool(_UNANSWERED.search(text)) and not _RETRIED.search(text)
    return isinstance(error, ShortBody) or _is_conflict(text) or is_unanswered_create


def _is_conflict(text: str) -> bool:
    """Return whether S3 found two requests at once; other 409s (Azure's BlobAlreadyExists) say the key is taken."""
    return "ConditionalRequestConflict" in text or "OperationAborted" in text


def translated(error: Exception, name: str) -> StoreError:
    """Return our error for one of obstore's: `name: code: message (HTTP status)`."""
    text = str(error)
    status = match[1] if (match := _STATUS.search(text)) else ""
    tags = dict(_TAG.findall(text))
    return _error_class(error, status)(f"{name}: {_summary(text, tags, status)}")


def _summary(text: str, tags: dict[str, str], status: str) -> str:
    if tags:
        return f"{tags.get('Code', 'error')}: {tags.get('Message', '')}".rstrip(": ") + f" (HTTP {status})"
    if status:
        return f"HTTP {status}"
    cause = f" ({match[1].lower()})" if (match := _CAUSE.search(text)) else ""
    return text.partition("\n\nDebug source")[0].strip().replace("\n", " ")[:400] + cause


def _error_class(error: Exception, status: str) -> type[StoreError]:
    if isinstance(error, FileNotFoundError) or status == "404":
        return NotFound
    if isinstance(error, PermissionDeniedError | UnauthenticatedError) or status in ("401", "403"):
        return PermissionDenied
    if isinstance(error, AlreadyExistsError) and not _is_conflict(str(error)):
        return AlreadyExists
    if isinstance(error, PreconditionError):
        return Changed
    if status == "416":
        return RangeNotSatisfiable
    return StoreError


_MD5 = re.compile(r'"?([0-9a-f]{32})"?')


@dataclass
class Etags:
    """What is known of a store's etags: false once one that looks like an MD5 has turned out to be none."""

    are_md5: bool


class Md5Check:
    """Compares the bodies of one object with its etag, where that is the MD5 of the content (S3, one part, no KMS).

    A body that differs is fetched again. The same bytes twice mean that the etag is no MD5 after all; two different
    bodies mean that something on the way changes them.
    """

    def __init__(self, etags: Etags) -> None:
        self._etags = etags
        self._seen: set[str] = set()

    def __call__(self, body: bytes, etag: str) -> bytes:
        """Return the body. Raises ShortBody where it is to be fetched again."""
        announced = _MD5.fullmatch(etag) if self._etags.are_md5 else None
        if announced is None:
            return body
        found = hashlib.md5(body, usedforsecurity=False).hexdigest()
        if found == announced[1]:
            return body
        if found in self._seen:
            self._etags.are_md5 = False
            return body
        self._seen.add(found)
        raise ShortBody(f"the MD5 of the {len(body)} bytes that came is {found}, the etag says {announced[1]}")
