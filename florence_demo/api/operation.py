"""What whoever runs the server looks at: is it alive, is it ready, what does it do.

Knows HTTP and what ``serving.health`` and ``serving.metrics`` say. Nothing here waits for a model.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST

from florence_demo.serving.asking import Service
from florence_demo.serving.config import Readers
from florence_demo.serving.gate import KEYED

_WHO = {
    "local": "Only who asks from this machine itself, or sends a key, may read the metrics:"
    " --metrics says who else may.",
    "key": "Only who sends a key may read the metrics: --metrics says who else may.",
}
# What a proxy adds: whoever asks through one on this machine is elsewhere.
_THROUGH = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via")


def build_operation(service: Service) -> APIRouter:
    """Return the routes; those of health need neither key nor login."""
    router = APIRouter(include_in_schema=False)
    health = service.health

    # Methods of the event loop: they are answered while every thread is busy.
    @router.api_route("/healthz", methods=["GET", "HEAD"])
    async def healthz() -> JSONResponse:
        return _told(health.illness())

    @router.api_route("/readyz", methods=["GET", "HEAD"])
    async def readyz() -> JSONResponse:
        return _told(health.unready())

    one_at_a_time = CapacityLimiter(1)

    @router.get("/metrics")
    async def metrics(request: Request) -> Response:
        who = service.config.metrics
        if not _may_read(who, request.scope, request.headers):
            return JSONResponse({"code": "not_allowed", "detail": _WHO[who]}, 403)
        text = await to_thread.run_sync(service.metrics.text, limiter=one_at_a_time)
        return Response(text, media_type=CONTENT_TYPE_LATEST)

    return router


def _may_read(who: Readers, scope: Mapping[str, Any], headers: Mapping[str, str]) -> bool:
    if who == "public" or scope.get(KEYED):
        return True
    if who == "key" or any(name in headers for name in _THROUGH):
        return False
    with suppress(ValueError):
        return ipaddress.ip_address((scope.get("client") or ("",))[0]).is_loopback
    return False


def _told(problem: str) -> JSONResponse:
    # What stands between would keep an answer for others.
    headers = {"Cache-Control": "no-store"}
    if problem:
        return JSONResponse({"status": "unavailable", "detail": problem}, 503, headers)
    return JSONResponse({"status": "ok"}, headers=headers)
