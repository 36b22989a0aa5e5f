"""An HTTP proxy that passes requests on after a while: a store on this machine as far away as one in a region.

python -m tests.bench.delay_proxy http://127.0.0.1:8333 --delay-seconds 0.03 --port 9000
"""

from __future__ import annotations

import argparse
import asyncio
from typing import Any

from aiohttp import ClientSession, web


def proxy(target: str, delay_seconds: float) -> web.Application:
    """Return an application that sends each request to `target` after a delay; headers, so signatures, stay."""

    async def pass_on(request: web.Request) -> web.Response:
        body = await request.read()
        await asyncio.sleep(delay_seconds)
        session: ClientSession = request.app["session"]
        url = target + request.raw_path
        async with session.request(
            request.method, _literal(url), headers=request.headers, data=body, allow_redirects=False
        ) as reply:
            kept = {name: text for name, text in reply.headers.items() if name.lower() not in _OF_THE_CONNECTION}
            return web.Response(status=reply.status, headers=kept, body=await reply.read())

    async def session(app: web.Application) -> Any:
        async with ClientSession(auto_decompress=False) as opened:
            app["session"] = opened
            yield

    app = web.Application(client_max_size=2**30)
    app.cleanup_ctx.append(session)
    app.router.add_route("*", "/{path:.*}", pass_on)
    return app


_OF_THE_CONNECTION = {"transfer-encoding", "connection", "content-length"}


def _literal(url: str) -> Any:
    from yarl import URL

    return URL(url, encoded=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target")
    parser.add_argument("--delay-seconds", type=float, default=0.03)
    parser.add_argument("--port", type=int, default=9000)
    arguments = parser.parse_args()
    web.run_app(proxy(arguments.target, arguments.delay_seconds), host="127.0.0.1", port=arguments.port, print=None)
