"""Render pages of a PDF; the only module that knows pdfium. ``confined`` runs it as a program.

pdfium is not made for threads: it is never loaded in the app's own process, and here there is one
thread. Imports nothing of this package.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pypdfium2
import pypdfium2.raw as pdfium
from PIL import Image

Answer = tuple[dict[str, Any], Image.Image | None]

_POINTS_AN_INCH = 72
_LONGEST = 50_000  # pixels of a side: a page may be a point high and a mile wide


def prepare(path: str, pixels: int) -> Callable[[dict[str, Any]], Answer]:
    """Return what answers requests about a file.

    A request without anything opens it and is answered {"pages": n}, or {"wrong": why}; one with
    "page", counted from 1, and "dpi" by the page.

    Args:
        path: The PDF.
        pixels: Most pixels of a page; a larger one is rendered smaller.
    """
    document: pypdfium2.PdfDocument | None = None

    def answer(request: dict[str, Any]) -> Answer:
        nonlocal document
        if document is None:
            try:
                document = pypdfium2.PdfDocument(path)
            except pypdfium2.PdfiumError as exc:
                locked = exc.err_code in (pdfium.FPDF_ERR_PASSWORD, pdfium.FPDF_ERR_SECURITY)
                return {"wrong": "locked" if locked else "damaged"}, None
            if document.get_formtype():
                document.init_forms()  # what was filled in is drawn only then
        if "page" not in request:
            return {"pages": len(document)}, None
        return _render(document, request["page"], request["dpi"], pixels)

    return answer


def _render(document: pypdfium2.PdfDocument, number: int, dpi: float, pixels: int) -> Answer:
    page = document[number - 1]
    try:
        width, height = page.get_size()
        if not (width > 0 and height > 0 and math.isfinite(width * height)):
            return {"wrong": "damaged"}, None
        scale = _scale((width, height), dpi / _POINTS_AN_INCH, pixels)
        bitmap = page.render(scale=scale, rev_byteorder=True)
        try:
            picture = bitmap.to_pil().convert("RGB")
        finally:
            bitmap.close()
        told = {"points": [width, height], "dpi": scale * _POINTS_AN_INCH}
        return told, picture
    finally:
        page.close()


def _scale(points: tuple[float, float], wanted: float, pixels: int) -> float:
    """Return pixels a point: what is wanted, or less where the page would have too many pixels."""
    width, height = points
    scale = min(wanted, math.sqrt(pixels / (width * height)), _LONGEST / max(points))
    while math.ceil(width * scale) * math.ceil(height * scale) > pixels:  # sides are rounded up
        scale *= 0.99
    return scale
