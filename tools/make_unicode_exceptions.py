#!/usr/bin/env python3
"""Writes nn/unicode_exceptions.h: where the `tokenizers` library and utf8proc disagree about a code point.

    python3 tools/make_unicode_exceptions.py && clang-format -i nn/unicode_exceptions.h

Needs the `tokenizers` package and libutf8proc (of the version that normtune is built with). Every code point but the
surrogates is asked of both.
"""

import ctypes
import pathlib
import unicodedata

import tokenizers
from tokenizers import normalizers, pre_tokenizers

OUTPUT = pathlib.Path(__file__).parent.parent / "nn" / "unicode_exceptions.h"
CODE_POINTS = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
CATEGORIES = "Cn Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So Zs Zl Zp Cc Cf Cs Co".split()
UTF8PROC_DECOMPOSE = 1 << 4


class Utf8procProperty(ctypes.Structure):
    _fields_ = [("category", ctypes.c_int16), ("combining_class", ctypes.c_int16)]


class Utf8proc:
    """The properties as utf8proc has them."""

    def __init__(self):
        self.library = ctypes.CDLL("libutf8proc.so.2")
        self.library.utf8proc_get_property.restype = ctypes.POINTER(Utf8procProperty)
        self.library.utf8proc_version.restype = ctypes.c_char_p
        self.library.utf8proc_unicode_version.restype = ctypes.c_char_p
        self.version = self.library.utf8proc_version().decode()
        self.unicode_version = self.library.utf8proc_unicode_version().decode()
        self.buffer = (ctypes.c_int32 * 8)()

    def category(self, code_point):
        return CATEGORIES[self.library.utf8proc_get_property(code_point).contents.category]

    def is_removed(self, code_point):
        return code_point == 0xFFFD or (code_point not in (9, 10, 13) and self.category(code_point) in ("Cc", "Cf", "Co"))

    def is_punctuation(self, code_point):
        return self.category(code_point)[0] == "P"

    def is_nonspacing_mark(self, code_point):
        return self.category(code_point) == "Mn"

    def combining_class(self, code_point):
        return self.library.utf8proc_get_property(code_point).contents.combining_class

    def decomposition(self, code_point):
        size = self.library.utf8proc_decompose_char(code_point, self.buffer, 8, UTF8PROC_DECOMPOSE, None)
        return "".join(chr(self.buffer[i]) for i in range(size))

    def lower_case(self, code_point):
        return chr(self.library.utf8proc_tolower(code_point))


def bert_normalizer(**on):
    off = dict(clean_text=False, handle_chinese_chars=False, strip_accents=False, lowercase=False)
    return normalizers.BertNormalizer(**{**off, **on})


class TokenizersLibrary:
    """The same properties, found out by giving texts to the library."""

    def __init__(self):
        self.clean = bert_normalizer(clean_text=True)
        self.strip = bert_normalizer(strip_accents=True)
        self.lower = bert_normalizer(lowercase=True)
        self.nfd = normalizers.NFD()
        self.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        # One mark for each combining class, from Unicode 3.2, which every table knows; class 214 came later.
        self.marks = {214: "\u1dce"}
        for code_point in CODE_POINTS:
            combining_class = unicodedata.ucd_3_2_0.combining(chr(code_point))
            if combining_class and self.nfd.normalize_str(chr(code_point)) == chr(code_point):
                self.marks.setdefault(combining_class, chr(code_point))

    def is_removed(self, code_point):
        return self.clean.normalize_str(chr(code_point)) == ""

    def is_punctuation(self, code_point):
        return len(self.pre_tokenizer.pre_tokenize_str("a" + chr(code_point) + "b")) == 3

    def is_nonspacing_mark(self, code_point):
        return self.strip.normalize_str(chr(code_point)) == ""

    def decomposition(self, code_point):
        return self.nfd.normalize_str(chr(code_point))

    def lower_case(self, code_point):
        return self.lower.normalize_str(chr(code_point))

    def swaps(self, first, second):
        """Canonical order swaps two characters when their classes are k > j > 0."""
        return self.nfd.normalize_str("a" + first + second) != "a" + first + second

    def combining_class(self, code_point):
        character = chr(code_point)
        lowest, highest = min(self.marks), max(self.marks)
        if not self.swaps(character, self.marks[lowest]) and not self.swaps(self.marks[highest], character):
            return 0
        equal = [k for k, mark in self.marks.items() if not self.swaps(mark, character) and not self.swaps(character, mark)]
        assert len(equal) == 1, (hex(code_point), equal)
        return equal[0]


