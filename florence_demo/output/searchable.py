"""A PDF of pictures whose text can be searched, selected and copied.

Each page is an invisible text, each line where it was read, with the picture over it. All letters
are one and the same box of a font that is made here: whatever was read, in any script, has its
place, its size for a viewer to mark, and its meaning (a ToUnicode map), and no shape of its own.
Tesseract and OCRmyPDF do it much the same way.

Pages are written one by one, and never more than one is held: the libraries that write PDFs hold
all of them until the end. PDF 1.7 is ISO 32000-1; sections are named where they count. Does not
know tasks or models.
"""

from __future__ import annotations

import io
import math
import unicodedata
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from florence_demo.errors import InputError, plain, printable
from florence_demo.files import whole_file
from florence_demo.output.reading_order import order_of
from florence_demo.prediction import Detections, Prediction

Points = tuple[float, float]

_QUALITY = 85
_ROW_POINTS = 12.0
_LETTER = 500  # thousandths of a line's height
_MOST_LETTERS = 65_000  # different ones in a document: a code has two bytes
_CATALOG, _PAGES, _FONT, _CID_FONT, _DESCRIPTOR, _FILE, _MEANINGS, _GLYPHS, _INFO = range(1, 10)


def write_searchable(
    pages: Iterable[tuple[Image.Image, Prediction | Detections, Points]], target: Path
) -> None:
    """Write a searchable PDF, wholly or not at all.

    Args:
        pages: Each page's picture, what was read on it in the picture's pixels, and its width and
            height in points of 1/72 inch.
        target: The file.

    Raises:
        InputError: There are no pages, or the file cannot be written.
    """
    try:
        with whole_file(target) as new, new.open("wb") as out:
            document = _Document(out)
            for picture, found, points in pages:
                document.add_page(picture, found, points)
            document.close()
    except OSError as exc:
        raise InputError(
            f"The PDF cannot be written to {plain(target.name, 60)}: name a folder that exists."
        ) from exc


def searchable(picture: Image.Image, found: Prediction | Detections, points: Points) -> bytes:
    """Return a searchable PDF of one picture, as ``write_searchable`` writes it."""
    buffer = io.BytesIO()
    document = _Document(buffer)
    document.add_page(picture, found, points)
    document.close()
    return buffer.getvalue()


