"""The API over plain HTTP: a route a verb, JSON or a form in, JSON or server-sent events out.

Knows HTTP as FastAPI hands it over. What came in has passed the door, which bounds its size and
form; what the values say is the verbs' to check. No session, no state between two requests.
"""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any

from anyio import CapacityLimiter
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import ValidationError, create_model
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException  # FastAPI's own is one of them
from starlette.types import Message, Send

from florence_demo.api.problems import problem_of, status_of
from florence_demo.api.schema import MOST_PICTURES, Problem
from florence_demo.api.steps import drawn
from florence_demo.api.verbs import Verbs, signature_of, verbs
from florence_demo.bounded_json import parse_json
from florence_demo.errors import InputError, plain
from florence_demo.serving.answering import News
from florence_demo.serving.asking import Service
from florence_demo.serving.bodies import BODY, Refused

THREADS = 512
"""Questions over plain HTTP that may be in work or wait at a time: each keeps a thread."""
STREAM = "text/event-stream"
PATIENCE = 60.0
"""Seconds that a reader of events may let one wait."""
_FIELD = 1 << 17
"""Bytes of a form's field that is no file."""


def build_routes(service: Service) -> APIRouter:
    """Return a route a verb: GET where it takes nothing, else POST."""
    router = APIRouter(prefix="/v1")
    threads = CapacityLimiter(THREADS)
    for name, verb in verbs().items():
        signature = signature_of(verb)
        arguments = Arguments(name, signature)
        router.add_api_route(
            f"/{name}",
            _endpoint(service, name, arguments, threads),
            methods=["POST" if arguments.names else "GET"],
            summary=(inspect.getdoc(verb) or "").splitlines()[0],
            description=inspect.getdoc(verb),
            operation_id=name,
            response_model=signature.return_annotation,
            responses={
                "4XX": {"description": "Refused, and why", "model": Problem},
                "5XX": {"description": "Busy, or our fault", "model": Problem},
            },
            openapi_extra=arguments.documented(),
        )
    return router


