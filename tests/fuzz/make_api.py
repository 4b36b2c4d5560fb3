"""Requests to the page: honest ones for each of its handlers, and what hostile ones are made of."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from tests.fuzz import make_pictures
from tests.fuzz.make_requests import Maker, addresses, bodies, headers, packed, raw, uploads
from tests.fuzz.mutations import HUGE, NUMBERS, TEXTS
from tests.fuzz.oracle import SECRET
from tests.fuzz.served import API, PICTURE, UPLOADED, ZIP, Event, Step, file_at, question

MISSING = SECRET.replace("screenshot", "nowhere")
ADDRESSES = (
    "http://127.0.0.1:1/a.png", "http://localhost/a.png", "http://0/a.png", "http://[::1]/a.png",
    "http://[::ffff:127.0.0.1]/a.png", "http://2130706433/a.png", "http://0x7f.1/a.png",
    "http://0177.0.0.1/a.png", "http://127.1/a.png", "http://169.254.169.254/latest",
    "http://10.0.0.1/a.png", "http://a.rebind.test/a.png", "http://a@127.0.0.1/a.png",
    "http://127.0.0.1\\@evil.example/", "file:///etc/passwd", f"file://{SECRET}",
    "ftp://127.0.0.1/a", "gopher://127.0.0.1/_x", "data:image/png;base64,AAAA", "javascript:1",
    "http://", "http:///a", "//127.0.0.1/a", "http://[", "http://[::1%25eth0]/", "http://a:b:c/",
    "http://127.0.0.1:99999/", "http://127.0.0.1:-1/", "http://127.0.0.1:٣/",
    "http://evil.example/a.png", "http://evil。example/", "http://①②⑦.⓪.⓪.①/", "http://xn--/",
    "http://" + "a" * 9000, "http://" + "a." * 500 + "b/", "http://127.0.0.1/\r\nHost: x",
    "HTTP://LOCALHOST", " http://127.0.0.1 ", "http://127.0.0.1#@evil.example", "http://224.0.0.1/",
    "http://255.255.255.255/", "http://[fe80::1]/", "http://[64:ff9b::7f00:1]/", SECRET,
    "http://192.0.2.1:0/", "http://\ud800/", "http://\0/", "http://%31%32%37.0.0.1/",
    "http://localhost%00.evil.example/",
)  # fmt: skip


def twins(one: Step, other: Step) -> bytes:
    return json.dumps({"twins": [one, other]}).encode()


def ways(event: Event, data: list[Any], **more: Any) -> Iterator[tuple[str, Step]]:
    """Each way in which a handler can be reached: by its name, in the queue, past the queue."""
    body = {
        "data": data,
        "fn_index": event.number,
        "session_hash": "fuzz",
        "trigger_id": None,
        "event_data": None,
        **more,
    }
    if event.name:
        yield "call", {"call": event.name, "data": data}
        yield "run", {"run": event.name, "body": {"data": data, **more}}
    yield "join", {"join": body}
    yield "run by number", {"run": "predict", "body": body}


def files() -> dict[str, Any]:
    """What a component that takes a file may be given."""
    meta = {"_type": "gradio.FileData"}
    tiny = base64.b64encode(make_pictures.encoded(make_pictures.picture(), "PNG")).decode()
    paths = (
        SECRET, MISSING, f"{PICTURE}/../../../../../../../../../..{SECRET}",
        "../" * 12 + SECRET[1:], f"//{SECRET}", f"file://{SECRET}", "assets/screenshot.webp",
        "/etc/passwd", "/proc/self/environ", "/proc/self/mem", "/dev/zero", "/dev/stdin", "/", ".",
        "", "~", "x" * 300, "x" * 9000, "a\0b", "\ud800", f"{PICTURE}\0.png", PICTURE.upper(),
        f"{PICTURE}/", f"{PICTURE}.", "http://127.0.0.1:1/a.png", "data:image/png;base64," + tiny,
    )  # fmt: skip
    found: dict[str, Any] = {f"{i}": {"path": path} for i, path in enumerate(paths)}
    found |= {f"{i} as a file": {"path": path, "meta": meta} for i, path in enumerate(paths)}
    found |= {f"{i} alone": path for i, path in enumerate(paths)}
    more: tuple[Any, ...] = (
        {"path": None}, {"path": [SECRET]}, {"path": {"path": SECRET, "meta": meta}}, {"path": 1},
        {"url": f"file://{SECRET}"}, {"url": "http://127.0.0.1:1/a.png", "meta": meta},
        {"url": "data:image/png;base64," + tiny}, {"url": "data:image/png;base64,!!!"},
        {"url": "data:,"}, {"url": f"data:;base64,{tiny}" * 3, "path": ""},
        {"path": PICTURE, "url": "http://127.0.0.1:1/"}, {"path": PICTURE, "size": 10**400},
        {"path": PICTURE, "size": -1}, {"path": PICTURE, "orig_name": SECRET},
        {"path": PICTURE, "mime_type": "x" * 9000},
        {"path": PICTURE, "is_stream": True, "meta": meta},
        {"path": PICTURE, "meta": {"_type": "gradio.FileData", "__class__": 1}},
        {"path": SECRET, "meta": {"_type": "x"}}, {"path": SECRET, "meta": None},
        {"path": SECRET, "meta": []}, {"path": SECRET, "meta": {"_type": ["gradio.FileData"]}},
        {"path": PICTURE, "b64": tiny}, {"image": {"path": SECRET}},
        {"background": {"path": SECRET}, "layers": [], "composite": {"path": SECRET}},
        [{"path": SECRET}], [], {}, 0, True, "x", tiny, [None], {"video": {"path": SECRET}},
        {"path": SECRET, "Meta": meta}, {"meta": meta, "name": SECRET},
        {"name": SECRET, "is_file": True, "data": None}, {"path": PICTURE, "path ": SECRET},
        [file_at(SECRET), file_at(PICTURE)], {"root": {"path": SECRET, "meta": meta}},
    )  # fmt: skip
    return found | {f"other {i}": value for i, value in enumerate(more)}


def corpus_of(events: Sequence[Event]) -> dict[str, Maker]:
    """Hostile requests, each of a kind of its own."""
    made = {**_handlers(events), **_files(events), **_values(events), **bodies(), **headers()}
    found: dict[str, list[Step]] = {**made, **addresses(), **_crowds(events)}
    found |= {
        f"fetch {i}": [{"call": "page_ask_fetch", "data": [a]}] for i, a in enumerate(ADDRESSES)
    }
    found |= {
        f"picture {i}": [{"call": "detect", "data": [a, "", "", ""]}]
        for i, a in enumerate(ADDRESSES)
    }
    found |= _verbs()
    plain: dict[str, Maker] = {
        name: lambda steps=steps: packed(*steps) for name, steps in found.items()
    }
    return {**plain, **uploads(), **_alike(), **_at_once()}


def _verbs() -> dict[str, list[Step]]:
    """The API over plain HTTP: every argument of its verbs as it should not be, and forms."""
    tiny = base64.b64encode(make_pictures.encoded(make_pictures.picture(), "PNG")).decode()
    good = {
        "/v1/ask": {"picture": tiny, "task": "od", "text": "", "region": None, "model": "nano"},
        "/v1/detect": {"picture": tiny, "names": "cat", "tiles": ""},
        "/v1/ask_many": {"pictures": [tiny], "tasks": ["od"]},
        "/v1/unload": {"model": "nano"},
        "/v1/keep": {"picture": tiny},
    }
    hostile = [*files().values(), *NUMBERS[::3], *TEXTS, *ADDRESSES[::4], *HUGE[::3]]
    found = {
        f"{path} {name} {i}": [raw(path, text=json.dumps({**given, name: value}))]
        for path, given in good.items()
        for name in given
        for i, value in enumerate(hostile)
    }
    head = "--a\r\nContent-Disposition: form-data; name="
    parts = (
        "", "--a--\r\n", f"{head}picture\r\n\r\nx\r\n--a--\r\n",
        f'{head}"picture"; filename="a.png"\r\n\r\nx\r\n--a--\r\n',
        f'{head}"picture"; filename="a.png"\r\n\r\nx\r\n' * 9 + "--a--\r\n",
        f'{head}"region"\r\n\r\n{"[" * 999}\r\n--a--\r\n',
        f'{head}"x"\r\nContent-Type: text/plain; charset=idna\r\n\r\nx\r\n--a--\r\n',
        f"{head}{'x' * 9000}\r\n\r\nx\r\n--a--\r\n", f'{head}"task"\r\n\r\n' + "x" * 300_000,
    )  # fmt: skip
    kind = "multipart/form-data; boundary=a"
    forms = {f"the form {i}": [raw("/v1/ask", kind=kind, text=p)] for i, p in enumerate(parts)}
    return found | forms


def _handlers(events: Sequence[Event]) -> dict[str, list[Step]]:
    """Each handler on each way, as it should be and as it should not."""
    found: dict[str, list[Step]] = {}
    odd = (
        1,
        [],
        {},
        {"index": -1},
        {"index": 10**400},
        {"index": "x"},
        {"index": [0]},
        {"_data": 1},
    )
    for event in events:
        name = f"{event.name or event.number}"
        shapes = ([], [None] * len(event.data), event.data * 2, ["@nest:9000@"] * len(event.data))
        for way, step in ways(event, event.data):
            found[f"{name} by {way}"] = [step]
        found[f"{name} with other data"] = [s for data in shapes for _, s in ways(event, data)]
        found[f"{name} with events"] = [
            s for e in odd for _, s in ways(event, event.data, event_data=e)
        ]
    return found


def _files(events: Sequence[Event]) -> dict[str, list[Step]]:
    """Each kind of a file to the handler that answers, some kinds to all of them."""
    found: dict[str, list[Step]] = {}
    every = files()
    telling = dict([(name, file) for name, file in every.items() if SECRET in str(file)][::3])
    for event in events:
        for at, value in enumerate(event.data):
            if PICTURE in str(value) or ZIP in str(value):
                for name, file in (every if event.name == "page_ask" else telling).items():
                    data = [*event.data[:at], file, *event.data[at + 1 :]]
                    found[f"the file {name} to {event.name or event.number}"] = [
                        s for _, s in ways(event, data)
                    ]
    return found


def _values(events: Sequence[Event]) -> dict[str, list[Step]]:
    """Each hostile value in each place of the handlers that take most."""
    found: dict[str, list[Step]] = {}
    hostile = (
        *NUMBERS,
        *TEXTS,
        *HUGE,
        None,
        True,
        [],
        {},
        [1],
        {"box": [10**400] * 4},
        {"box": ["x"] * 4},
        {"box": "@nest:99@"},
        {"boxes": [[1, 2, 3, 4]] * 999},
        {"least": 10**400, "off": [10**400], "merge": "@nest:99@"},
    )
    some = hostile[::7]
    for event in events:
        for i, value in enumerate(
            hostile if event.name in ("page_ask", "start_training") else some
        ):
            places = range(len(event.data)) if event.name else ()
            found[f"{event.name} is {i}"] = [
                {"call": event.name, "data": [*event.data[:at], value, *event.data[at + 1 :]]}
                for at in places
            ]
    return {name: steps for name, steps in found.items() if steps}


def _crowds(events: Sequence[Event]) -> dict[str, list[Step]]:
    """One stranger who is many."""
    cheap = next((event for event in events if len(event.data) == 1), events[0])
    body = {"data": cheap.data, "fn_index": cheap.number}
    cancelled = raw(f"{API}/cancel", text='{"session_hash": "x", "fn_index": 0, "event_id": "x"}')
    honest = question(file_at(PICTURE))
    return {
        "150 sessions": [{"join": {**body, "session_hash": f"s{i}"}} for i in range(150)],
        "60 questions nobody waits for": [*[_unheard(PICTURE)] * 60, *[cancelled] * 5, honest],
    }


def _unheard(path: str) -> Step:
    """A question whose answer nobody fetches."""
    return raw(f"{API}/call/page_ask", text=json.dumps({"data": question(file_at(path))["data"]}))


def _at_once() -> dict[str, Maker]:
    """The same large picture asked about many times at once."""
    kinds = {
        "16 bits": lambda: make_pictures.png(*make_pictures.LARGE, 16, 2),
        "grey in 16 bits": lambda: make_pictures.png(*make_pictures.LARGE, 16, 0),
        "150 scans": lambda: make_pictures.jpeg_with_scans(150, make_pictures.LARGE),
    }

    def asked(make: Callable[[], bytes]) -> bytes:
        sent: Step = {"upload": "a.png", "base64": base64.b64encode(make()).decode()}
        return packed(sent, *[_unheard(UPLOADED)] * 16, question(file_at(PICTURE)))

    return {
        f"64 megapixels in {name} 16 times at once": lambda make=make: asked(make)
        for name, make in kinds.items()
    }


def _alike() -> dict[str, Maker]:
    """Pairs of requests that differ in a name alone: one of a thing that is there, one of none."""
    pairs: dict[str, tuple[Step, Step]] = {}

    def add(name: str, make: Callable[[str], Step], one: str, other: str) -> None:
        pairs[f"alike: {name}"] = make(one), make(other)

    def asked(value: Any) -> Step:
        return question(value)

    names = (
        (SECRET, MISSING),
        ("/etc/passwd", "/etc/passwx"),
        ("/root/.bashrc", "/root/.bashrx"),
        ("assets/screenshot.webp", "assets/nowhere.webp"),
    )
    for i, (there, none) in enumerate(names):
        add(f"a path {i}", lambda path: asked({"path": path}), there, none)
        add(f"a file {i}", lambda path: asked(file_at(path)), there, none)
        add(
            f"an address {i}",
            lambda path: {"method": "GET", "path": f"{API}/file={path}"},
            there,
            none,
        )
        for way in ("upload_training_data", "upload_checkpoint"):
            add(
                f"{way} {i}",
                lambda path, way=way: {"call": way, "data": [[{"path": path}]]},
                there,
                none,
            )
            add(
                f"{way} as a file {i}",
                lambda path, way=way: {"call": way, "data": [[file_at(path)]]},
                there,
                none,
            )
        add(
            f"picked {i}",
            lambda path: {"run": "page_ask", "body": {"data": question({"path": path})["data"]}},
            there,
            none,
        )
    for there, none in (
        ("florence_demo/ui", "florence_demx/ui"),
        ("tests/fuzz", "tests/fuxx"),
        ("assets/nano", "assets/nanx"),
    ):
        add(f"a model {there}", lambda name: question(file_at(PICTURE), name), there, none)
        add(
            f"a model of the hub {there}",
            lambda name: {"call": "hub_checkpoint", "data": [name]},
            there,
            none,
        )
        add(
            f"a set of the hub {there}",
            lambda name: {"call": "evaluate", "data": ["hub", "", name, "nano", [], 4, 1, 16]},
            there,
            none,
        )
    for there, none in (
        ("../checkpoints", "../checkpointx"),
        ("/etc", "/etx"),
        ("../../fuzz", "../../fuxx"),
    ):
        add(
            f"a checkpoint {there}",
            lambda name: {"call": "describe_checkpoint", "data": [name]},
            there,
            none,
        )
        add(
            f"data {there}",
            lambda name: {"call": "evaluate", "data": ["folder", name, "", "nano", [], 4, 1, 16]},
            there,
            none,
        )
    return {name: lambda pair=pair: twins(*pair) for name, pair in pairs.items()}
