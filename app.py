"""Start the page: ``python app.py``. Hugging Face Spaces starts this file."""

from __future__ import annotations

import argparse
import contextlib
import gc
import logging
import os
import threading
from pathlib import Path

# How long a thread spins for its next piece of work before it sleeps; read when torch is imported.
# Left alone, 60 times longer, two threads on a busy machine wait for each other (a decoding step of
# 20 ms takes 135 to 830 ms); those that sleep at once double the time of nano's small pieces.
os.environ.setdefault("GOMP_SPINCOUNT", "5000")
# Asked which backend it has, as gradio does at every event, matplotlib would import all of pyplot.
os.environ.setdefault("MPLBACKEND", "agg")

# Everything that a start makes stays: looking through it for garbage takes a twentieth of the time.
if __name__ == "__main__":
    gc.disable()

with contextlib.suppress(ImportError):
    import spaces  # noqa: F401  # must come before torch where GPUs are shared

from florence_demo.memory import keep_heap
from florence_demo.ui import LAUNCH, AppConfig, build_app
from florence_demo.ui.service import Service


def main() -> None:
    """Read the flags, build the page and serve it."""
    keep_heap()
    parser = argparse.ArgumentParser(description="Florence-2 in the browser")
    parser.add_argument("--model", default="nano", help="name, folder or hub id (default: nano)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
    parser.add_argument("--dtype", default="auto", help="auto, fp32, bf16, fp16, int8")
    parser.add_argument("--max-models", type=int, default=1, help="models in memory beside nano")
    parser.add_argument("--checkpoints", type=Path, default=Path("checkpoints"))
    parser.add_argument(
        "--allow-pickle", action="store_true", help="open pickled weights under --checkpoints too"
    )
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of data sets")
    on_space = "SPACE_ID" in os.environ
    # A Space starts this file without flags; its owner can set a variable.
    train = os.environ.get("FLORENCE_TRAINING", "0" if on_space else "1") == "1"
    parser.add_argument(
        "--training",
        action=argparse.BooleanOptionalAction,
        default=train,
        help="let visitors fine-tune (default: yes; on a Space no, unless FLORENCE_TRAINING=1)",
    )
    parser.add_argument("--host", default=None, help="0.0.0.0 to serve the network")
    parser.add_argument("--port", type=int, default=None)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    config = AppConfig(
        args.model,
        args.device,
        args.dtype,
        args.max_models,
        args.checkpoints,
        open_hub=not on_space,
        allow_pickle=args.allow_pickle,
        data=args.data,
        training=args.training,
    )
    service = Service(config)
    app = build_app(config, service)
    app.launch(
        server_name=args.host,
        server_port=args.port,
        # Checkpoints are large; where strangers come, they are not welcome in any size.
        max_file_size="50mb" if on_space else "4gb",
        prevent_thread_lock=True,
        **LAUNCH,
    )
    # The page answers first; the model and its imports follow behind it.
    threading.Thread(target=_warm_up, args=(service,), daemon=True).start()
    app.block_thread()


def _warm_up(service: Service) -> None:
    """Load the first model; from then on garbage is looked for as ever."""
    try:
        service.warm_up()
    finally:
        gc.enable()


if __name__ == "__main__":
    main()