class Arguments:
    """Read a verb's named arguments from a request's body.

    Args:
        name: The verb's.
        signature: The verb's.
    """

    def __init__(self, name: str, signature: inspect.Signature) -> None:
        self.names = list(signature.parameters)
        fields = {
            n: (p.annotation, ... if p.default is p.empty else p.default)
            for n, p in signature.parameters.items()
        }
        made: Any = create_model
        self._model = made(f"{name.title().replace('_', '')}Question", **fields)

    def documented(self) -> dict[str, Any]:
        """Return what OpenAPI says of the body."""
        if not self.names:
            return {}
        schema = self._model.model_json_schema(ref_template="#/components/schemas/{model}")
        content = {"application/json": {"schema": schema}}
        if "picture" in self.names or "pictures" in self.names:
            form = json.loads(json.dumps(schema))
            file = {"type": "string", "format": "binary"}
            if "picture" in self.names:
                form["properties"]["picture"] = file
            else:
                form["properties"]["pictures"] = {"type": "array", "items": file}
            content["multipart/form-data"] = {"schema": form}
        return {"requestBody": {"required": True, "content": content}}

    async def read(self, request: Request) -> dict[str, Any]:
        """Return the arguments of a request.

        Raises:
            InputError: One is missing, not known, or not of its kind.
        """
        if not self.names:
            return {}
        if request.headers.get("content-type", "").startswith("multipart/form-data"):
            given = await self._form(request)
        else:
            given = await request.json()
        return self.checked(given)

    def checked(self, given: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments by their names, each of its kind.

        Args:
            given: As a program sent them; pictures may be bytes or files of ours, too.

        Raises:
            InputError: One is missing, not known, or not of its kind.
        """
        strange = sorted(given.keys() - set(self.names))
        if strange:
            raise InputError(
                f"There is no `{plain(strange[0], 40)}` here: {', '.join(self.names)} are taken."
            )
        # Files are no text: they stand aside while the rest is checked.
        files = {n: v for n, v in given.items() if _is_file(v) or _are_files(v)}
        stand_ins: dict[str, Any] = {n: "" if _is_file(v) else [] for n, v in files.items()}
        try:
            checked = self._model(**given | stand_ins)
        except ValidationError as exc:
            raise InputError(_said(exc)) from exc
        return {name: getattr(checked, name) for name in given} | files

    async def _form(self, request: Request) -> dict[str, Any]:
        """Return a form's fields: files as bytes, what looks like JSON as its value."""
        given: dict[str, Any] = {}
        sent: list[bytes] = []
        several = "pictures" in self.names
        files, fields = MOST_PICTURES if several else 1, len(self.names)
        form = request.form(max_files=files, max_fields=fields, max_part_size=_FIELD)
        async with form as parts:
            for name, value in parts.multi_items():
                if isinstance(value, UploadFile):
                    if name != (expected := "pictures" if several else "picture"):
                        raise InputError(f"The file's field is called `{expected}`.")
                    sent.append(await value.read())
                else:
                    given[name] = _field_value(self._model, name, value)
        if sent:
            # The files go before what a field of their name says.
            given["pictures" if several else "picture"] = sent if several else sent[0]
        return given


def _is_file(value: Any) -> bool:
    return isinstance(value, bytes | Path)


def _are_files(value: Any) -> bool:
    return isinstance(value, list) and any(map(_is_file, value))


def _field_value(model: Any, name: str, text: str) -> Any:
    """Return a form's text as a value: words as they are, a box from JSON."""
    field = model.model_fields.get(name)
    if field is None or field.annotation is str:
        return text
    try:
        return parse_json(text.encode(), BODY)
    except ValueError:
        return text  # a choice, or what the check then says a sentence about


def _said(error: ValidationError) -> str:
    """Return what is wrong with the arguments as one sentence."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    # Which of several kinds it was held against is no part of its name.
    place = [part for n, part in enumerate(first["loc"]) if n == 0 or isinstance(part, int)]
    name = plain(".".join(map(str, place)), 60)
    if first["type"] == "missing":
        return f"`{name}` is missing: give it, the others have usual values."
    said = first["msg"][:1].lower() + first["msg"][1:]
    return f"`{name}` is not of its kind: {plain(said, 120)}."


def _endpoint(
    service: Service, name: str, arguments: Arguments, threads: CapacityLimiter
) -> Callable[..., Any]:
    async def endpoint(request: Request) -> Response:
        scope = request.scope
        who = Verbs.of(service, scope)
        steps: Iterator[Any] | None = None
        try:
            given = await arguments.read(request)
            steps = getattr(who, name)(**given)
            if STREAM in request.headers.get("accept", ""):
                return Events(_events(drawn(steps, threads)), media_type=STREAM)
            return await _whole(request, steps, threads)
        except Refused:  # the door's own, which it raises while a form is read
            raise
        except HTTPException as exc:
            return refusal(
                problem_of(InputError(f"The form cannot be read: {exc.detail.rstrip('.')}."))
            )
        except Exception as exc:
            return refusal(problem_of(exc), exc)

    return endpoint


class Events(StreamingResponse):
    """Send events to who reads them: who stops reading would keep a place in the line for ever."""

    async def stream_response(self, send: Send) -> None:
        """Send the events, and stop where nobody takes them any more."""

        async def in_time(message: Message) -> None:
            async with asyncio.timeout(PATIENCE):
                await send(message)

        try:
            with suppress(TimeoutError):
                await super().stream_response(in_time)
        finally:
            await self.body_iterator.aclose()  # type: ignore[attr-defined]


async def _whole(request: Request, steps: Iterator[Any], threads: CapacityLimiter) -> Response:
    """Return the answer at once, or nothing to who has left meanwhile."""
    async with aclosing(drawn(steps, threads)) as found:
        async for each in found:
            if not isinstance(each, News):
                return JSONResponse(each)
            if await request.is_disconnected():
                break
    return Response(status_code=204)


async def _events(steps: AsyncGenerator[Any]) -> AsyncGenerator[str]:
    """Yield server-sent events: `hint` and `text` while there is no answer, `answer` or `error`."""
    said = News()
    try:
        async with aclosing(steps):
            async for each in steps:
                if not isinstance(each, News):
                    yield _event("answer", each)
                elif each == said or each == News():
                    yield ": \n\n"  # so that a line that is closed is noticed
                else:
                    yield _event("hint", each.hint) if each.hint else _event("text", each.text)
                    said = each
    except Exception as exc:
        yield _event("error", problem_of(exc))


def _event(name: str, value: Any) -> str:
    return f"event: {name}\ndata: {json.dumps(value, ensure_ascii=False)}\n\n"


def refusal(problem: Problem, exc: Exception | None = None) -> JSONResponse:
    """Return the answer to a request that is refused."""
    seconds = getattr(exc, "seconds", None)
    headers = {"Retry-After": str(seconds)} if seconds else None
    return JSONResponse(dict(problem), status_of(problem), headers=headers)
