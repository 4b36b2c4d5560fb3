"""The API's verbs for gradio's own clients: named endpoints with types, no components, no session.

Knows gradio's endpoints and files. The verbs themselves are ``api.verbs``; a picture is an uploaded
file here too.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Annotated, Any, get_args, get_origin

import gradio as gr
from gradio.components.api_component import Api
from gradio.context import LocalContext
from gradio_client.utils import python_type_to_json_schema

from florence_demo.api.problems import NotAllowed
from florence_demo.api.routes import Arguments
from florence_demo.api.schema import MOST_PICTURES, PictureText
from florence_demo.api.steps import answer_of
from florence_demo.api.verbs import Verbs, signature_of, verbs
from florence_demo.errors import InputError
from florence_demo.serving.asking import Service
from florence_demo.serving.gate import KEYED
from florence_demo.ui.components import SafeImage, own_file
from florence_demo.ui.handlers import friendly

_FILE = {
    "type": "object",
    "properties": {
        "path": {"type": "string"},
        "meta": {"type": "object", "properties": {"_type": {"const": "gradio.FileData"}}},
    },
}


def connect_programs(service: Service, app: gr.Blocks) -> None:
    """Make every verb an endpoint, and the events that are there already the page's own."""
    for event in app.fns.values():
        event.api_visibility = "private"
        if event.api_name in verbs():  # as gradio calls them, by their functions
            event.api_name = f"page_{event.api_name}"
    upload = SafeImage(render=False)
    for name, verb in verbs().items():
        signature = signature_of(verb)
        before = set(app.fns)
        gr.api(
            friendly(_handler(service, upload, name, signature)),
            api_name=name,
            api_description=inspect.getdoc(verb),
            concurrency_limit=None,
        )
        (made,) = set(app.fns) - before
        _describe(app.fns[made], signature)


def _handler(
    service: Service, upload: SafeImage, name: str, signature: inspect.Signature
) -> Callable[..., Any]:
    keyed = bool(service.config.rules().keys)
    arguments = Arguments(name, signature)

    def handler(request: gr.Request, *values: Any) -> Any:
        scope = request.request.scope if request.request else {}
        if keyed and not scope.get(KEYED):
            raise NotAllowed("A key is needed: Client(address, headers={'X-API-Key': KEY}).")
        given = dict(zip(signature.parameters, values, strict=True))
        for key in {"picture", "pictures"} & given.keys():
            given[key] = _found(upload, given[key])
        given = arguments.checked(given)
        who = Verbs.of(service, scope)
        return answer_of(getattr(who, name)(**given), _leaving())

    parameters = [
        p.replace(annotation=_bare(p.annotation), kind=p.POSITIONAL_OR_KEYWORD)
        for p in signature.parameters.values()
    ]
    who = inspect.Parameter(
        "request", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=gr.Request
    )
    parameters = [who, *parameters]
    answer = _bare(signature.return_annotation)
    handler.__signature__ = inspect.Signature(parameters, return_annotation=answer)  # type: ignore[attr-defined]
    handler.__annotations__ = {p.name: p.annotation for p in parameters} | {"return": answer}
    handler.__name__ = name
    return handler


def _leaving() -> Callable[[], bool]:
    """Return what says whether nobody waits for the running event's answer any more."""
    name, blocks = LocalContext.event_id.get(None), LocalContext.blocks.get(None)
    queue: Any = getattr(blocks, "_queue", None)
    event = queue and queue.event_ids_to_events.get(name)
    if event is None:
        return lambda: False
    waited_for = queue.pending_event_ids_session
    # The first where a connection is lost, the second where the caller has said so.
    return lambda: not event.alive or name not in waited_for.get(event.session_hash, ())


def _found(upload: SafeImage, file: Any) -> Any:
    """Return uploaded files as our own, which are opened when it is their turn; all else as it is.

    Raises:
        InputError: It is no file of this page's.
    """
    if isinstance(file, list):
        return [_found(upload, each) for each in file[: MOST_PICTURES + 1]]
    if not isinstance(file, dict):
        return file
    if file.get("path"):
        return own_file(upload, file["path"])
    if str(file.get("url")).startswith("data:"):
        return file["url"]
    raise InputError("No picture arrived: upload it again.")


def _describe(event: Any, signature: inspect.Signature) -> None:
    """Say what each value of an endpoint is called, and what it is."""
    told = zip(event.inputs, signature.parameters.values(), strict=True)
    for component, parameter in told:
        component.label = parameter.name.replace("_", " ").capitalize()
        component._api_info = _info(parameter.annotation)
    (output,) = event.outputs
    assert isinstance(output, Api)
    output.label = "Answer"
    output._api_info = {
        **output._api_info,
        "description": "The same object as the command line's; errors are sentences.",
    }


def _info(annotation: Any) -> dict[str, Any]:
    schema = python_type_to_json_schema(_bare(annotation))
    if annotation == PictureText:
        schema = {"oneOf": [_FILE, {"type": "string"}]}
    elif annotation == list[PictureText]:
        schema = {"type": "array", "items": {"oneOf": [_FILE, {"type": "string"}]}}
    said = getattr(annotation, "__metadata__", ())
    return {**schema, "description": said[0].description} if said else schema


def _bare(annotation: Any) -> Any:
    """Return a type without what is said of it, which gradio does not read."""
    if get_origin(annotation) is Annotated:
        return _bare(get_args(annotation)[0])
    if get_origin(annotation) is list:
        (item,) = get_args(annotation)
        return list[_bare(item)]  # type: ignore[misc]
    return annotation
