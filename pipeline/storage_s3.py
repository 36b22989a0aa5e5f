"""S3 requests that obstore does not offer: listings with every key as it is, and uploads that were never finished.

object_store, under obstore, fails a whole page of a listing on one key with `//`, `..` or a control
character, and gives the marker `a/` as an object `a`. So these requests are made here: obstore signs them,
with whatever credentials it has, and the replies are read as they came.
"""

from __future__ import annotations

import contextlib
import os
import random
import time
import urllib.request
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Literal, TypeAlias
from urllib.parse import quote, unquote_plus, urlsplit
from xml.etree import ElementTree as ET

import urllib3

from .errors import NotFound, StoreError
from .storage import StoreOptions
from .storage_client import client_config, s3_config, s3_credential_provider, s3_endpoint, s3_region

if TYPE_CHECKING:
    from obstore.store import S3CredentialProvider

#: Full key, size, etag, time.
Entry: TypeAlias = tuple[str, int, str, datetime]
#: Full key, upload id, time of its start.
Upload: TypeAlias = tuple[str, str, datetime]

Method: TypeAlias = Literal["GET", "DELETE"]
Query: TypeAlias = dict[str, str]
_Step: TypeAlias = tuple[list[Entry], list[Query]]

#: Requests of one listing that run at once.
NUM_LISTERS = 16
#: Folders are listed apart where a page shows no more of them than this; else each would cost a request for few keys.
_MAX_FOLDERS_A_PAGE = 20

EXPIRES = timedelta(minutes=15)


class Refused(StoreError):
    """The server does not take this request, though it may take obstore's own, which is signed in headers."""


def list_pages(requests: S3Requests, folder: str) -> Iterator[list[Entry]]:
    """Yield all objects whose key starts with `folder`, about a thousand at a time, in no promised order.

    What does not fit into a page and lies in few folders is listed folder by folder, many at a time. Nothing depends
    on the order in which the server lists, which differs between servers.

    Raises:
        Refused: on the first page, when the server does not take a request signed in its URL.
        NotFound: the bucket does not exist.
        StoreError: beyond the retry budget.
    """
    entries, following = _list_step(requests, {"list-type": "2", "encoding-type": "url", "prefix": folder})
    yield entries
    todo, running = deque(following), set[Future[_Step]]()
    if not todo:
        return
    with ThreadPoolExecutor(NUM_LISTERS, thread_name_prefix="unlabeled-list") as pool:
        try:
            while todo or running:
                # No more than this waits for whoever takes the pages: a listing may be of any length.
                while todo and len(running) < 2 * NUM_LISTERS:
                    running.add(pool.submit(_list_step, requests, todo.popleft()))
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    entries, following = future.result()
                    todo.extend(following)
                    yield entries
        except Refused as error:
            raise StoreError(str(error)) from error  # too late to list in another way
        finally:
            pool.shutdown(cancel_futures=True)


def _list_step(requests: S3Requests, query: Query) -> _Step:
    """Return the entries of one request, and the requests that list what it leaves out."""
    found = parse_listing(requests.send("GET", "", query))
    is_first = "continuation-token" not in query and "delimiter" not in query
    if found.token and is_first and 1 <= _num_folders(found.entries, query["prefix"]) <= _MAX_FOLDERS_A_PAGE:
        # Listed anew with its folders apart: they may be many, and long.
        return [], [{**query, "delimiter": "/"}]
    of_folder = {name: value for name, value in query.items() if name not in ("delimiter", "continuation-token")}
    following = [{**of_folder, "prefix": below} for below in found.folders]
    if found.token:
        following.append({**query, "continuation-token": found.token})
    return found.entries, following


def _num_folders(entries: Sequence[Entry], folder: str) -> int:
    """Return how many folders directly in `folder` hold entries."""
    return len({key[len(folder) :].partition("/")[0] for key, *_ in entries if "/" in key[len(folder) :]})


def list_uploads(requests: S3Requests, folder: str) -> Iterator[Upload]:
    """Yield the uploads in parts under `folder` that are neither finished nor aborted; raises as `list_pages`."""
    query = {"uploads": "", "prefix": folder}  # no encoding-type: some servers say so here, and do not encode
    while True:
        root = _parse(requests.send("GET", "", query))
        for element in root.iterfind("{*}Upload"):
            started = datetime.fromisoformat(_text(element, "Initiated"))
            yield _text(element, "Key"), _text(element, "UploadId"), started
        if _text(root, "IsTruncated") != "true":
            return
        query["key-marker"] = _text(root, "NextKeyMarker")
        query["upload-id-marker"] = _text(root, "NextUploadIdMarker")


def abort_upload(requests: S3Requests, key: str, upload_id: str) -> None:
    """Drop the parts of an unfinished upload; one that is finished or gone already is no error."""
    with contextlib.suppress(NotFound):
        requests.send("DELETE", key, {"uploadId": upload_id})


