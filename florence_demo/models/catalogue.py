"""The models one can ask for by name. To add one, add a ``ModelSpec`` to ``_CATALOGUE``.

A ``ModelSpec`` is made once, where a name comes in, by what whoever gave it may name. It travels as
it is, into another process too, and is never parsed again: an id of the hub stays one, whatever
folders are called.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args

from florence_demo.errors import CheckpointError, plain
from florence_demo.trust import Trust


def _assets() -> Path:
    package = Path(__file__).resolve().parents[1]
    installed = package / "assets"
    return installed if installed.is_dir() else package.with_name("assets")


ASSETS = _assets()
"""nano, the examples and the held-out scenes: in an installed package, or beside it."""

HUB_ID = re.compile(r"\w[\w.-]{0,95}/\w[\w.-]{0,95}", re.ASCII)
REVISION = re.compile(r"\w[\w./-]{0,95}", re.ASCII)
"""A branch, a tag or a commit of a repository of the hub, behind the "@" of its id."""
_COMMIT = re.compile(r"[0-9a-f]{40}")

Size = Literal["", "base", "large"]


@dataclass(frozen=True)
class ModelSpec:
    """Hold one entry of the catalogue, or a model that somebody named.

    Attributes:
        name: What a person types: "base-ft".
        title: What it is called in a sentence.
        source: An absolute path of a folder, or an id on the Hugging Face hub, which never is one.
        revision: Commit of the hub repository, None for its newest.
        note: What a person should know before choosing it.
        public: Whether it is one of the catalogue, rather than a folder or id that somebody typed.
        size: Which of Microsoft's sizes it has, "" where its folder says so.
        gist: What it is for and what it costs, in a few words, for a menu.
        learned: Names of the tasks of questions that it learned, as far as that is known.
    """

    name: str
    title: str
    source: str
    revision: str | None = None
    note: str = ""
    public: bool = True
    size: Size = ""
    gist: str = ""
    learned: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.name

    @property
    def label(self) -> str:
        """What a menu shows: "nano: instant, drawings only"."""
        return f"{self.name}: {self.gist}" if self.gist else self.title

    @property
    def folder(self) -> Path | None:
        """Its folder where it is one of this machine, None for a model of the hub."""
        path = Path(self.source)
        return path if path.is_absolute() else None

    @classmethod
    def from_json(cls, values: Any) -> ModelSpec:
        """Return the spec whose ``asdict`` was written; of the catalogue's, its own entry.

        Raises:
            ValueError: The values are not those of a spec.
        """
        given = dict(values) if isinstance(values, dict) else {}
        named = {f.name for f in fields(cls)}
        if not {"name", "title", "source"} <= set(given) <= named:
            raise ValueError(f"a model has {', '.join(sorted(named))}, not {sorted(given)[:9]}")
        learned = given.pop("learned", ())
        if not isinstance(learned, list | tuple):
            raise ValueError("what a model learned is a list of names")
        spec = cls(**given, learned=tuple(learned))
        revision = "" if spec.revision is None else spec.revision
        texts = (spec.name, spec.title, spec.source, spec.note, spec.gist, revision, *spec.learned)
        if not all(isinstance(text, str) and "\0" not in text for text in texts):
            raise ValueError("a model's name, title and source are texts")
        if type(spec.public) is not bool or spec.size not in get_args(Size):
            raise ValueError("a model's size or kind is none")
        if spec.public and spec.name not in MODELS:
            raise ValueError(f"the catalogue has no model {plain(spec.name)}")
        return MODELS[spec.name] if spec.public else spec


Named = str | ModelSpec
"""What an operator or a program names a model by: a text, which ``spec_of`` reads, or a value."""


_HUB = "florence-community/Florence-2-"


_CATALOGUE = (
    ModelSpec(
        "nano",
        "nano",
        str(ASSETS / "nano"),
        note="A tiny Florence-2 that we train on drawn scenes of 84 kinds of things and printed"
        " text. It answers in a blink and is mostly right about such scenes; it knows nothing about"
        " photographs.",
        gist="instant, drawings only",
        learned=("docvqa", "vqa"),
    ),
    ModelSpec(
        "base-ft",
        "Florence-2-base-ft",
        _HUB + "base-ft",
        "0b03b6f15a4a211370fb204aee4e7dd48887ea37",
        note="Microsoft's small model, tuned further on many tasks. A good first choice.",
        size="base",
        gist="photographs, 0.5 GB once",
    ),
    ModelSpec(
        "large-ft",
        "Florence-2-large-ft",
        _HUB + "large-ft",
        note="Microsoft's large model, tuned further on many tasks: the best answers.",
        size="large",
        gist="photographs, the best answers, 1.6 GB once",
    ),
    ModelSpec(
        "base",
        "Florence-2-base",
        _HUB + "base",
        note="Microsoft's small model, 0.23 billion parameters, 0.5 GB to download.",
        size="base",
        gist="photographs, not tuned further, 0.5 GB once",
    ),
    ModelSpec(
        "large",
        "Florence-2-large",
        _HUB + "large",
        note="Microsoft's large model, 0.77 billion parameters, 1.6 GB to download.",
        size="large",
        gist="photographs, not tuned further, 1.6 GB once",
    ),
)


AUTO = "auto"
"""Asks for the model that suits the machine; see ``devices.usual_model``."""

DOWNLOADS: dict[Size, str] = {"base": "0.5 GB", "large": "1.6 GB"}
"""What a model of each of Microsoft's sizes takes to download, for a person."""