class _Document:
    """Write a PDF object by object."""

    def __init__(self, out: IO[bytes]) -> None:
        self._out = out
        self._places: dict[int, int] = {}
        self._pages: list[int] = []
        self._next = _INFO + 1
        self._codes: dict[str, int] = {}
        out.write(b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n")

    def add_page(
        self, picture: Image.Image, found: Prediction | Detections, points: Points
    ) -> None:
        page, shown, content = self._next, self._next + 1, self._next + 2
        self._next += 3
        width, height = points
        buffer = io.BytesIO()
        picture.convert("RGB").save(buffer, "JPEG", quality=_QUALITY)
        size = f"/Width {picture.width}/Height {picture.height}"
        self._stream(
            shown,
            buffer.getvalue(),
            f"/Type/XObject/Subtype/Image{size}/ColorSpace/DeviceRGB/BitsPerComponent 8"
            "/Filter/DCTDecode",
        )
        drawn = f"q {width:.3f} 0 0 {height:.3f} 0 0 cm /I Do Q\n"
        text = "".join(self._line(*line) for line in _placed(found, picture.size, points))
        # The text lies under the picture: not even a program that draws all text shows it.
        self._packed(content, (text + drawn).encode("ascii"))
        self._object(
            page,
            f"<</Type/Page/Parent {_PAGES} 0 R/MediaBox[0 0 {width:.3f} {height:.3f}]"
            f"/Resources<</XObject<</I {shown} 0 R>>/Font<</F {_FONT} 0 R>>>>"
            f"/Contents {content} 0 R>>",
        )
        self._pages.append(page)

    def _line(self, text: str, corners: NDArray[np.float64]) -> str:
        """Return what writes a line into its place.

        Args:
            text: One line.
            corners: (4, 2) in points from the lower left, clockwise from the text's top left.
        """
        top_left, _, right, left = corners
        along, up = right - left, top_left - left
        width, height = math.hypot(*along), math.hypot(*up)
        text = unicodedata.normalize("NFC", printable(text)).strip()
        if not text or not (width > 0.01 and height > 0.01):
            return ""
        cos, sin = along / width
        wide = 100 * width / (len(text) * height * _LETTER / 1000)  # per cent
        codes = "".join(f"{self._code(letter):04x}" for letter in text)
        # 3 Tr: neither filled nor stroked (9.3.6)
        return (
            f"BT 3 Tr /F {height:.3f} Tf {wide:.3f} Tz {cos:.5f} {sin:.5f} {-sin:.5f} {cos:.5f}"
            f" {left[0]:.3f} {left[1]:.3f} Tm <{codes}> Tj ET\n"
        )

    def _code(self, letter: str) -> int:
        """Return the code of a letter: they are numbered as they come."""
        if letter not in self._codes and len(self._codes) >= _MOST_LETTERS:
            return 0
        return self._codes.setdefault(letter, len(self._codes) + 1)

    def close(self) -> None:
        if not self._pages:
            raise InputError("There are no pages to write: choose some.")
        kids = " ".join(f"{page} 0 R" for page in self._pages)
        self._object(_CATALOG, f"<</Type/Catalog/Pages {_PAGES} 0 R>>")
        self._object(_PAGES, f"<</Type/Pages/Count {len(self._pages)}/Kids[{kids}]>>")
        self._object(_INFO, "<</Producer(florence_demo)>>")
        self._font()
        start = self._out.tell()
        count = self._next
        self._out.write(b"xref\n0 %d\n0000000000 65535 f \n" % count)
        for number in range(1, count):
            self._out.write(b"%010d 00000 n \n" % self._places[number])
        trailer = f"trailer\n<</Size {count}/Root {_CATALOG} 0 R/Info {_INFO} 0 R>>\n"
        self._out.write(f"{trailer}startxref\n{start}\n%%EOF\n".encode())

    def _font(self) -> None:
        """Write the font: codes of two bytes that all lead to the one box (9.7)."""
        name = "/BaseFont/Boxes"
        self._object(
            _FONT,
            f"<</Type/Font/Subtype/Type0{name}/Encoding/Identity-H"
            f"/DescendantFonts[{_CID_FONT} 0 R]/ToUnicode {_MEANINGS} 0 R>>",
        )
        system = "/CIDSystemInfo<</Registry(Adobe)/Ordering(Identity)/Supplement 0>>"
        self._object(
            _CID_FONT,
            f"<</Type/Font/Subtype/CIDFontType2{name}{system}/DW {_LETTER}"
            f"/FontDescriptor {_DESCRIPTOR} 0 R/CIDToGIDMap {_GLYPHS} 0 R>>",
        )
        self._object(
            _DESCRIPTOR,
            f"<</Type/FontDescriptor/FontName/Boxes/Flags 5/FontBBox[0 0 {_LETTER} 1000]"
            f"/ItalicAngle 0/Ascent 1000/Descent 0/CapHeight 1000/StemV 80/FontFile2 {_FILE} 0 R>>",
        )
        font = _boxes()
        self._packed(_FILE, font, f"/Length1 {len(font)}")
        self._packed(_MEANINGS, _meanings(self._codes))
        self._packed(_GLYPHS, b"\0\0" + b"\0\1" * len(self._codes))

    def _object(self, number: int, body: str) -> None:
        self._places[number] = self._out.tell()
        self._out.write(f"{number} 0 obj\n{body}\nendobj\n".encode("ascii"))

    def _packed(self, number: int, data: bytes, entries: str = "") -> None:
        self._stream(number, zlib.compress(data), f"{entries}/Filter/FlateDecode")

    def _stream(self, number: int, data: bytes, entries: str) -> None:
        self._places[number] = self._out.tell()
        self._out.write(f"{number} 0 obj\n<</Length {len(data)}{entries}>>\nstream\n".encode())
        self._out.write(data)
        self._out.write(b"\nendstream\nendobj\n")


def _placed(
    found: Prediction | Detections, size: tuple[int, int], points: Points
) -> Iterable[tuple[str, NDArray[np.float64]]]:
    """Yield each line and its corners (4, 2) in points from the page's lower left, in order."""
    detections = found.detections if isinstance(found, Prediction) else found
    scale = np.array(points) / np.array(size)
    for index in order_of(detections):
        rings = detections.polygons[index]
        x1, y1, x2, y2 = detections.xyxy[index].tolist()
        corners = np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]])
        if len(rings) == 1 and len(rings[0]) == 4:
            corners = rings[0].astype(np.float64)
        yield detections.labels[index], _from_below(corners * scale, points[1])
    if len(detections) or not isinstance(found, Prediction):
        return
    # Text without places is at least on its page: one line below the other.
    rows = found.text.split("\n")
    for row, text in enumerate(rows):
        top = points[1] * row / len(rows)
        low = top + min(points[1] / len(rows), _ROW_POINTS)
        across = np.array([[0, top], [points[0], top], [points[0], low], [0, low]])
        yield text, _from_below(across, points[1])


