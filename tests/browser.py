"""Headless Chromium, told what to do over its DevTools socket: pages that scripts build, as text and as a picture."""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import aiohttp

from tests.ray_head import free_ports

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

#: True where the element was there.
_CLICK = (
    "(e => e ? (e.dispatchEvent(new MouseEvent('click', {{bubbles: true}})), true) : false)"
    "(document.evaluate({path}, document, null, XPathResult.FIRST_ORDERED_NODE_TYPE, null).singleNodeValue)"
)


def look(
    url: str,
    wanted: Sequence[str],
    folder: Path,
    *,
    cookies: Mapping[str, str],
    clicks: Sequence[str] = (),
    patience_seconds: float = 40.0,
) -> str:
    """Open a page and return its text once all that is wanted stands in it; leaves `folder`/page.png.

    Args:
        url: of the page.
        wanted: texts that it is waited for.
        folder: for the browser's files and the picture.
        cookies: sent along.
        clicks: XPaths of elements; each is clicked once, in order, as soon as it is there.
        patience_seconds: for all of it.

    Raises:
        AssertionError: something is missing still; the message has the page's text.
    """
    return asyncio.run(_look(url, wanted, folder, cookies, clicks, time.monotonic() + patience_seconds))


async def _look(
    url: str,
    wanted: Sequence[str],
    folder: Path,
    cookies: Mapping[str, str],
    clicks: Sequence[str],
    deadline: float,
) -> str:
    (port,) = free_ports(1)
    assert CHROMIUM
    options = ("--headless", "--no-sandbox", "--disable-gpu", "--window-size=1500,1800", "about:blank")
    process = subprocess.Popen(
        [CHROMIUM, f"--remote-debugging-port={port}", f"--user-data-dir={folder}/profile", *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        async with aiohttp.ClientSession() as session:
            socket_url = await _socket_url(session, port, deadline)
            async with session.ws_connect(socket_url, max_msg_size=0) as socket:
                tab = _Tab(socket)
                for name, value in cookies.items():
                    await tab.call("Network.setCookie", name=name, value=value, url=url)
                await tab.call("Page.navigate", url=url)
                text, left = "", list(clicks)
                while missing := [part for part in wanted if part not in text]:
                    assert time.monotonic() < deadline, f"{missing} is not on the page:\n{text}"
                    await asyncio.sleep(1)
                    if left and await tab.value(_CLICK.format(path=json.dumps(left[0]))):
                        del left[0]
                    text = str(await tab.value("document.body ? document.body.innerText : ''"))
                await asyncio.sleep(1)  # for what moves to come to rest; only the picture depends on it
                picture = await tab.call("Page.captureScreenshot", format="png")
                (folder / "page.png").write_bytes(base64.b64decode(picture["data"]))
                return text
    finally:
        process.kill()
        process.wait()


async def _socket_url(session: aiohttp.ClientSession, port: int, deadline: float) -> str:
    while True:
        try:
            async with session.get(f"http://127.0.0.1:{port}/json") as reply:
                tabs = await reply.json(content_type=None)
                return next(str(tab["webSocketDebuggerUrl"]) for tab in tabs if tab["type"] == "page")
        except (aiohttp.ClientError, StopIteration):
            assert time.monotonic() < deadline, "the browser does not answer"
            await asyncio.sleep(0.2)


class _Tab:
    """One tab: calls of the DevTools protocol, one after another."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._num_calls = 0

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._num_calls += 1
        await self._socket.send_json({"id": self._num_calls, "method": method, "params": parameters})
        while True:
            reply: dict[str, Any] = json.loads((await self._socket.receive()).data)
            if reply.get("id") == self._num_calls:
                assert "error" not in reply, reply["error"]
                result: dict[str, Any] = reply["result"]
                return result

    async def value(self, expression: str) -> Any:
        result = await self.call("Runtime.evaluate", expression=expression)
        return result["result"].get("value")
