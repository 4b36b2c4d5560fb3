"""What an operator may set, and where a value comes from: a flag, a variable, a file, the default.

Knows one table, from which come the flags, the variables ``FLORENCE_<NAME>`` and the keys of a TOML
file. Does not know what the settings do. A flag goes before a variable, a variable before the file.
"""

from __future__ import annotations

import argparse
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args

from florence_demo.errors import InputError, plain
from florence_demo.serving.config import AppConfig, Readers

CONFIG = "FLORENCE_CONFIG"
"""The variable that names the file."""

_SWITCH = {"1": True, "true": True, "yes": True, "on": True,
           "0": False, "false": False, "no": False, "off": False}  # fmt: skip
_UNITS = {"MB": 1 << 20, "GB": 1 << 30, "TB": 1 << 40}
_SIZE = re.compile(r"(\d{1,9})\s*(MB|GB|TB)", re.IGNORECASE)


@dataclass(frozen=True)
class Kind:
    """Hold how a value is written.

    Attributes:
        words: What it must be, for a person.
        read: Takes a text, returns the value, raises ValueError or LookupError.
        toml: Its type in the file.
        many: Whether it is a list: several flags, a variable with commas, a list in the file.
    """

    words: str
    read: Callable[[str], Any]
    toml: type = str
    many: bool = False


@dataclass(frozen=True)
class Setting:
    """Hold one setting.

    Attributes:
        name: The key in the file; the flag and the variable are called so too.
        help: What it does.
        kind: How it is written.
        metavar: How the help calls the flag's value.
        secret: Whether its value is shown to nobody.
        on_space: The default on a Hugging Face Space, where that is another.
        also: A variable of gradio's that says the same.
        field: What ``AppConfig`` calls it, where that is another name.
        otherwise: The default of what ``AppConfig`` does not know.
    """

    name: str
    help: str
    kind: Kind
    metavar: str = ""
    secret: bool = False
    on_space: Any = None
    also: str = ""
    field: str = ""
    otherwise: Any = None

    @property
    def default(self) -> Any:
        """Return its value where nobody says anything."""
        return getattr(AppConfig, self.field or self.name, self.otherwise)

    @property
    def flag(self) -> str:
        """Return the flag."""
        return f"--{self.name.replace('_', '-')}"

    @property
    def variable(self) -> str:
        """Return the variable's name."""
        return f"FLORENCE_{self.name.upper()}"


@dataclass(frozen=True)
class Given:
    """Hold a value and where it comes from, in words."""

    value: Any
    source: str


def _whole(least: int, most: int = 1 << 31) -> Kind:
    def read(text: str) -> int:
        number = int(text)
        if not least <= number <= most:
            raise ValueError
        return number

    reach = f"from {least} to {most}" if most < 1 << 31 else f"of {least} or more"
    return Kind(f"a whole number {reach}", read, int)


def _one_of(*choices: str) -> Kind:
    return Kind(f"one of {', '.join(choices)}", lambda text: choices[choices.index(text)])


def _read_size(text: str) -> int:
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise ValueError
    return int(found[1]) * _UNITS[found[2].upper()]


