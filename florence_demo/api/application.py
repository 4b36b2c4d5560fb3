"""The routes beside the page, as one application: the API, and what its operator looks at.

Knows which routes there are. The door (``serving.gate``) stands before all of them.
"""

from __future__ import annotations

import re

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from fastapi_offline import FastAPIOffline

from florence_demo.api.routes import build_routes
from florence_demo.api.verbs import verbs
from florence_demo.serving.asking import Service
from florence_demo.serving.gate import Asgi, Receive, Scope, Send

_OURS = re.compile(r"/(?:v1/.*|docs(?:/.*)?)")


def beside(page: Asgi, service: Service) -> Asgi:
    """Return an application that answers our routes by itself and hands all others to the page.

    Args:
        page: Answers all other routes.
        service: Answers ours.
    """
    ours, prefix = build_application(service), service.config.prefix

    async def dispatch(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not _OURS.fullmatch(scope["path"]):
            await page(scope, receive, send)
            return
        # A proxy took the prefix off; who writes addresses, and who looks up files, is to know it.
        whole = {**scope, "root_path": prefix, "path": prefix + scope["path"]}
        await ours(whole, receive, send)

    return dispatch


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
    for status in (404, 405):
        app.add_exception_handler(status, _nothing_there)
    return app


def _nothing_there(request: Request, exc: Exception) -> JSONResponse:
    there = ", ".join(verbs())
    told = f"There is nothing at this address: /v1/ has {there}, and /docs says how they are asked."
    return JSONResponse({"code": "no_such_address", "detail": told}, 404)