MODELS: dict[str, ModelSpec] = {spec.name: spec for spec in _CATALOGUE}


def spec_of(model: Named, trust: Trust) -> ModelSpec:
    """Return the catalogue's entry, or one made for a folder or a hub id.

    Args:
        model: What somebody typed; what a name was found to mean already is returned as it is.
        trust: What they may name.

    Raises:
        CheckpointError: The name is none of the three, or of a kind that is not allowed.
    """
    if isinstance(model, ModelSpec):
        return model
    name = model.strip()
    if name in MODELS:
        return MODELS[name]
    folder = _folder_called(name) if trust.folders else None
    if folder is not None:
        return spec_at(folder, name)
    if trust.hub and is_hub_name(name):
        return hub_spec(name)
    others = (
        *(("a folder with a checkpoint",) if trust.folders else ()),
        *(
            ("an id of the Hugging Face hub such as owner/name or owner/name@revision",)
            if trust.hub
            else ()
        ),
    )
    raise CheckpointError(
        f"There is no model “{plain(name)}”: choose {', or '.join((model_names(), *others))}."
    )


def spec_at(folder: Path, name: str = "") -> ModelSpec:
    """Return the model in a folder that the operator named, or that this program made or listed."""
    folder = folder.absolute()
    return ModelSpec(name or str(folder), folder.name, str(folder), public=False)


def is_hub_name(name: str) -> bool:
    """Say whether a text names a model of the hub: an id, or "id@revision" of one.

    The ``source`` of a catalogue's model counts by its name too: "large-ft@refs/pr/3".
    """
    source, at, revision = name.partition("@")
    known = source in MODELS and MODELS[source].folder is None
    if not (HUB_ID.fullmatch(source) or (known and at)):
        return False
    return not at or (bool(REVISION.fullmatch(revision)) and ".." not in revision)


def hub_spec(name: str) -> ModelSpec:
    """Return the model of the hub that "owner/name" or "owner/name@revision" names."""
    source, _, revision = name.partition("@")
    if source in MODELS:
        known = MODELS[source]
        return replace(
            known, name=name, title=name, revision=revision, note="", gist="", public=False
        )
    return ModelSpec(name, name, source, revision or None, public=False)


def catalogued(source: str) -> ModelSpec | None:
    """Return the catalogue's model with an id of the hub, None where it has none."""
    return next((spec for spec in MODELS.values() if spec.source == source), None)


def as_base(spec: ModelSpec, folder: Path) -> tuple[str, str | None]:
    """Return what an adapter calls its base, so that it is found again: name and revision.

    Args:
        spec: The base.
        folder: Where it lies on this machine; that of the hub's cache is called by its commit.
    """
    if spec.folder is None:
        commit = folder.name if _COMMIT.fullmatch(folder.name) else None
        return spec.source, commit or spec.revision
    return (spec.name, None) if spec.public else (str(folder.resolve()), None)


def model_names() -> str:
    """Return the names of the catalogue, for a sentence."""
    return ", ".join(MODELS)


def _folder_called(name: str) -> Path | None:
    try:
        folder = Path(name).expanduser()
        return folder if name and folder.is_dir() else None
    except (OSError, RuntimeError, ValueError):  # too long, no such person's home, a zero byte
        return None
