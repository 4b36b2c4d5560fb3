"""One item made ready: its bytes, their digest, and the picture as a model sees it.

Runs in threads while the model works. Does not know models: how a picture is made ready is given.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from PIL import Image

from florence_demo.batch.sources import Item
from florence_demo.engine.seen import Seen
from florence_demo.errors import FlorenceDemoError
from florence_demo.pictures.images import open_image

log = logging.getLogger(__name__)

Prepare = Callable[[Image.Image], Image.Image | Seen]
Look = Callable[[Item, Image.Image], None]
Known = Callable[[Item, str], bool]
"""Say whether an item of this content has its row already."""


@dataclass(frozen=True)
class Ready:
    """Hold an item that was read.

    Attributes:
        item: Which one.
        sha256: Of its bytes, or of the file it is of; "" where there are none.
        size: (width, height); None where there is no picture.
        seen: The picture, to be asked about; None where there is none, or none is needed.
        error: Why there is no picture.
        done: Whether it has its row already.
    """

    item: Item
    sha256: str = ""
    size: tuple[int, int] | None = None
    seen: Image.Image | Seen | None = field(default=None, repr=False)
    error: str = ""
    done: bool = False


def nobody_looks(item: Item, picture: Image.Image) -> None:
    """See a picture that was opened, and do nothing with it."""


def read_item(item: Item, prepare: Prepare, known: Known, look: Look = nobody_looks) -> Ready:
    """Return an item made ready; nothing about it is raised, all of it is told.

    Args:
        item: Which one.
        prepare: Makes a picture ready for the model.
        known: Says whether an item has its row already.
        look: Sees each picture that is opened.
    """
    ready = Ready(item, item.sha256, error=item.error)
    try:
        if item.error or item.sha256 or item.place.kind == "web":
            # Known by what it is of, or by its address: it need not be opened, or fetched, again.
            if known(item, item.sha256):
                return replace(ready, done=True)
            if item.error:
                return ready
        source = item.place.read() if item.given is None else item.given
        if not item.sha256:
            ready = replace(ready, sha256=_digest(source))
            if known(item, ready.sha256):
                return replace(ready, done=True)
        picture = open_image(source)
        look(item, picture)
        return replace(ready, size=picture.size, seen=prepare(picture))
    except (FlorenceDemoError, OSError) as exc:
        told = exc.strerror if isinstance(exc, OSError) else None
        said = f"The picture cannot be read ({told})." if told else str(exc)
    except Exception as exc:  # one picture ends no job, whatever is wrong with it
        log.warning("a picture could not be read", exc_info=True)
        said = f"Something went wrong with this picture ({type(exc).__name__})."
    ready = replace(ready, error=said)
    return replace(ready, done=known(item, ready.sha256))


def _digest(source: bytes | Image.Image) -> str:
    data = source.tobytes() if isinstance(source, Image.Image) else source
    return hashlib.sha256(data).hexdigest()