def _matching(pattern: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError
        return text

    return read


_TEXT = Kind("a text", str)
_NAMES = Kind("names", _matching(r"\S+"), many=True)
_YES = Kind("true or false", lambda text: _SWITCH[text.strip().lower()], bool)
_FOLDER = Kind("a folder", Path)
_AMOUNT = Kind("an amount such as 16 GB", _read_size)
_LOGIN = Kind("NAME:PASSWORD", _matching(r"[^:]+:.+"))
# What an HTTP header can carry.
_KEYS = Kind("letters, digits and signs, no spaces", _matching(r"[!-+\--~]+"), many=True)
_ROOT = Kind("a path or an address, such as /florence", _matching(r"(?:https?://[^/\s]+)?/\S*"))

SETTINGS: tuple[Setting, ...] = (
    Setting("model", "name, folder or hub id of the model chosen at first; auto is base-ft on"
            " a Space or with a GPU, else nano", _TEXT),
    Setting("device", "auto, cpu, cuda, cuda:1, mps", _TEXT),
    Setting("dtype", "auto, fp32, bf16, fp16, int8", _TEXT),
    Setting("max_models", "models in memory beside nano", _whole(1), "N"),
    Setting("checkpoints", "folder of the checkpoints that My models offers",
            _FOLDER, "DIR"),
    Setting("allow_pickle", "open pickled weights under --checkpoints too", _YES),
    Setting("data", "folder of data sets", _FOLDER, "DIR"),
    Setting("max_batch", "most pictures of one job of many (default: 200 or 5,000)",
            _whole(1), "N"),
    Setting("training", "let visitors fine-tune (default: unless the page is public)", _YES),
    Setting("open_hub", "let visitors name any model of the hub; never on a public page",
            _YES),
    Setting("public", "for strangers: the catalogue's models only, no pickles, small"
            " uploads, so many questions a minute; no training unless --training is given (default"
            " on a Space)", _YES, on_space=True),
    Setting("auth", "who may come in", _LOGIN, "NAME:PASSWORD", secret=True),
    Setting("api_key", "what a program must show to ask under /v1; may be given again",
            _KEYS, "KEY", secret=True, field="api_keys"),
    Setting("questions_a_minute", "questions of one visitor in a minute, 0 for any number"
            " (default: 120 on a public page, else any number)", _whole(0), "N"),
    Setting("key_questions_a_minute", "questions of one key in a minute, 0 for any number",
            _whole(0), "N"),
    Setting("host", "0.0.0.0 to serve the network", _TEXT, "ADDRESS", also="GRADIO_SERVER_NAME"),
    Setting("port", "where it listens (default: the first that is free from 7860 on)",
            _whole(1, 65535), "N", also="GRADIO_SERVER_PORT"),
    Setting("allowed_host", "a name under which the page is served, beside localhost and the"
            " bound address; *.example.org for all below one; may be given again", _NAMES, "NAME",
            field="hosts"),
    Setting("frames", "a site that may show the page in a frame; may be given again", _NAMES,
            "SITE", on_space=("https://huggingface.co", "https://*.hf.space")),
    Setting("forwarded", "a proxy of yours stands before the page: believe its"
            " X-Forwarded-For and X-Request-ID", _YES, on_space=True),
    Setting("root_path", "the path or address under which a proxy serves this page, such as"
            " /florence; the proxy takes the path off", _ROOT, "PATH", also="GRADIO_ROOT_PATH"),
    Setting("disk", "what uploads and everything else temporary may take", _AMOUNT,
            "AMOUNT"),
    Setting("mcp", "serve tools of the Model Context Protocol", _YES),
    Setting("metrics", "who may read /metrics: local (this machine, and with --api-key who"
            " shows one), key, public", _one_of(*get_args(Readers)), "WHO"),
    Setting("hang", "seconds without a step, after which /healthz says that it hangs",
            _whole(1), "SECONDS"),
    Setting("end_ill", "end with status 1 where /healthz would ask for a new start, for whoever"
            " starts it again", _YES),
    Setting("offline", "make no connection out: no hub, no pictures of the web", _YES),
    Setting("log_format", "text or json, one object a line", _one_of("text", "json"), "FORMAT",
            otherwise="text"),
    Setting("log_level", "debug, info, warning or error",
            _one_of("debug", "info", "warning", "error"), "LEVEL", otherwise="info"),
)  # fmt: skip
"""All that an operator may set."""

_BY_NAME = {each.name: each for each in SETTINGS}


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Give a parser the flags; what is not given is None, and all values are texts yet."""
    parser.add_argument("--config", metavar="FILE", help=f"a TOML file of settings (or {CONFIG})")
    parser.add_argument(
        "--show-config", action="store_true", help="print every setting and whence it is, and end"
    )
    for each in SETTINGS:
        about = each.help
        if each.default not in (None, "", ()) and "default" not in about:
            about += f" (default: {_shown(each, each.default)})"
        more: dict[str, Any] = {"metavar": each.metavar or None}
        if each.kind.toml is bool:
            more = {"action": argparse.BooleanOptionalAction}
        elif each.kind.many:
            more["action"] = "append"
        parser.add_argument(each.flag, default=None, help=about.replace("%", "%%"), **more)


def read(flags: Mapping[str, Any], environment: Mapping[str, str]) -> dict[str, Given]:
    """Return every setting's value and its source.

    Args:
        flags: What ``add_flags``'s parser read.
        environment: The process's variables.

    Raises:
        InputError: A value is not of its kind, or the file cannot be used.
    """
    file = flags.get("config") or environment.get(CONFIG) or ""
    written = _written(Path(file)) if file else {}
    found = {}
    for each in SETTINGS:
        # An empty variable is as good as none: files of variables leave them so.
        named = next((v for v in (each.variable, each.also) if environment.get(v)), None)
        if (flag := flags.get(each.name)) is not None:
            found[each.name] = Given(_value(each, flag, each.flag), f"flag {each.flag}")
        elif named:
            text = environment[named]
            parts = re.split(r"\s*,\s*", text.strip(" ,")) if each.kind.many else text
            found[each.name] = Given(_value(each, parts, named), f"variable {named}")
        elif each.name in written:
            value = _value(each, written[each.name], f"{each.name} in {file}", typed=True)
            found[each.name] = Given(value, f"file {file}")
        elif each.on_space is not None and "SPACE_ID" in environment:
            found[each.name] = Given(each.on_space, "default on a Space")
        else:
            found[each.name] = Given(each.default, "default")
    return found


def unknown_variables(environment: Mapping[str, str]) -> list[str]:
    """Return the variables that are called as settings are, and are none."""
    known = {each.variable for each in SETTINGS} | {CONFIG}
    return sorted(v for v in environment if v.startswith("FLORENCE_") and v not in known)


def shown(found: Mapping[str, Given]) -> Iterator[str]:
    """Yield a line for each setting: its name, its value and where it is from; no secrets."""
    width = max(map(len, found))
    for name, given in found.items():
        value = _shown(_BY_NAME[name], given.value)
        yield f"{name:{width}}  {value}  ({given.source})"


def _shown(setting: Setting, value: Any) -> str:
    if value in (None, "", ()):
        return "-"
    if setting.secret:
        return "***"
    if setting.kind is _AMOUNT:
        unit = next(u for u in reversed(_UNITS) if value % _UNITS[u] == 0 or u == "MB")
        return f"{value // _UNITS[unit]} {unit}"
    if isinstance(value, bool):
        return str(value).lower()
    return ", ".join(value) if setting.kind.many else str(value)


def _value(setting: Setting, given: Any, where: str, typed: bool = False) -> Any:
    """Return a value of what was written.

    Args:
        setting: Of which it is.
        given: A text or several; of the file (``typed``) also another type.
        where: How the sentence calls the place where it was written.
        typed: Whether a text does not stand for a number.
    """
    kind = setting.kind
    try:
        if kind.many:
            each = given if isinstance(given, list) else [given]
            return tuple(kind.read(_text(one, kind, typed)) for one in each)
        return kind.read(_text(given, kind, typed))
    except (ValueError, LookupError) as exc:
        told = "" if setting.secret else f", not {plain(given, 40)!r}"
        raise InputError(f"{where} must be {kind.words}{told}.") from exc


def _text(given: Any, kind: Kind, typed: bool) -> str:
    # True is 1 to Python: a type counts only as itself.
    if typed and type(given) is not kind.toml:
        raise ValueError
    return str(given)


def _written(file: Path) -> dict[str, Any]:
    """Return what a file says.

    Raises:
        InputError: It cannot be read, or says what is no setting.
    """
    try:
        found = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as exc:
        raise InputError(f"The settings in {file} cannot be read: {exc.strerror}.") from exc
    except ValueError as exc:
        raise InputError(f"{file} is no TOML file: {plain(exc)}.") from exc
    for name in found:
        if name not in _BY_NAME:
            close = get_close_matches(name.replace("-", "_"), _BY_NAME, 1)
            meant = f" Did you mean {close[0]}?" if close else ""
            raise InputError(f"{plain(name)} in {file} is no setting.{meant}")
    return found