@dataclass(frozen=True)
class S3Requests:
    """Requests to one bucket, signed in their URL, over connections that stay open."""

    bucket: str
    options: StoreOptions

    def send(self, method: Method, key: str, query: dict[str, str]) -> bytes:
        """Return the body of the reply.

        Args:
            method: GET or DELETE.
            key: full key, "" for the bucket.
            query: parameters, unquoted.

        Raises:
            NotFound: there is no such bucket, object or upload.
            Refused: any other reply of the kind that trying again does not change.
            StoreError: beyond the retry budget.
        """
        status, body = self._fetch(method, key, query)
        if status < 300:
            return body
        code, message = parse_error(body)
        name = f"s3://{self.bucket}/{key or query.get('prefix', '')}".rstrip("/")
        error_class = NotFound if status == 404 else StoreError if _is_passing(status) else Refused
        raise error_class(f"{name}: {code}: {message}".rstrip(": ") + f" (HTTP {status})")

    def _fetch(self, method: Method, key: str, query: dict[str, str]) -> tuple[int, bytes]:
        """Return status and body; what may pass is tried again within the options' bounds."""
        deadline = time.monotonic() + self.options.retry_budget_seconds
        for attempt in range(self.options.num_retries + 1):
            is_last = attempt == self.options.num_retries or time.monotonic() > deadline
            try:
                reply = self._pool.request(method, self._signed(method, key, query), retries=False, redirect=False)
                if is_last or not _is_passing(reply.status):
                    return reply.status, reply.data
            except urllib3.exceptions.SSLError as error:
                raise Refused(f"s3://{self.bucket}: {error}") from error
            except urllib3.exceptions.HTTPError as error:
                if is_last:
                    raise StoreError(f"s3://{self.bucket}: no reply: {error}") from error
            time.sleep(random.uniform(0.5, 1.0) * min(10.0, 0.1 * 2**attempt))  # noqa: S311 - jitter, no secret
        raise AssertionError("unreachable: the last try returns or raises")

    def _signed(self, method: Method, key: str, query: dict[str, str]) -> str:
        """Return the request's URL with its signature.

        obstore signs paths below an endpoint. The endpoint given here ends in a query whose last value is
        still open, so that the path becomes that value: `x-id`, where Amazon's own clients put the
        operation's name for the access log and which servers do not read.
        """
        import obstore
        from obstore.store import S3Store

        pairs = "&".join(f"{name}={quote(value, safe='')}" for name, value in query.items())
        config = s3_config(self.options)
        config["aws_endpoint_url_s3"] = f"{self._base_url}/{quote(key)}?{pairs}&x-id="
        config["virtual_hosted_style_request"] = True
        client = S3Store(
            self.bucket,
            config=config,
            client_options=client_config(self.options),
            credential_provider=self._credential_provider,
        )
        return obstore.sign(client, method, "Unlabeled", EXPIRES)

    @property
    def _base_url(self) -> str:
        """The bucket's URL, without a slash at its end."""
        endpoint = s3_endpoint(self.options).rstrip("/")
        if endpoint and os.environ.get("AWS_VIRTUAL_HOSTED_STYLE_REQUEST", "").lower() == "true":
            return endpoint  # names the bucket already
        return f"{endpoint or f'https://s3.{s3_region(self.options)}.amazonaws.com'}/{self.bucket}"

    @cached_property
    def _credential_provider(self) -> S3CredentialProvider | None:
        return s3_credential_provider(self.options)

    @cached_property
    def _pool(self) -> urllib3.PoolManager:
        """Connections that stay open from page to page, through the environment's proxy where it names one."""
        timeout = urllib3.Timeout(connect=10.0, read=self.options.timeout_seconds)
        url = urlsplit(self._base_url)
        proxy = urllib.request.getproxies().get(url.scheme)
        if proxy and not urllib.request.proxy_bypass(url.hostname or ""):
            return urllib3.ProxyManager(proxy, timeout=timeout, maxsize=NUM_LISTERS)
        return urllib3.PoolManager(timeout=timeout, maxsize=NUM_LISTERS)


def _is_passing(status: int) -> bool:
    return status >= 500 or status == 429


@dataclass(frozen=True)
class Listing:
    """A ListObjectsV2 reply: entries, full prefixes of folders, and the token of the next page ("" after the last)."""

    entries: list[Entry]
    folders: list[str]
    token: str


def parse_listing(body: bytes) -> Listing:
    """Return what a ListObjectsV2 reply says.

    Raises:
        StoreError: it cannot be read.
    """
    root = _parse(body)
    is_encoded = _text(root, "EncodingType") == "url"
    namespace = root.tag[: root.tag.rfind("}") + 1]
    try:
        entries = [_entry(element, namespace, is_encoded) for element in root.iterfind(f"{namespace}Contents")]
    except (TypeError, ValueError) as error:
        raise StoreError(f"an S3 listing has an entry that cannot be read: {error!r}") from error
    folders = [_text(element, "Prefix") for element in root.iterfind(f"{namespace}CommonPrefixes")]
    is_truncated = _text(root, "IsTruncated") == "true"
    return Listing(
        entries,
        [unquote_plus(folder) for folder in folders] if is_encoded else folders,
        _text(root, "NextContinuationToken") if is_truncated else "",
    )


def _entry(element: ET.Element, namespace: str, is_encoded: bool) -> Entry:
    """Return one object of a listing; a field that is missing is a TypeError. Called a million times."""
    key = element.findtext(f"{namespace}Key")
    size, when = element.findtext(f"{namespace}Size"), element.findtext(f"{namespace}LastModified")
    if key is None or size is None or when is None:
        raise TypeError("Key, Size or LastModified is missing")
    if is_encoded and ("%" in key or "+" in key):
        key = unquote_plus(key)
    return key, int(size), element.findtext(f"{namespace}ETag") or "", datetime.fromisoformat(when)


def parse_error(body: bytes) -> tuple[str, str]:
    """Return code and message of an error reply; "error" and its first characters where it is no XML."""
    try:
        root = _parse(body)
    except StoreError:
        return "error", body[:200].decode(errors="replace")
    return _text(root, "Code") or "error", _text(root, "Message")


def _parse(body: bytes) -> ET.Element:
    try:
        return ET.fromstring(body)  # noqa: S314 - from the server that holds the data; expat bounds entities
    except ET.ParseError as error:
        raise StoreError(f"an S3 reply is not XML ({error}): {body[:100]!r}") from error


def _text(element: ET.Element, name: str) -> str:
    return element.findtext(f"{{*}}{name}") or ""
