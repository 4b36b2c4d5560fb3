"""The verbs as tools of the Model Context Protocol, for models that have never seen them.

Knows the protocol's own SDK, which is an optional requirement: imported where tools are served.
Each call stands for itself, so any replica can answer it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, aclosing
from typing import Any

from anyio import CapacityLimiter

from florence_demo.api.problems import problem_of
from florence_demo.api.steps import drawn
from florence_demo.api.verbs import Verbs, signature_of, verbs
from florence_demo.errors import FlorenceDemoError
from florence_demo.serving.answering import News
from florence_demo.serving.asking import Service
from florence_demo.serving.gate import Asgi

PATH = "/mcp"
THREADS = 64
"""Calls in work or waiting at a time."""

INSTRUCTIONS = (
    "Florence-2, a small vision model, looks at one picture and answers: it describes, finds and"
    " names things with boxes in pixels (origin top left), outlines them, reads text with places,"
    " and answers short questions. Use detect to find things (name them for one kind), ocr to"
    " read, caption to describe, segment for outlines, point for the middle of things. Give the"
    " picture as a public https address or a data URL; or POST the file as the form field `picture`"
    " to /v1/keep, and give the name that comes back. A score says how sure it is, from 0 to 1. The"
    " model called nano knows drawn scenes only: for photographs name another that models lists."
)


class Missing(FlorenceDemoError):
    """Say that an optional requirement is not installed."""


def check_tools() -> None:
    """Raise Missing where the protocol's SDK is not installed."""
    try:
        import mcp.server.mcpserver  # noqa: F401
    except ImportError as exc:
        raise Missing(
            "Tools (--mcp) need the package mcp: pip install 'mcp>=2,<3', then start again."
        ) from exc


def build_tools(service: Service) -> tuple[Asgi, AbstractAsyncContextManager[Any]]:
    """Return the application that serves the tools, and the context in which it works.

    Raises:
        Missing: The protocol's SDK is not installed.
    """
    check_tools()
    from mcp.server.mcpserver import MCPServer
    from mcp.server.transport_security import TransportSecuritySettings
    from mcp_types import ToolAnnotations

    server = MCPServer("florence-demo", title="Florence-2", instructions=INSTRUCTIONS)
    threads = CapacityLimiter(THREADS)
    for name, verb in verbs().items():
        changes = name in ("load", "unload")
        server.add_tool(
            _tool(service, name, signature_of(verb), threads),
            name=name,
            description=inspect.getdoc(verb),
            annotations=ToolAnnotations(read_only_hint=not changes, destructive_hint=False),
        )
    # The door has looked at names and origins already.
    security = TransportSecuritySettings(enable_dns_rebinding_protection=False)
    app = server.streamable_http_app(
        streamable_http_path=PATH,
        stateless_http=True,
        json_response=True,
        transport_security=security,
    )
    return app, app.router.lifespan_context(app)


def _tool(
    service: Service, name: str, signature: inspect.Signature, threads: CapacityLimiter
) -> Callable[..., Any]:
    from mcp.server.mcpserver import Context
    from mcp.server.mcpserver.exceptions import ToolError

    async def tool(ctx: Context, **given: Any) -> Any:
        request = ctx.request_context.request
        scope = request.scope if request else {}
        who = Verbs.of(service, scope)
        try:
            async with aclosing(drawn(getattr(who, name)(**given), threads)) as found:
                async for each in found:
                    if not isinstance(each, News):
                        return each
                    if request and await request.is_disconnected():
                        break
        except Exception as exc:
            raise ToolError(problem_of(exc)["detail"]) from exc
        raise ToolError("Whoever asked has left.")

    context = inspect.Parameter("ctx", inspect.Parameter.KEYWORD_ONLY, annotation=Context)
    parameters = [
        p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in signature.parameters.values()
    ]
    tool.__signature__ = signature.replace(parameters=[*parameters, context])  # type: ignore[attr-defined]
    tool.__annotations__ = {p.name: p.annotation for p in (*parameters, context)}
    tool.__annotations__["return"] = signature.return_annotation
    tool.__name__ = name
    return tool
