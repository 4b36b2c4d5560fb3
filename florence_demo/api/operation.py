"""What whoever runs the server looks at: is it alive, is it ready.

Knows HTTP and what ``serving.health`` says. Nothing here waits for a model, or for a thread.
"""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from florence_demo.serving.asking import Service


def build_operation(service: Service) -> APIRouter:
    """Return the routes, which need neither key nor login."""
    router = APIRouter(include_in_schema=False)
    health = service.health

    # Methods of the event loop: they are answered while every thread is busy.
    @router.api_route("/healthz", methods=["GET", "HEAD"])
    async def healthz() -> JSONResponse:
        return _told(health.illness())

    @router.api_route("/readyz", methods=["GET", "HEAD"])
    async def readyz() -> JSONResponse:
        return _told(health.unready())

    return router


def _told(problem: str) -> JSONResponse:
    # What stands between would keep an answer for others.
    headers = {"Cache-Control": "no-store"}
    if problem:
        return JSONResponse({"status": "unavailable", "detail": problem}, 503, headers)
    return JSONResponse({"status": "ok"}, headers=headers)