def _from_below(corners: NDArray[np.float64], height: float) -> NDArray[np.float64]:
    return np.stack([corners[:, 0], height - corners[:, 1]], axis=1)


def _meanings(codes: dict[str, int]) -> bytes:
    """Return the ToUnicode map (9.10.3): what each code means, as UTF-16."""
    lines = [
        f"<{code:04x}> <{letter.encode('utf-16-be', 'replace').hex()}>"
        for letter, code in codes.items()
    ]
    parts = [
        "/CIDInit /ProcSet findresource begin 12 dict begin begincmap",
        "/CIDSystemInfo <</Registry(Adobe)/Ordering(UCS)/Supplement 0>> def",
        "/CMapName /Adobe-Identity-UCS def /CMapType 2 def",
        "1 begincodespacerange <0000> <ffff> endcodespacerange",
    ]
    for start in range(0, len(lines), 100):  # at most so many in a piece
        piece = lines[start : start + 100]
        parts += [f"{len(piece)} beginbfchar", *piece, "endbfchar"]
    parts.append("endcmap CMapName currentdict /CMap defineresource pop end end")
    return "\n".join(parts).encode("ascii")


def _boxes() -> bytes:
    """Return a TrueType font whose every glyph is a box, half as wide as high."""
    from fontTools.fontBuilder import FontBuilder
    from fontTools.pens.ttGlyphPen import TTGlyphPen

    pen = TTGlyphPen(None)
    pen.moveTo((0, 0))
    for corner in ((0, 1000), (_LETTER, 1000), (_LETTER, 0)):
        pen.lineTo(corner)
    pen.closePath()
    names = [".notdef", "letter"]
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder(names)
    builder.setupCharacterMap({})
    builder.setupGlyf(dict.fromkeys(names, pen.glyph()))
    builder.setupHorizontalMetrics(dict.fromkeys(names, (_LETTER, 0)))
    builder.setupHorizontalHeader(ascent=1000, descent=0)
    builder.setupNameTable({"familyName": "Boxes", "styleName": "Regular"})
    builder.setupOS2(sTypoAscender=1000, sTypoDescender=0, usWinAscent=1000, usWinDescent=0)
    builder.setupPost()
    builder.updateHead(created=0, modified=0)  # else the time now: the same answer gives one file
    buffer = io.BytesIO()
    builder.save(buffer)
    return buffer.getvalue()
