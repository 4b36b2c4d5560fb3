"""A stranger's JSON: what is read, what is refused and in which words."""

from __future__ import annotations

import pytest

from florence_demo.bounded_json import JsonLimits, load_json, parse_json

SMALL = JsonLimits(max_bytes=1000, max_values=20, max_depth=4)


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b'{"a": [1, 2.5, "x"]}', {"a": [1, 2.5, "x"]}),
        (b'\xef\xbb\xbf{"a": null}', {"a": None}),
        (b'"[[[[[[{{{{,,,,,,,,,,,,,,,,,,,,,,,,,,,,"', "[[[[[[{{{{,,,,,,,,,,,,,,,,,,,,,,,,,,,,"),
        (rb'"\"[[[[[["', '"[[[[[['),
        (rb'"\ud83d\ude00"', "😀"),
        ("“é”".encode().join([b'"', b'"']), "“é”"),
        (b"[" * 4 + b"]" * 4, [[[[]]]]),
    ],
    ids=["plain", "bom", "brackets-in-text", "escaped-quote", "pair", "utf-8", "deep-enough"],
)
def test_what_is_read(data, value):
    assert parse_json(data, SMALL) == value


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b'"' + b"x" * 1000 + b'"', "larger than 1,000 bytes"),
        (b"[" * 5 + b"]" * 5, "deeper than 4 levels"),
        (b"[" + b"1," * 20 + b"1]", "more than 20 values"),
        (b"[{},{},{},{},{},{},{},{},{},{},{}]", "more than 20 values"),
        (b'{"a": NaN}', "NaN, which is no number"),
        (b"[-Infinity]", "which is no number"),
        (b"[1e999]", "which is no number"),
        (rb'{"a": "\ud800"}', "half of a character"),
        (b"{'a': 1}", "not valid JSON (line 1"),
        (b'{"a": 1', "not valid JSON"),
        ('"é"'.encode("latin-1"), "not in UTF-8"),
        (b"", "not valid JSON"),
        (b"1" * 900, None),
    ],
    ids=["large", "deep", "many", "many-containers", "nan", "infinite", "overflow", "surrogate",
         "quotes", "cut", "latin", "empty", "long-integer"],
)  # fmt: skip
def test_what_is_refused(data, words):
    if words is None:  # a number of any length that fits is a number
        assert parse_json(data, SMALL) == int(data)
        return
    with pytest.raises(ValueError) as error:
        parse_json(data, SMALL)
    assert words in str(error.value)


def test_no_more_of_a_file_is_read_than_the_limit(tmp_path):
    file = tmp_path / "large.json"
    with file.open("wb") as out:
        out.truncate(1 << 40)  # a hole: reading it would take all memory
    with pytest.raises(ValueError, match="larger than 1,000 bytes"):
        load_json(file, SMALL)


def test_a_long_integer_is_a_sentence():
    with pytest.raises(ValueError, match="thousands of digits"):
        parse_json(b"1" * 5000, JsonLimits())


def test_a_string_without_an_end_is_looked_at_once():
    # Begun anew at each quotation mark, this would take hours.
    for end in (b"", b"\\"):
        with pytest.raises(ValueError, match="not valid"):
            parse_json(b'"' + b'\\"' * 500_000 + end, JsonLimits(max_bytes=1 << 21))
