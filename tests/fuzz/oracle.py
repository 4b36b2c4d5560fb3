"""What a door may answer: it works, or it says one sentence. All else is a failure."""

from __future__ import annotations

import re
import sys
import tempfile
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from florence_demo.errors import FlorenceDemoError

LONGEST_SENTENCE = 600
_END = re.compile(r"[.!?…][”’\"')\]]*$")
_ADDRESS = re.compile(r"\bat 0x[0-9a-fA-F]{6,}")
_NOISE = re.compile(
    r"Value: .*?(?= is not in| \(type)|“.*?”|‘.*?’|\".*?\"|'.*?'|\S*/\S*|\b\S{30,}|\d[\d,.]*",
    re.DOTALL,
)
_PROJECT = Path(__file__).resolve().parent.parent.parent
SECRET = str(_PROJECT / "assets" / "screenshot.webp")
"""A picture that lies on this machine and that no stranger may see, named by inputs as it is."""


class Refused(FlorenceDemoError):
    """Hold the sentence of a door that has no error of ours to raise, such as a web server.

    Args:
        sentence: What it said.
        given: The input as it was sent, where that is not the input itself.
    """

    def __init__(self, sentence: str, given: bytes | None = None):
        super().__init__(sentence)
        self.given = given


class Breach(AssertionError):
    """Say which promise an input broke, though nothing was raised.

    Args:
        what: The promise, the same for every input that breaks it in this way.
        detail: What came instead.
    """

    def __init__(self, what: str, detail: str = ""):
        super().__init__(f"{what}: {detail}" if detail else what)
        self.sign = bare(what)


@dataclass(frozen=True)
class Verdict:
    """Hold what became of one input.

    Attributes:
        outcome: Whether it worked, was refused in a sentence, or is a failure.
        said: The sentence, or what is wrong.
        sign: What two failures of one cause have in common; of a refusal, the bare sentence.
    """

    outcome: Literal["accepted", "refused", "failed"]
    said: str = ""
    sign: str = ""


def judge(drive: Callable[[bytes], None], data: bytes) -> Verdict:
    """Return what becomes of an input at a door."""
    try:
        drive(data)
    except FlorenceDemoError as exc:
        sentence = str(exc)
        given = exc.given if isinstance(exc, Refused) else None
        problem = wrong_with(sentence, data if given is None else given)
        if problem:
            return Verdict("failed", f"{problem}: {brief(sentence)}", sign_of(problem, sentence))
        return Verdict("refused", sentence, bare(sentence))
    except Breach as exc:
        return Verdict("failed", str(exc)[:2000], exc.sign)
    except KeyboardInterrupt:
        raise
    except BaseException as exc:  # a panic in Rust code is no Exception
        return Verdict("failed", _told(exc), _sign(exc))
    return Verdict("accepted")


def wrong_with(sentence: str, given: bytes = b"") -> str:
    """Return what is wrong with a sentence for a person, "" where nothing is.

    Args:
        sentence: What a door says.
        given: The input: what it says itself may be said back.
    """
    try:
        sentence.encode()
    except UnicodeEncodeError:
        return "half of a character"
    if not sentence.strip():
        return "no sentence"
    if len(sentence) > LONGEST_SENTENCE:
        return "a sentence of more than 600 characters"
    if "our side" in sentence:
        return "“our side” for what a stranger sent"
    leak = leak_in(sentence, given)
    if not leak and not _END.search(sentence.strip()):
        return "no end to the sentence"
    return leak


def leak_in(text: str, given: bytes = b"") -> str:
    """Return what of this machine an answer tells, "" where it tells nothing.

    Args:
        text: What a door says.
        given: The input: what it says itself may be said back.
    """
    if "Traceback" in text:
        return "a traceback"
    if _ADDRESS.search(text):
        return "an address in memory"
    own = text.replace(SECRET, "")
    for end in range(len(SECRET) - 1, len(str(_PROJECT)), -1):
        own = own.replace(f"{SECRET[:end]}…", "")  # a long name is said back cut short
    if any(path in own and path.encode() not in given for path in _paths()):
        return "a path of this machine"
    return ""


def bare(sentence: str) -> str:
    """Return a sentence without its names and numbers, to count those that differ."""
    return _NOISE.sub("…", sentence)[:200]


def sign_of(problem: str, sentence: str) -> str:
    """Return what sentences with one problem have in common: their first words."""
    return f"{problem}: {' '.join(bare(sentence[:2000]).split()[:3])}"


def brief(sentence: str) -> str:
    """Return a sentence in quotes, of a long one both ends."""
    long = len(sentence) > LONGEST_SENTENCE
    return repr(f"{sentence[:200]} … {sentence[-200:]}" if long else sentence)


def _paths() -> set[str]:
    paths = {tempfile.gettempdir(), sys.prefix, str(_PROJECT), str(Path.home())}
    return {path for path in paths if len(path) >= 4}


def _told(exc: BaseException) -> str:
    *_, last = traceback.format_exception_only(exc)
    frames = traceback.extract_tb(exc.__traceback__)[-4:]
    where = " < ".join(f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in reversed(frames))
    return f"{last.strip()[:500]} at {where}"


def _sign(exc: BaseException) -> str:
    frames = traceback.extract_tb(exc.__traceback__)
    ours = [f for f in frames if "florence_demo" in f.filename]
    places = {f"{Path(f.filename).name} {f.name}" for f in (*ours[-1:], *frames[-1:])}
    return f"{type(exc).__name__} in {', '.join(sorted(places))}"