def to_ranges(values, continues):
    """[(code point, value)] to [(first, last, value of first)], joining neighbours whose values continue."""
    ranges = []
    for code_point, value in values:
        if ranges and ranges[-1][1] == code_point - 1 and continues(code_point - ranges[-1][0], ranges[-1][2], value):
            ranges[-1][1] = code_point
        else:
            ranges.append([code_point, code_point, value])
    return ranges


def disagreements(name, library, utf8proc, code_points):
    asked, known = getattr(library, name), getattr(utf8proc, name)
    return [(c, asked(c)) for c in code_points if asked(c) != known(c)]


def table(comment, name, ranges):
    rows = ", ".join(f"{{0x{first:04X}, 0x{last:04X}, {int(value):#x}}}" if value > 9 else
                     f"{{0x{first:04X}, 0x{last:04X}, {int(value)}}}" for first, last, value in ranges)
    return f"/// {comment}\ninline constexpr UnicodeException {name}[] = {{{rows}}};\n"


def main():
    utf8proc, library = Utf8proc(), TokenizersLibrary()
    equal = lambda distance, first_value, value: value == first_value
    parallel = lambda distance, first_value, value: value == first_value + distance
    whole = [c for c in CODE_POINTS if library.decomposition(c) == chr(c)]

    decomposed = disagreements("decomposition", library, utf8proc, CODE_POINTS)
    assert all(text == chr(c) for c, text in decomposed), "a decomposition that utf8proc does not have"
    lower = [(c, text) for c, text in disagreements("lower_case", library, utf8proc, CODE_POINTS) if c != 0x130]
    assert library.lower_case(0x130) == "i\u0307" and all(len(text) == 1 for _, text in lower)

    ascii_excluded = [c for c in CODE_POINTS if c >= 0x80]
    tables = [
        table("Removed by cleaning (1) or kept (0).", "removed_exceptions",
              to_ranges(disagreements("is_removed", library, utf8proc, CODE_POINTS), equal)),
        table("Splits words as punctuation (1) or does not (0).", "punctuation_exceptions",
              to_ranges(disagreements("is_punctuation", library, utf8proc, ascii_excluded), equal)),
        table("Stripped as a nonspacing mark (1) or kept (0).", "nonspacing_mark_exceptions",
              to_ranges(disagreements("is_nonspacing_mark", library, utf8proc, whole), equal)),
        table("Canonical_Combining_Class.", "combining_class_exceptions",
              to_ranges(disagreements("combining_class", library, utf8proc, whole), equal)),
        table("Has no canonical decomposition; the value is unused.", "not_decomposed_exceptions",
              to_ranges([(c, 0) for c, _ in decomposed], equal)),
        table("Lower-case of the first code point; the others of a range follow in step.", "lower_case_exceptions",
              to_ranges([(c, ord(text)) for c, text in lower], parallel)),
    ]
    OUTPUT.write_text(f"""\
#pragma once

// Written by tools/make_unicode_exceptions.py: do not edit.
// Where tokenizers {tokenizers.__version__} differs from utf8proc {utf8proc.version} (Unicode {utf8proc.unicode_version}), over all code points.

namespace normtune {{

/// A range of code points and the library's value of a property there.
struct UnicodeException {{
  char32_t first;
  char32_t last;
  char32_t value;
}};

""" + "\n".join(tables) + "\n}  // namespace normtune\n")


if __name__ == "__main__":
    main()
