"""How the app is served, and what that opens to those who come.

Knows settings and words. Does not know gradio.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from florence_demo.data.source import DATA_LIMITS, DataLimits
from florence_demo.models.catalogue import AUTO
from florence_demo.models.devices import usual_model
from florence_demo.serving.gate import Rules
from florence_demo.trust import VISITOR, Trust

Readers = Literal["local", "key", "public"]
"""Who may read what the server counts."""


@dataclass(frozen=True)
class AppConfig:
    """Hold how the app is served.

    Attributes:
        model: Name of the model chosen at first; "auto" is the one that suits the machine.
        device: "auto", "cpu", "cuda".
        dtype: "auto", "fp32", "bf16", "fp16", "int8".
        max_models: Models kept in memory beside nano.
        checkpoints: The one folder whose checkpoints visitors may open.
        open_hub: Whether visitors may name any model of the hub.
        allow_pickle: Whether checkpoints under that folder may be pickled; uploads never may.
        data: The one folder whose data sets visitors may learn from and measure on.
        training: Whether visitors may fine-tune, which takes the whole machine for a while; None
            means unless the page is public.
        public: Whether anybody at all may come: then only the catalogue's models, no pickles,
            small uploads, and so many questions a minute.
        hosts: Names under which the page is served beside localhost and the bound address.
        frames: Sites that may show the page in a frame.
        forwarded: Whether a proxy stands before the page and says who asks.
        max_batch: Most pictures, pages and frames of one job of many; None is 200 on a public page
            and 5,000 on one's own.
        disk: Bytes that uploads and everything else temporary may take.
        api_keys: What programs may show to ask under /v1; anybody may where there are none.
        questions_a_minute: Questions of one visitor in a minute, 0 for any number; None is 120 on
            a public page and any number on one's own.
        key_questions_a_minute: Questions of one key in a minute, 0 for any number.
        root_path: The path, or whole address, under which a proxy serves what we serve at "/".
        mcp: Whether tools of the Model Context Protocol are served.
        offline: Whether no connection out is made: no hub, no pictures of the web.
        metrics: Who may read /metrics: "local" is this machine and, where there are keys, who has
            one; "key" is only who has one; "public" is anybody.
        end_ill: Whether the process ends where only a new start helps, so that it is replaced.
        hang: Seconds without a step of any question in work, after which the server says that it
            is unwell.
    """

    model: str = AUTO
    device: str = "auto"
    dtype: str = "auto"
    max_models: int = 1
    checkpoints: Path = Path("checkpoints")
    open_hub: bool = True
    allow_pickle: bool = False
    data: Path = Path("data")
    training: bool | None = None
    public: bool = False
    hosts: tuple[str, ...] = ()
    frames: tuple[str, ...] = ()
    forwarded: bool = False
    max_batch: int | None = None
    disk: int = 16 << 30
    api_keys: tuple[str, ...] = ()
    questions_a_minute: int | None = None
    key_questions_a_minute: int = 0
    root_path: str = ""
    mcp: bool = False
    offline: bool = False
    metrics: Readers = "local"
    hang: int = 120
    end_ill: bool = False

    def resolved(self) -> AppConfig:
        """Return the settings with everything decided that others imply."""
        training = not self.public if self.training is None else self.training
        model = usual_model(self.device)[0] if self.model == AUTO else self.model
        given = replace(self, model=model, training=training)
        return replace(given, open_hub=False, allow_pickle=False) if self.public else given

    @property
    def prefix(self) -> str:
        """Return the path of ``root_path``, without the slash at its end."""
        return urlsplit(self.root_path).path.rstrip("/")

    def trust(self) -> Trust:
        """Return what a visitor may name, and what a model may do that a visitor opens."""
        given = self.resolved()
        return replace(VISITOR, hub=given.open_hub, pickle=given.allow_pickle)

    def data_limits(self) -> DataLimits:
        """Return what an upload of data may come to."""
        return replace(DATA_LIMITS, unpacked=256 << 20) if self.public else DATA_LIMITS

    def rules(self) -> Rules:
        """Return what the door admits: a page for strangers bounds more than one's own."""
        asked = self.questions_a_minute
        rules = Rules(
            hosts=self.hosts,
            frames=self.frames,
            forwarded=self.forwarded,
            questions_a_minute=asked or 0,
            key_questions_a_minute=self.key_questions_a_minute,
            keys=self.api_keys,
        )
        if not self.public:
            return rules
        return replace(
            rules,
            upload_bytes=50 << 20,
            in_work=12,
            questions_a_minute=120 if asked is None else asked,
            uploads_a_minute=60,
            connections=64,
            pages_a_minute=60,
        )


_ALONE = (None, "", "127.0.0.1", "localhost", "::1", "[::1]")


def openness(config: AppConfig, host: str | None, auth: bool) -> Iterator[str]:
    """Yield what those who reach the page may do, for the log of the start.

    Args:
        config: As ``resolved`` returns it.
        host: The address that the server listens at; this machine alone where None.
        auth: Whether they must log in.
    """
    hub = "fetch any model of the Hugging Face hub"
    if config.offline:
        hub = "name any model of the Hugging Face hub that is on this machine"
    open_to = [
        "ask the models of the list",
        *([hub] if config.open_hub else []),
        f"open checkpoints under {config.checkpoints}",
        "upload checkpoints and data",
        *([] if config.public else [f"add corrected answers to {config.data / 'my-data'}"]),
        *([f"open pickles under {config.checkpoints}"] if config.allow_pickle else []),
        *([f"start, stop and resume trainings, on data under {config.data} too"]
          if config.training else []),
    ]  # fmt: skip
    yield f"Whoever reaches this page may: {', '.join(open_to)}."
    if config.offline:
        yield "No connection out is made."
    if host not in _ALONE and not (config.public or auth):
        yield (
            f"It listens at {host}: everybody in the network may do all of that. For strangers,"
            " start it with --public, or give --auth NAME:PASSWORD."
        )
