"""Layouts of documents: pages, receipts, forms, tables and charts, with the facts they state.

Knows what a document looks like and what can be asked about it. Does not know the scene that it is
laid into, nor how a truth is worded.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import numpy as np

from florence_demo.nano.scenes.sheets import (
    SMALLEST,
    Desk,
    Ink,
    Sheet,
    Writer,
    in_case,
    price,
    sign,
    word,
)
from florence_demo.nano.scenes.words import (
    CITIES,
    FIELDS,
    ITEMS,
    NAMES,
    SERIES,
    SHOPS,
    TITLES,
    WORDS,
)


def _paper(rng: random.Random) -> tuple[Ink, Ink]:
    """Choose paper and ink that read well."""
    paper = rng.choice(
        ((255, 255, 255), (250, 246, 234), (240, 240, 238), (232, 240, 250), (255, 250, 220))
    )
    ink = rng.choice(((16, 16, 20), (16, 16, 20), (30, 30, 90), (70, 30, 20)))
    return paper, ink


def _sentence(rng: random.Random, words: list[str]) -> list[str]:
    """Put capitals and stops into running words."""
    out, first, left = [], True, rng.randint(4, 9)
    for text in words:
        text = text.capitalize() if first else text
        first, left = False, left - 1
        if left == 0:
            text, first, left = text + rng.choice("....?!:"), True, rng.randint(4, 9)
        elif rng.random() < 0.08:
            text += ","
        out.append(text)
    return out


def page(desk: Desk) -> Sheet | None:
    """Draw a page of running text, perhaps with a title."""
    rng, unit = desk.rng, desk.unit
    paper, ink = _paper(rng)
    style = desk.style(SMALLEST, 19, ink)
    width, height = desk.room
    margin = rng.uniform(6, 14) * unit
    step = style.pixels * rng.uniform(1.2, 1.5)
    writer = Writer((width, height), paper)
    y, about, facts = margin, {}, []
    if rng.random() < 0.5:
        heading = style.sized(rng.uniform(1.2, 1.5))
        title = in_case(rng, rng.choice(TITLES))
        if heading.width(title) < width - 2 * margin:
            writer.put(title, (margin, y), heading)
            y += heading.pixels * 1.5
            about["title"] = title
            facts.append(("What is the title?", title))
    count = min(int((height - margin - y) / step), rng.randint(3, 11))
    words = iter(_sentence(rng, [word(rng) for _ in range(12 * max(count, 1))]))
    text = next(words)
    for _ in range(count):
        row = text
        for text in words:
            if style.width(f"{row} {text}") > width - 2 * margin:
                break
            row = f"{row} {text}"
        if style.width(row) > width - 2 * margin:
            continue
        writer.put(row, (margin, y), style)
        y += step
    if not writer.lines:
        return None
    return writer.sheet(facts, about)


def receipt(desk: Desk) -> Sheet | None:
    """Draw a till receipt: shop, date, items with prices, total."""
    rng, unit = desk.rng, desk.unit
    style = desk.style(SMALLEST, 18, (24, 24, 28))
    width, height = desk.room
    margin, step = 8 * unit, style.pixels * rng.uniform(1.2, 1.45)
    room = int((height - 2 * margin) / step) - 3
    if room < 1:
        return None
    items = rng.sample(ITEMS, min(room, rng.randint(1, 6)))
    prices = [price(rng) for _ in items]
    total = f"{sum(round(float(p) * 100) for p in prices) / 100:.2f}"
    sign_ = rng.choice(("", "", "$", "€"))
    widest = max(style.width(f"{item}  {sign_}00.00") for item in items)
    shop, date = rng.choice(SHOPS), _date(rng)
    name = style.sized(rng.uniform(1.0, 1.3))
    paper_width = math.ceil(
        max(widest, name.width(shop), style.width("TOTAL  €000.00")) + 2 * margin
    )
    if paper_width > width:
        return None
    paper_width = min(width, round(paper_width * rng.uniform(1.0, 1.25)))
    rows = len(items) + 3
    writer = Writer(
        (paper_width, math.ceil(rows * step + 2.4 * margin + name.pixels * 0.4)), (252, 252, 250)
    )
    right, y = paper_width - margin, margin
    writer.put(shop, (paper_width / 2, y), name, "ma")
    y += name.pixels * 1.4
    writer.put(date, (paper_width / 2, y), style, "ma")
    y += step
    for item, cost in zip(items, prices, strict=True):
        writer.put(item, (margin, y), style)
        writer.put(f"{sign_}{cost}", (right, y), style, "ra")
        y += step
    line = y + 0.1 * margin
    writer.pen.line((margin, line, right, line), fill=(90, 90, 90), width=max(1, round(unit)))
    y += 0.4 * margin
    writer.put(rng.choice(("TOTAL", "Total", "Sum")), (margin, y), style)
    writer.put(f"{sign_}{total}", (right, y), style, "ra")
    facts = [
        ("What is the total?", f"{sign_}{total}"),
        ("What is the date?", date),
        ("What is the name of the shop?", shop),
    ]
    facts += [
        (f"What is the price of {i}?", f"{sign_}{p}") for i, p in zip(items, prices, strict=True)
    ]
    about = {"shop": shop, "total": f"{sign_}{total}", "count": str(len(items))}
    return writer.sheet(facts, about)


def _date(rng: random.Random) -> str:
    day, month, year = rng.randint(1, 28), rng.randint(1, 12), rng.randint(1998, 2031)
    return rng.choice(
        (f"{day:02d}/{month:02d}/{year}", f"{year}-{month:02d}-{day:02d}", f"{day}.{month}.{year}")
    )


def _field_value(rng: random.Random, name: str) -> str:
    """Return something a person would write into a field."""
    makers: dict[str, Callable[[], str]] = {
        "Name": lambda: rng.choice(NAMES),
        "Customer": lambda: rng.choice(NAMES),
        "Date": lambda: _date(rng),
        "City": lambda: rng.choice(CITIES),
        "Phone": lambda: f"{rng.randint(100, 999)}-{rng.randint(1000, 9999)}",
        "Invoice No": lambda: f"{rng.choice('ABDKNRX')}{rng.randint(1000, 99999)}",
        "Amount": lambda: rng.choice("$€£") + price(rng),
        "Total": lambda: rng.choice("$€£") + price(rng),
        "Age": lambda: str(rng.randint(5, 98)),
        "Room": lambda: str(rng.randint(1, 480)),
        "Order": lambda: str(rng.randint(1000, 99999)),
        "Email": lambda: f"{rng.choice(NAMES).split()[0].lower()}@{rng.choice(WORDS)}.com",
    }
    return makers[name]()


def form(desk: Desk) -> Sheet | None:
    """Draw a form or an invoice: a title and named fields."""
    rng, unit = desk.rng, desk.unit
    paper, ink = _paper(rng)
    style = desk.style(SMALLEST, 18, ink)
    width, height = desk.room
    margin, step = 9 * unit, style.pixels * rng.uniform(1.35, 1.75)
    heading = style.sized(rng.uniform(1.1, 1.5))
    title = in_case(
        rng,
        rng.choice(("Invoice", "Order form", "Registration", "Booking", "Delivery note", "Ticket")),
    )
    room = int((height - 2 * margin - heading.pixels * 1.6) / step)
    names = rng.sample(FIELDS, min(len(FIELDS), rng.randint(2, 7)))
    rows = [(n, _field_value(rng, n)) for n in names]
    rows = [r for r in rows if style.width(f"{r[0]}: {r[1]}") < width - 2 * margin][:room]
    if not rows or heading.width(title) > width - 2 * margin:
        return None
    writer = Writer(
        (width, min(height, math.ceil(2 * margin + heading.pixels * 1.6 + step * len(rows)))), paper
    )
    writer.put(title, (margin, margin), heading)
    y = margin + heading.pixels * 1.6
    ruled = rng.random() < 0.5
    for name, value in rows:
        writer.put(f"{name}: {value}", (margin, y), style)
        if ruled:
            low = y + style.pixels * 1.3
            writer.pen.line((margin, low, width - margin, low), fill=(150, 150, 160))
        y += step
    facts = [("What is the title?", title)]
    facts += [(f"What is the {n.lower()}?", v) for n, v in rows]
    about = {
        "title": title,
        "count": str(len(rows)),
        "fields": "|".join(n.lower() for n, _ in rows),
    }
    return writer.sheet(facts, about)


_COLUMNS = {
    "Age": "What is the age of {}?",
    "Price": "What is the price of {}?",
    "Temp": "What is the temperature in {}?",
    "Wins": "How many wins do the {} have?",
    "Goals": "How many goals do the {} have?",
}


def table(desk: Desk) -> Sheet | None:
    """Draw a table of names and numbers."""
    rng, unit = desk.rng, desk.unit
    paper, ink = _paper(rng)
    style = desk.style(SMALLEST, 18, ink)
    width, height = desk.room
    cell = style.pixels * rng.uniform(1.4, 1.8)
    first, *others = rng.choice(
        (("Name", "Age"), ("Item", "Price"), ("City", "Temp"), ("Team", "Wins", "Goals"))
    )
    source = {"Name": NAMES, "Item": ITEMS, "City": CITIES, "Team": SERIES}[first]
    count = min(int((height - 4 * unit) / cell) - 1, rng.randint(2, 6))
    if count < 1:
        return None
    keys = rng.sample([s.split()[0] for s in source if len(s.split()[0]) < 9], count)
    body = [
        (k, *(price(rng) if o == "Price" else str(rng.randint(0, 99)) for o in others))
        for k in dict.fromkeys(keys)
    ]
    rows = [(first, *others), *body]
    pad = 5 * unit
    widths = [max(style.width(r[c]) for r in rows) + 2 * pad for c in range(len(rows[0]))]
    if sum(widths) > width - 2:
        return None
    stretch = min(rng.uniform(1.0, 1.5), (width - 2) / sum(widths))
    widths = [w * stretch for w in widths]
    size = (math.ceil(sum(widths)) + 2, math.ceil(cell * len(rows)) + 2)
    writer = Writer(size, paper)
    head = rng.choice(((210, 220, 235), (225, 225, 225), (240, 220, 190)))
    writer.pen.rectangle((0, 0, size[0], cell), fill=head)
    for r in range(len(rows) + 1):
        writer.pen.line((0, r * cell, size[0], r * cell), fill=(110, 110, 120))
    lefts = [0.0, *np.cumsum(widths).tolist()]
    for x in lefts:
        writer.pen.line((x, 0, x, size[1]), fill=(110, 110, 120))
    for r, row in enumerate(rows):
        for c, text in enumerate(row):
            writer.put(text, (lefts[c] + pad, r * cell + (cell - style.pixels * 1.2) / 2), style)
    facts = [
        (_COLUMNS[others[c]].format(row[0]), row[c + 1]) for row in body for c in range(len(others))
    ]
    return writer.sheet(
        facts,
        {
            "count": str(len(body)),
            "heads": " and ".join((first.lower(), others[-1].lower())),
            "first": body[0][0],
        },
    )


def chart(desk: Desk) -> Sheet | None:
    """Draw a bar chart with a value over every bar."""
    rng, unit = desk.rng, desk.unit
    style = desk.style(SMALLEST, 17, (24, 24, 30))
    width, height = desk.room
    family = rng.choice(
        (
            ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"),
            ("Jan", "Feb", "Mar", "Apr", "May", "Jun"),
            ("A", "B", "C", "D", "E"),
            ("2021", "2022", "2023", "2024"),
        )
    )
    slot = max(style.width(n) for n in (*family, "88")) + 8 * unit
    count = min(int((width - 8 * unit) / slot), rng.randint(2, 6), len(family))
    if count < 2 or height < 90 * unit:
        return None
    values = rng.sample(range(3, 100), count)
    title = rng.choice(
        ("Sales", "Visitors", "Rain", "Orders", "Points", "Profit", "Score", "Costs")
    )
    writer = Writer(
        (width, height), rng.choice(((255, 255, 255), (248, 248, 244), (238, 244, 250)))
    )
    writer.put(title, (width / 2, 4 * unit), style.sized(1.15), "ma")
    low, top = height - style.pixels * 1.6, style.pixels * 3.4
    slot = (width - 8 * unit) / count
    color = rng.choice(
        ((60, 110, 190), (210, 90, 60), (70, 150, 90), (140, 90, 170), (220, 160, 40))
    )
    middles = [4 * unit + (i + 0.5) * slot for i in range(count)]
    heights = [(low - top) * v / max(values) for v in values]
    # Numbers first, by height, then the names below: that is their order from top to bottom.
    for i in sorted(range(count), key=lambda i: (-round(heights[i]), i)):
        box = (middles[i] - slot * 0.3, low - heights[i], middles[i] + slot * 0.3, low)
        writer.pen.rectangle(box, fill=color)
        writer.put(
            str(values[i]), (middles[i], low - heights[i] - style.pixels * 1.25), style, "ma"
        )
    writer.pen.line(
        (4 * unit, low, width - 4 * unit, low), fill=(60, 60, 60), width=max(1, round(unit))
    )
    for i in range(count):
        writer.put(family[i], (middles[i], low + 0.15 * style.pixels), style, "ma")
    order = sorted(range(count), key=lambda i: values[i])
    facts = [
        ("What is the title?", title),
        ("Which bar is the highest?", family[order[-1]]),
        ("Which bar is the lowest?", family[order[0]]),
    ]
    facts += [(f"What is the value of {family[i]}?", str(values[i])) for i in range(count)]
    return writer.sheet(facts, {"title": title, "count": str(count)})


LAYOUTS: dict[str, Callable[[Desk], Sheet | None]] = {
    "sign": sign,
    "page": page,
    "receipt": receipt,
    "form": form,
    "table": table,
    "chart": chart,
}
