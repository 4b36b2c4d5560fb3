"""What a question under /v1 costs beside the model: ``python -m florence_demo.benchmark.door``.

Knows the seconds of a processor that this process uses, which other programs on the machine change
little. Asks nano the same about one picture through the door and the routes, and without them.
"""

from __future__ import annotations

import argparse
import base64
import io
import time
from collections.abc import Sequence
from dataclasses import dataclass

from fastapi.testclient import TestClient
from PIL import Image

from florence_demo.api.application import Beside
from florence_demo.models.catalogue import ASSETS
from florence_demo.pictures.decoder import open_own
from florence_demo.serving.asking import Service
from florence_demo.serving.config import AppConfig
from florence_demo.serving.gate import Gate, Receive, Scope
from florence_demo.serving.guarded import Send
from florence_demo.tasks import TASKS

_TASK = "caption"


@dataclass(frozen=True)
class Cost:
    """Hold seconds of a processor a question.

    Attributes:
        whole: By HTTP: door, base64, JPEG, model, JSON; with the client's own part.
        model: Of the model alone, about the opened picture.
    """

    whole: float
    model: float

    def sentence(self, size: tuple[int, int]) -> str:
        """Return both, and what is between them."""
        beside = 1000 * (self.whole - self.model)
        return (
            f"A JPEG of {size[0]} x {size[1]} under /v1: {1000 * self.whole:.1f} ms of a core a"
            f" question, of which nano {1000 * self.model:.1f} and all else {beside:.1f}."
        )


def measure(questions: int, size: tuple[int, int]) -> Cost:
    """Ask both ways, in turn, and return what a question costs in the middle.

    Args:
        questions: How many.
        size: (width, height) of the picture.
    """
    scene = open_own(ASSETS / "examples" / "truck.webp").convert("RGB").resize(size)
    service = Service(AppConfig(model="nano", device="cpu"))
    engine = service.engines.get("nano")
    client = TestClient(Gate(Beside(_no_page, service), service.config.rules()), "http://localhost")
    whole, model = [], []
    for number in range(questions + 1):
        # Another picture each time: its features are kept.
        scene.putpixel((0, 0), (number % 256, number // 256, 0))
        asked = {"picture": base64.b64encode(_jpeg(scene)).decode(), "task": _TASK}
        began = time.process_time()
        client.post("/v1/ask", json=asked).raise_for_status()
        between = time.process_time()
        scene.putpixel((1, 0), (number % 256, 1 + number // 256, 0))
        opened = scene.copy()
        after = time.process_time()
        engine.predict(opened, TASKS[_TASK])
        whole.append(between - began)
        model.append(time.process_time() - after)
    return Cost(_middle(whole[1:]), _middle(model[1:]))  # the first one warms up


def _jpeg(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


async def _no_page(scope: Scope, receive: Receive, send: Send) -> None:
    raise AssertionError(scope["path"])


def _middle(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, and print a sentence."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--questions", type=int, default=40)
    parser.add_argument("--size", default="1600x1200", help="of the picture, width x height")
    args = parser.parse_args(argv)
    width, height = map(int, args.size.split("x"))
    print(measure(args.questions, (width, height)).sentence((width, height)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
