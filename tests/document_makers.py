"""PDFs as tests and strangers make them, object by object."""

from __future__ import annotations

from collections.abc import Sequence

A4 = (595, 842)


def pdf(objects: Sequence[bytes], trailer: bytes = b"/Root 1 0 R") -> bytes:
    """A PDF of these objects, numbered from 1; the first is the catalog."""
    out, places = b"%PDF-1.7\n", []
    for number, body in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    head = b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    end = b"trailer\n<</Size %d %s>>\nstartxref\n%d\n%%%%EOF"
    return out + head + table + end % (len(objects) + 1, trailer, len(out))


def stream(data: bytes, entries: bytes = b"") -> bytes:
    """The body of a stream."""
    return b"<</Length %d %s>>\nstream\n%s\nendstream" % (len(data), entries, data)


def filled(colour: tuple[float, float, float], box: tuple[float, float, float, float]) -> bytes:
    """Content that fills a box, in points from the lower left corner."""
    x1, y1, x2, y2 = box
    return b"%.2f %.2f %.2f rg %.2f %.2f %.2f %.2f re f" % (*colour, x1, y1, x2 - x1, y2 - y1)


def document(
    contents: Sequence[bytes],
    size: tuple[float, float] = A4,
    page: bytes = b"",
    count: int | None = None,
) -> bytes:
    """A PDF with a page for each of some contents.

    Args:
        contents: What each page draws.
        size: Width and height in points.
        page: More entries of every page, such as ``b"/Rotate 90"``.
        count: How many pages it claims to have.
    """
    kids = b" ".join(b"%d 0 R" % (3 + 2 * i) for i in range(len(contents)))
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[%s]/Count %d>>" % (kids, len(contents) if count is None else count),
    ]
    for i, content in enumerate(contents):
        box = b"/MediaBox[0 0 %s %s]" % tuple(b"%.4f" % side for side in size)
        entries = b"%s/Contents %d 0 R %s" % (box, 4 + 2 * i, page)
        objects += [b"<</Type/Page/Parent 2 0 R%s>>" % entries, stream(content)]
    return pdf(objects)


LOCKED = (
    pdf(
        [b"<</Type/Catalog/Pages 2 0 R>>", b"<</Type/Pages/Kids[]/Count 0>>"],
        b"/Root 1 0 R/ID[<%s><%s>]/Encrypt<</Filter/Standard/V 2/R 3/Length 128/P -1/O<%s>/U<%s>>>"
        % (b"00" * 16, b"00" * 16, b"11" * 32, b"22" * 32),
    )
)  # fmt: skip
"""A PDF that nobody knows the password of."""


def in_a_circle() -> bytes:
    """A page tree whose branch is its own root."""
    return pdf([b"<</Type/Catalog/Pages 2 0 R>>", b"<</Type/Pages/Kids[2 0 R 2 0 R]/Count 9>>"])


def nested(depth: int, opening: bytes = b"[", closing: bytes = b"]") -> bytes:
    """A page with lists in lists."""
    return document([b"0 g"], page=b"/A " + opening * depth + closing * depth)


def drawing_itself(times: int = 1) -> bytes:
    """A page whose form draws itself, so many times each time."""
    form = b"/Type/XObject/Subtype/Form/BBox[0 0 9 9]/Resources<</XObject<</F 5 0 R>>>>"
    return pdf(
        [
            b"<</Type/Catalog/Pages 2 0 R>>",
            b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
            b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 99 99]/Contents 4 0 R"
            b"/Resources<</XObject<</F 5 0 R>>>>>>",
            stream(b"/F Do"),
            stream(b"/F Do " * times, form),
        ]
    )


def tower(floors: int, times: int) -> bytes:
    """A page whose form draws another so many times, and so on: ``times ** floors`` in all."""
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 99 99]/Contents 4 0 R"
        b"/Resources<</XObject<</F 5 0 R>>>>>>",
        stream(b"/F Do"),
    ]
    for floor in range(floors):
        below = b"/Resources<</XObject<</F %d 0 R>>>>" % (6 + floor)
        head = b"/Type/XObject/Subtype/Form/BBox[0 0 99 99]" + (
            below if floor < floors - 1 else b""
        )
        draw = b"/F Do " if floor < floors - 1 else filled((1, 0, 0), (1, 1, 9, 9)) + b" "
        objects.append(stream(draw * times, head))
    return pdf(objects)


def huge_picture(side: int) -> bytes:
    """A page with a picture of so many pixels a side that is packed into little."""
    import zlib

    packer = zlib.compressobj(9)
    row = bytes(side * 3)
    data = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    entries = (
        b"/Type/XObject/Subtype/Image/Width %d/Height %d/BitsPerComponent 8"
        b"/ColorSpace/DeviceRGB/Filter/FlateDecode" % (side, side)
    )
    return pdf(
        [
            b"<</Type/Catalog/Pages 2 0 R>>",
            b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
            b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 99 99]/Contents 4 0 R"
            b"/Resources<</XObject<</F 5 0 R>>>>>>",
            stream(b"99 0 0 99 0 0 cm /F Do"),
            stream(data, entries),
        ]
    )
