"""Start the page: ``python app.py``. Hugging Face Spaces starts this file."""

from __future__ import annotations

import argparse
import contextlib
import gc
import logging
import os
import signal
import threading
from pathlib import Path

from florence_demo.machine import SPINS, keep_heap

os.environ.setdefault("GOMP_SPINCOUNT", SPINS)  # read when torch is imported
# Asked which backend it has, as gradio does at every event, matplotlib would import all of pyplot.
os.environ.setdefault("MPLBACKEND", "agg")

# Everything that a start makes stays: looking through it for garbage takes a twentieth of the time.
if __name__ == "__main__":
    gc.disable()

with contextlib.suppress(ImportError):
    import spaces  # noqa: F401  # must come before torch where GPUs are shared

from florence_demo.models.catalogue import AUTO
from florence_demo.models.devices import usual_model
from florence_demo.serving.asking import Service
from florence_demo.serving.config import openness
from florence_demo.serving.scratch import Scratch
from florence_demo.ui import AppConfig, build_app

log = logging.getLogger("app")

# Who shows a Space in a frame.
_HUB_FRAMES = ("https://huggingface.co", "https://*.hf.space")


def main() -> None:
    """Read the flags, build the page and serve it."""
    keep_heap()
    args = _arguments()
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    for client in ("httpx", "httpx2"):  # a line for each of a download's requests
        logging.getLogger(client).setLevel(logging.WARNING)
    # "kill" ends the process as Ctrl-C does, so that nothing stays behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    given = os.environ.get("GRADIO_TEMP_DIR")
    scratch = Scratch(Path(given) if given else None)
    # Before the page is built: from then on gradio keeps all its files there.
    os.environ["GRADIO_TEMP_DIR"] = str(scratch.served)
    service = Service(_config(args), scratch=scratch)
    app = build_app(service=service)
    if args.model == AUTO:
        log.info("%s is chosen at first: %s. --model names another.", *usual_model(args.device))
    for line in openness(service.config, args.host, bool(args.auth)):
        log.info("%s", line)
    try:
        app.serve(
            server_name=args.host,
            server_port=args.port,
            auth=[tuple(args.auth.split(":", 1))] if args.auth else None,
            prevent_thread_lock=True,
        )
        scratch.keep_swept()
        # The page answers first; the model and its imports follow behind it.
        threading.Thread(target=_warm_up, args=(service,), daemon=True).start()
        app.block_thread()
    finally:
        scratch.close()


def _arguments() -> argparse.Namespace:
    on_space = "SPACE_ID" in os.environ
    # A Space starts this file without flags; its owner can set variables.
    asked = os.environ.get("FLORENCE_TRAINING")
    parser = argparse.ArgumentParser(description="Florence-2 in the browser")
    parser.add_argument(
        "--model",
        default=os.environ.get("FLORENCE_MODEL") or AUTO,
        help="name, folder or hub id (default: FLORENCE_MODEL, or auto: base-ft on a Space or with"
        " a GPU, else nano)",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
    parser.add_argument("--dtype", default="auto", help="auto, fp32, bf16, fp16, int8")
    parser.add_argument("--max-models", type=int, default=1, help="models in memory beside nano")
    parser.add_argument("--checkpoints", type=Path, default=Path("checkpoints"))
    parser.add_argument(
        "--allow-pickle", action="store_true", help="open pickled weights under --checkpoints too"
    )
    parser.add_argument(
        "--max-batch", type=int, help="most pictures of one job of many (default: 200 or 5,000)"
    )
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of data sets")
    parser.add_argument(
        "--training",
        action=argparse.BooleanOptionalAction,
        default=None if asked is None else asked == "1",
        help="let visitors fine-tune (default: unless the page is public, or FLORENCE_TRAINING=1)",
    )
    parser.add_argument(
        "--public",
        action=argparse.BooleanOptionalAction,
        default=on_space,
        help="for strangers: the catalogue's models only, no pickles, small uploads, so many"
        " questions a minute; no training unless --training is given (default on a Space)",
    )
    parser.add_argument("--auth", default="", metavar="NAME:PASSWORD", help="who may come in")
    parser.add_argument("--host", default=None, help="0.0.0.0 to serve the network")
    parser.add_argument("--port", type=int, default=None)
    parser.add_argument(
        "--allowed-host",
        action="append",
        default=[],
        metavar="NAME",
        help="a name under which the page is served, beside localhost and the bound address;"
        " *.example.org for all below one; may be given again",
    )
    args = parser.parse_args()
    if args.auth and not all(args.auth.partition(":")[::2]):
        parser.error("--auth takes a name and a password: --auth NAME:PASSWORD")
    return args


def _config(args: argparse.Namespace) -> AppConfig:
    on_space = "SPACE_ID" in os.environ
    hosts = (*args.allowed_host, *(("*.hf.space",) if on_space else ()))
    return AppConfig(
        args.model,
        args.device,
        args.dtype,
        args.max_models,
        args.checkpoints,
        allow_pickle=args.allow_pickle,
        data=args.data,
        training=args.training,
        public=args.public,
        hosts=hosts,
        max_batch=args.max_batch,
        frames=_HUB_FRAMES if on_space else (),
        forwarded=on_space,
    )


def _warm_up(service: Service) -> None:
    """Load the first model; from then on garbage is looked for as ever."""
    try:
        service.warm_up()
    finally:
        gc.enable()


if __name__ == "__main__":
    main()
