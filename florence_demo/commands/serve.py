"""``serve``: the page and the API on this machine. ``app.py`` starts the same.

Knows the order of a start. Does not know what a setting means (``serving.settings``), nor what the
page is.
"""

from __future__ import annotations

import argparse
import gc
import logging
import os
import signal
import sys
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from florence_demo.errors import InputError
from florence_demo.machine import go_offline, keep_heap
from florence_demo.models.catalogue import AUTO
from florence_demo.models.devices import usual_model
from florence_demo.serving.config import AppConfig, openness
from florence_demo.serving.logs import adopt_server, configure
from florence_demo.serving.scratch import Scratch
from florence_demo.serving.settings import SETTINGS, add_flags, read, shown, unknown_variables

if TYPE_CHECKING:
    from florence_demo.serving.asking import Service
    from florence_demo.ui import Page

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    add_flags(parser)


def command(args: argparse.Namespace) -> int:
    """Read the settings, build the page and serve it until the end of the process."""
    settings = read(vars(args), os.environ)
    if args.show_config:
        print(*shown(settings), sep="\n")
        return 0
    values = {name: each.value for name, each in settings.items()}
    if values["metrics"] == "key" and not (values["api_key"] or values["auth"]):
        raise InputError("--metrics key needs --api-key: without one nobody could read them.")
    prepare(values["offline"], values["host"])
    configure(values["log_format"], values["log_level"])
    for name in unknown_variables(os.environ):
        log.warning("%s is no setting, so it does nothing.", name)
    _serve(values)
    return 0


def prepare(offline: bool = False, host: str | None = None) -> None:
    """Set what is read when the page is imported.

    Args:
        offline: Whether no connection out is to be made.
        host: Where the server listens.
    """
    # Gradio asks its own server once, which a proxy for the way out would look for elsewhere.
    near = ("127.0.0.1", "localhost", host or "")
    for name in ("NO_PROXY", "no_proxy"):
        os.environ[name] = ",".join(filter(None, (os.environ.get(name), *near)))
    os.environ.pop("FLORENCE_OFFLINE", None)  # it may say no
    if offline:
        go_offline()
    # Everything that a start makes stays: looking through it for garbage takes a twentieth of it.
    gc.disable()
    keep_heap()
    # Asked which backend it has, as gradio does at every event, matplotlib would import pyplot.
    os.environ.setdefault("MPLBACKEND", "agg")


def config_of(values: Mapping[str, Any]) -> AppConfig:
    """Return how the app is served, of the values of all settings."""
    fields = {each.field or each.name: values[each.name] for each in SETTINGS}
    config = AppConfig(**{n: v for n, v in fields.items() if n in AppConfig.__dataclass_fields__})
    # A Space is always reached under its own name, whatever others are added.
    own = ("*.hf.space",) if "SPACE_ID" in os.environ else ()
    return replace(config, hosts=(*config.hosts, *own))


def _serve(values: Mapping[str, Any]) -> None:
    # Until the page is there "kill" ends the process as Ctrl-C does, so that nothing stays behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    given = os.environ.get("GRADIO_TEMP_DIR")
    scratch = Scratch(Path(given) if given else None)
    # Before the page is imported: from then on gradio keeps all its files there.
    os.environ["GRADIO_TEMP_DIR"] = str(scratch.served)
    from florence_demo.serving.asking import Service
    from florence_demo.serving.ending import clean_up, end_at_last, finish
    from florence_demo.ui import build_app

    service = Service(config_of(values), scratch=scratch)
    app = build_app(service=service)
    if values["model"] == AUTO:
        log.info(
            "%s is chosen at first: %s. --model names another.", *usual_model(values["device"])
        )
    for line in openness(service.config, values["host"], bool(values["auth"])):
        log.info("%s", line)
    try:
        _listen(
            app,
            server_name=values["host"],
            server_port=values["port"],
            root_path=service.config.root_path or None,
            auth=[tuple(values["auth"].split(":", 1))] if values["auth"] else None,
            quiet=values["log_format"] == "json",
        )
        adopt_server()
        log.info("The page is at %s", app.local_url)
        scratch.keep_swept()
        # The page answers first; the model and its imports follow behind it.
        threading.Thread(target=_warm_up, args=(service,), daemon=True).start()
        hurry = _wait_for_the_end(service)
        ill = "" if service.health.ending else service.health.illness()
        end_at_last(service)
        finish(service, app.is_busy, hurry)
        app.close(verbose=False)
    finally:
        clean_up(service)
    logging.shutdown()
    sys.stdout.flush()
    # Everything is put away; to take the interpreter with torch apart lasts seconds.
    os._exit(1 if ill else 0)


def _listen(app: Page, **how: Any) -> None:
    """Serve the page in a thread of its own; arguments are those of gradio's ``launch``.

    Raises:
        InputError: The address or the port cannot be had.
    """
    try:
        app.serve(prevent_thread_lock=True, **how)
    except OSError as exc:
        ports = how["server_port"] or "7860 to 7959"
        raise InputError(
            f"The page cannot listen at {how['server_name'] or 'this machine'}, port {ports}: it is"
            " taken, or no address of this machine. --host and --port name another."
        ) from exc


def _wait_for_the_end(service: Service) -> threading.Event:
    """Wait for "kill" or Ctrl-C, or for an illness; return what a second one sets."""
    told, again = threading.Event(), threading.Event()

    def hear(*_: Any) -> None:
        (again if told.is_set() else told).set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, hear)
    while not told.wait(1):  # on Windows no signal is heard within a wait
        ill = service.health.illness() if service.config.end_ill else ""
        if ill:
            log.error("%s Only a new start helps: this process ends.", ill)
            break
    return again


def _warm_up(service: Service) -> None:
    """Load the first model; from then on garbage is looked for as ever."""
    try:
        service.warm_up()
    finally:
        gc.enable()
