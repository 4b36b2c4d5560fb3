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
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from florence_demo.machine import keep_heap
from florence_demo.models.catalogue import AUTO
from florence_demo.models.devices import usual_model
from florence_demo.serving.config import AppConfig, openness
from florence_demo.serving.logs import adopt_server, configure
from florence_demo.serving.scratch import Scratch
from florence_demo.serving.settings import SETTINGS, add_flags, read, shown, unknown_variables

if TYPE_CHECKING:
    from florence_demo.serving.asking import Service

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
    prepare()
    values = {name: each.value for name, each in settings.items()}
    configure(values["log_format"], values["log_level"])
    for name in unknown_variables(os.environ):
        log.warning("%s is no setting, so it does nothing.", name)
    _serve(values)
    return 0


def prepare() -> None:
    """Set what a quick start needs, before the page is imported."""
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
    # "kill" ends the process as Ctrl-C does, so that nothing stays behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    given = os.environ.get("GRADIO_TEMP_DIR")
    scratch = Scratch(Path(given) if given else None)
    # Before the page is imported: from then on gradio keeps all its files there.
    os.environ["GRADIO_TEMP_DIR"] = str(scratch.served)
    from florence_demo.serving.asking import Service
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
        app.serve(
            server_name=values["host"],
            server_port=values["port"],
            root_path=service.config.root_path or None,
            auth=[tuple(values["auth"].split(":", 1))] if values["auth"] else None,
            prevent_thread_lock=True,
            quiet=values["log_format"] == "json",
        )
        adopt_server()
        log.info("The page is at %s", app.local_url)
        scratch.keep_swept()
        # The page answers first; the model and its imports follow behind it.
        threading.Thread(target=_warm_up, args=(service,), daemon=True).start()
        app.block_thread()
    finally:
        scratch.close()


def _warm_up(service: Service) -> None:
    """Load the first model; from then on garbage is looked for as ever."""
    try:
        service.warm_up()
    finally:
        gc.enable()
