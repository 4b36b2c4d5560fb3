"""The routes beside the page, as one application: the API, its documentation, its tools.

Knows which routes there are. The door (``serving.gate``) stands before all of them.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from fastapi_offline import FastAPIOffline

from florence_demo.api.operation import build_operation
from florence_demo.api.routes import build_routes
from florence_demo.api.tools import PATH, build_tools
from florence_demo.api.verbs import verbs
from florence_demo.serving.asking import Service
from florence_demo.serving.gate import Asgi, Receive, Scope
from florence_demo.serving.guarded import Send

_OURS = re.compile(r"/(?:v1/.*|docs(?:/.*)?|healthz|readyz|metrics)")


class Beside:
    """Answer our routes by ourselves, and hand all others to the page.

    Args:
        page: Answers all other routes.
        service: Answers ours.

    Raises:
        Missing: Tools are to be served, and what that takes is not installed.
    """

    def __init__(self, page: Asgi, service: Service) -> None:
        self._page, self._ours = page, build_application(service)
        self._prefix = service.config.prefix
        self._tools: Asgi | None = None
        self._working: AbstractAsyncContextManager[None] = nullcontext()
        if service.config.mcp:
            self._tools, self._working = build_tools(service)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or hand it on."""
        path = scope["path"] if scope["type"] == "http" else ""
        app = self._page
        if self._tools is not None and path == PATH:
            app = self._tools
        elif _OURS.fullmatch(path):
            app = self._ours
            # A proxy took the prefix off; who writes addresses and looks up files is to know it.
            scope = {**scope, "root_path": self._prefix, "path": self._prefix + path}
        await app(scope, receive, send)

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """Keep what the routes need in work, for as long as the page is served."""
        async with self._working:
            yield


def build_application(service: Service) -> FastAPI:
    """Return the routes that are not the page's."""
    app: FastAPI = FastAPIOffline(
        title="Florence-2, on your pictures",
        docs_url="/docs",
        redoc_url=None,
        openapi_url="/v1/openapi.json",
        static_url="/docs/static",
    )
    app.include_router(build_routes(service))
    app.include_router(build_operation(service))
    for status in (404, 405):
        app.add_exception_handler(status, _nothing_there)
    return app


def _nothing_there(request: Request, exc: Exception) -> JSONResponse:
    there = ", ".join(verbs())
    told = f"There is nothing at this address: /v1/ has {there}, and /docs says how they are asked."
    return JSONResponse({"code": "no_such_address", "detail": told}, 404)
