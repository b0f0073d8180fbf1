#!/usr/bin/env python3
"""Records what the `tokenizers` library makes of texts, for the tests of nn/tokenizer.

    python3 tools/record_tokenizer.py --data DIR     DIR as NORMTUNE_DATA: glue/, models/bert-base-{un,}cased

Writes tests/files/tokenizer/:
    uncased/, cased/, added/    small tokenizers of our own (added: tokenizer.json alone, with added tokens)
    texts.json                  golden texts, the rules that generate random ones, and truncation
    references.json             for each tokenizer: ids of the golden texts, digests over blocks of random texts
    unicode.json                digests of normalizer and pre-tokenizer over blocks of all code points
    glue.json                   digests over blocks of rows of six GLUE tasks and QNLI dev
and tests/fuzz/seeds/tokenizer, tokenizer_files: what the fuzz targets start from.

Lists of digests and of ids are strings with a space between two entries. A digest is FNV-1a (64 bits) over bytes. Ids and types enter as 4 bytes each, little-endian, and each sequence ends
with the number -1; texts enter as UTF-8, and each ends with a byte FF.
"""

import argparse
import json
import pathlib
import struct

import tokenizers
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, processors

TESTS = pathlib.Path(__file__).parent.parent / "tests"
FOLDER = TESTS / "files" / "tokenizer"
SEEDS = TESTS / "fuzz" / "seeds"
SPECIAL_TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
NUM_RANDOM_TEXTS = 10_000
RANDOM_BLOCK = 100
GLUE_BLOCK = 1000
CODE_POINT_BLOCK = 0x1000


class Digest:
    """FNV-1a, 64 bits."""

    def __init__(self):
        self.value = 0xCBF29CE484222325

    def add_bytes(self, data):
        value = self.value
        for byte in data:
            value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
        self.value = value

    def add_numbers(self, numbers):
        self.add_bytes(struct.pack(f"<{len(numbers) + 1}i", *numbers, -1))

    def add_text(self, text):
        self.add_bytes(text.encode() + b"\xff")

    def add_encoding(self, encoding):
        self.add_numbers(encoding.ids)
        self.add_numbers(encoding.type_ids)

    def hex(self):
        return f"{self.value:016x}"


# ---- texts

GOLDEN_TEXTS = [
    "Hello, World! unaffable",
    "ΟΔΟΣ ΣΙΓΜΑΣ",
    "İstanbul Straße Kožušček naïve",
    "a\u2028b\u2029c\u000bd\u0085e\u00a0f\u200bg\u00adh",
    "literal [SEP] and [MASK] in text [CLS]x",
    "$5+3=8^2`~|<>",
    "vote♡♡ Cretaceous–Paleogene ’quote’ …",
    "e\u0301cole \u0378 \ue000 z",
    "₹100 €5",
    "don't U.S.A. e-mail",
    "한국어",
    "日本語テキスト",
    "①ﬁ ½ Ⅷ",
    "\U0002b830x",
    "\U0002b930y",
    "",
    " \t\n ",
    "a" * 100,
    "a" * 101,
    "é" * 100,
    "é" * 101,
    "\u0130" * 100,
    "[sep] [ SEP ] [SEP [SEP]] [PAD][UNK][unused1]",
    "##able # ##",
    "\ufffdA\x00B\x7fC\ufeffD\u200d",
    "q\u0307\u0323 \u1e69 s\u0323\u0307 x\U0001d165\u302e\u0334y \u302e\U0001d165",
    "Frobnicate the frobnicateXX <Note>text covidcovid-19 COVID",
]

# Single characters and small ranges, so that the small vocabularies know a good part of what is drawn.
RANDOM_RANGES = [
    (0x61, 0x7A), (0x61, 0x7A), (0x61, 0x7A), (0x61, 0x7A), (0x41, 0x5A), (0x30, 0x39), (0x20, 0x20), (0x20, 0x20),
    (0x20, 0x20), (0x21, 0x7E), (0x00, 0x1F), (0x7F, 0xBF), (0xC0, 0x17F), (0xE0, 0xFF), (0x1C4, 0x24F),
    (0x300, 0x345), (0x391, 0x3C9), (0x410, 0x44F), (0x5B0, 0x5EA), (0x621, 0x652), (0x905, 0x94D), (0xE01, 0xE4E),
    (0x1E00, 0x1EFF), (0x1F00, 0x1FFF), (0x2000, 0x206F), (0x20A0, 0x20BF), (0x2100, 0x218F), (0x2200, 0x22FF),
    (0x2E40, 0x2E5F), (0x3000, 0x303F), (0x3041, 0x30FF), (0x4E00, 0x4E20), (0xAC00, 0xAC40), (0xAC00, 0xD7A3),
    (0xE000, 0xE010), (0xF900, 0xFAFF), (0xFB00, 0xFB4F), (0xFF01, 0xFF5E), (0xFFF0, 0xFFFD), (0x1D160, 0x1D172),
    (0x11930, 0x11946), (0x1F600, 0x1F64F), (0x2B810, 0x2B930), (0x2F800, 0x2FA1D), (0x0, 0xD7FF), (0xE000, 0xFFFF),
    (0x10000, 0x10FFFF),
]
RANDOM_LITERALS = ["[SEP]", "[MASK]", "##", "un", "able", "ing", "frobnicate", "don't"]


class SplitMix64:
    """Steele, Lea and Flood 2014, doi:10.1145/2660193.2660195."""

    def __init__(self, seed):
        self.state = seed

    def next(self):
        mask = 0xFFFFFFFFFFFFFFFF
        self.state = self.state + 0x9E3779B97F4A7C15 & mask
        z = self.state
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & mask
        z = (z ^ z >> 27) * 0x94D049BB133111EB & mask
        return z ^ z >> 31

    def below(self, bound):
        return self.next() % bound


def random_text(index):
    """Text `index`: up to 40 draws of a range or a literal, each equally likely; tests/nn/tokenizer_oracle.h repeats it."""
    random = SplitMix64(index)
    text = ""
    for _ in range(random.below(41)):
        choice = random.below(len(RANDOM_RANGES) + len(RANDOM_LITERALS))
        if choice < len(RANDOM_RANGES):
            first, last = RANDOM_RANGES[choice]
            text += chr(first + random.below(last - first + 1))
        else:
            text += RANDOM_LITERALS[choice - len(RANDOM_RANGES)]
    return text


# ---- small tokenizers

PIECES = """the of and to in a is was he for it with as his on be at by hello world un able quote text literal note
 istanbul ecole naive don mail vote str ha ##aff ##affa ##able ##ing ##ed ##ly ##er ##est ##s ##un ##ra ##ße ##bul
 ##ole ##tan ##tes frob ##nic ##ate ##cate covid ##19 100 ##00""".split()


def characters(*ranges):
    return [chr(c) for first, last in ranges for c in range(first, last + 1)]


def small_vocabulary(cased):
    letters = characters((0x61, 0x7A), (0x30, 0x39), (0x3B1, 0x3C9), (0x430, 0x44F), (0x5D0, 0x5EA), (0x1100, 0x1112),
                         (0x1161, 0x1175), (0x11A8, 0x11C2), (0x3042, 0x3046), (0x30C6, 0x30C8)) + list("ßøı½₹€♡")
    pieces = list(PIECES)
    if cased:
        letters += characters((0x41, 0x5A), (0xC0, 0xCF), (0xE0, 0xF6), (0x300, 0x304)) + list("ΟΔΣİ한국어")
        pieces += ["Hello", "World", "The", "Is", "##AB", "U", "##É"]
    single = characters((0x21, 0x2F), (0x3A, 0x40), (0x5B, 0x60), (0x7B, 0x7E), (0x4E00, 0x4E10))
    single += list("–’…日本語\U0002b930\U0001d165\u302e\u166d")
    vocabulary = ["[PAD]", "[unused1]", *SPECIAL_TOKENS[1:], *single]
    for token in letters + ["##" + letter for letter in letters] + pieces:
        if token not in vocabulary:
            vocabulary.append(token)
    return vocabulary


def bert_tokenizer(vocabulary, lowercase, strip_accents=None, handle_chinese_chars=True, bert_processing=False):
    ids = {token: i for i, token in enumerate(vocabulary)}
    tokenizer = Tokenizer(models.WordPiece(ids, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(
        clean_text=True, handle_chinese_chars=handle_chinese_chars, strip_accents=strip_accents, lowercase=lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    if bert_processing:
        tokenizer.post_processor = processors.BertProcessing(("[SEP]", ids["[SEP]"]), ("[CLS]", ids["[CLS]"]))
    else:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1",
            special_tokens=[(token, ids[token]) for token in ("[CLS]", "[SEP]")])
    tokenizer.add_special_tokens([token for token in SPECIAL_TOKENS if token in ids])
    return tokenizer


def write_json(path, value):
    path.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n")


def write_small_tokenizers():
    """Returns the library's tokenizer for each folder and for each variant that the tests build from one."""
    uncased, cased = small_vocabulary(cased=False), small_vocabulary(cased=True)
    for name, vocabulary in (("uncased", uncased), ("cased", cased)):
        (FOLDER / name).mkdir(parents=True, exist_ok=True)
        (FOLDER / name / "vocab.txt").write_text("".join(token + "\n" for token in vocabulary))
        write_json(FOLDER / name / "tokenizer_config.json", {"do_lower_case": name == "uncased"})

    added = bert_tokenizer(uncased, lowercase=True)
    added.add_special_tokens([AddedToken("<Note>", normalized=False, special=True, lstrip=True, rstrip=True)])
    added.add_tokens([AddedToken("Frobnicate", normalized=True), AddedToken("covid-19", normalized=False),
                      AddedToken("[unused1]", normalized=False), AddedToken("covid", normalized=False)])
    added.enable_truncation(7)
    added.enable_padding(length=9)
    (FOLDER / "added").mkdir(exist_ok=True)
    added.save(str(FOLDER / "added" / "tokenizer.json"), pretty=False)
    added.no_truncation()
    added.no_padding()

    cased_tokenizer = bert_tokenizer(cased, lowercase=False, bert_processing=True)
    cased_tokenizer.save(str(FOLDER / "cased" / "tokenizer.json"), pretty=False)
    return {
        "uncased": bert_tokenizer(uncased, lowercase=True),
        "uncased, keeping accents": bert_tokenizer(uncased, lowercase=True, strip_accents=False),
        "uncased, without CJK spaces": bert_tokenizer(uncased, lowercase=True, handle_chinese_chars=False),
        "cased": cased_tokenizer,
        "cased, stripping accents": bert_tokenizer(cased, lowercase=False, strip_accents=True),
        "added": added,
    }


# ---- references

def reference(tokenizer, texts):
    """Golden ids; digests over blocks of random texts: each alone, and as a pair with the next, cut at 24."""
    golden = [" ".join(map(str, tokenizer.encode(text).ids)) for text in GOLDEN_TEXTS]
    alone = tokenizer.encode_batch(texts)
    tokenizer.enable_truncation(24, strategy="longest_first")
    pairs = tokenizer.encode_batch([(text, texts[(i + 1) % len(texts)]) for i, text in enumerate(texts)])
    tokenizer.no_truncation()
    blocks = []
    for begin in range(0, len(texts), RANDOM_BLOCK):
        digest = Digest()
        for i in range(begin, begin + RANDOM_BLOCK):
            digest.add_encoding(alone[i])
            digest.add_encoding(pairs[i])
        blocks.append(digest.hex())
    return {"golden": golden, "random": " ".join(blocks)}


def truncation_table(tokenizer):
    """Kept lengths (first, second) as digits: [max_length][len(first)][len(second)], lengths 0..9."""
    table = {}
    for max_length in range(4, 15):
        tokenizer.enable_truncation(max_length, strategy="longest_first")
        kept = ""
        for first in range(10):
            for second in range(10):
                ids = tokenizer.encode("a " * first, "b " * second).ids
                kept += f"{ids.count(tokenizer.token_to_id('a'))}{ids.count(tokenizer.token_to_id('b'))}"
        table[str(max_length)] = kept
    tokenizer.no_truncation()
    return table


def unicode_digests():
    def bert(clean, cjk, strip, lower):
        return normalizers.BertNormalizer(clean_text=clean, handle_chinese_chars=cjk, strip_accents=strip,
                                          lowercase=lower).normalize_str

    ordered = bert(False, False, True, False)
    pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    functions = {
        "uncased": bert(True, True, True, True),
        "cased": bert(True, True, False, False),
        "uncased, keeping accents": bert(True, True, False, True),
        "cased, stripping accents": bert(True, True, True, False),
        # Two marks that are kept, of classes 216 and 224, show where canonical order puts a third.
        "order": lambda text: ordered("x\U0001d165" + text + "\u302ey"),
        "order, reversed": lambda text: ordered("x\u302e" + text + "\U0001d165y"),
        "words": lambda text: "|".join(word for word, _ in pre_tokenizer.pre_tokenize_str("a" + text + "b")),
    }
    result = {}
    for name, function in functions.items():
        blocks = []
        for begin in range(0, 0x110000, CODE_POINT_BLOCK):
            digest = Digest()
            for code_point in range(begin, begin + CODE_POINT_BLOCK):
                if not 0xD800 <= code_point < 0xE000:
                    digest.add_text(function(chr(code_point)))
            blocks.append(digest.hex())
        result[name] = " ".join(blocks)
    return result


# File, columns of the texts, rows to skip at the start.
GLUE_FILES = [
    ("CoLA/train.tsv", [3], 0), ("CoLA/dev.tsv", [3], 0), ("CoLA/test.tsv", [1], 1),
    ("SST-2/train.tsv", [0], 1), ("SST-2/dev.tsv", [0], 1), ("SST-2/test.tsv", [1], 1),
    ("MRPC/train.tsv", [3, 4], 1), ("MRPC/dev.tsv", [3, 4], 1), ("MRPC/test.tsv", [3, 4], 1),
    ("STS-B/train.tsv", [7, 8], 1), ("STS-B/dev.tsv", [7, 8], 1), ("STS-B/test.tsv", [7, 8], 1),
    ("RTE/train.tsv", [1, 2], 1), ("RTE/dev.tsv", [1, 2], 1), ("RTE/test.tsv", [1, 2], 1),
    ("WNLI/train.tsv", [1, 2], 1), ("WNLI/dev.tsv", [1, 2], 1), ("WNLI/test.tsv", [1, 2], 1),
    ("QNLI/dev.tsv", [1, 2], 1),
]


def read_rows(content, columns, skipped):
    lines = content.decode().removesuffix("\n").split("\n")[skipped:]
    return [[line.split("\t")[column] for column in columns] for line in lines]


def glue_digests(tokenizer, rows):
    """Over blocks of rows: each text alone and whole; pairs cut at 128."""
    alone = [tokenizer.encode_batch([row[column] for row in rows]) for column in range(len(rows[0]))]
    pairs = []
    if len(rows[0]) == 2:
        tokenizer.enable_truncation(128, strategy="longest_first")
        pairs = tokenizer.encode_batch([tuple(row) for row in rows])
        tokenizer.no_truncation()
    blocks = []
    for begin in range(0, len(rows), GLUE_BLOCK):
        digest = Digest()
        for i in range(begin, min(begin + GLUE_BLOCK, len(rows))):
            for encodings in (*alone, *([pairs] if pairs else [])):
                digest.add_encoding(encodings[i])
        blocks.append(digest.hex())
    return " ".join(blocks)


def write_fuzz_seeds():
    texts, files = SEEDS / "tokenizer", SEEDS / "tokenizer_files"
    for folder in (texts, files):
        folder.mkdir(parents=True, exist_ok=True)
    for i, text in enumerate(GOLDEN_TEXTS):
        if 0 < len(text) < 100:
            (texts / f"golden_{i}.txt").write_text(text)
    (texts / "ill_formed.txt").write_bytes(b"hel\xff\xe6\x97lo w\xc3\xb8\xc3 [SEP\xff]\xf0")

    vocabulary = [*SPECIAL_TOKENS, "a", "##b", "é"]
    (files / "vocab.txt").write_text("".join(token + "\n" for token in vocabulary))
    template = bert_tokenizer(vocabulary, lowercase=True)
    template.add_tokens([AddedToken("<A>", normalized=True), AddedToken("x", normalized=False)])
    template.save(str(files / "template_processing.json"), pretty=False)
    bert_tokenizer(vocabulary, lowercase=False, strip_accents=True, bert_processing=True).save(
        str(files / "bert_processing.json"), pretty=False)
    write_json(files / "tokenizer_config.json", {
        "do_lower_case": False, "strip_accents": None, "tokenize_chinese_chars": True,
        "tokenizer_class": "BertTokenizer", "unk_token": "[UNK]", "cls_token": {"content": "[CLS]", "lstrip": False},
        "additional_special_tokens": ["a"], "added_tokens_decoder": {"7": {"content": "<A>", "normalized": True}}})


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=pathlib.Path, required=True, help="folder with glue/ and models/")
    data = parser.parse_args().data

    write_fuzz_seeds()
    recorded = write_small_tokenizers()
    truncation = truncation_table(recorded["uncased"])
    real = {}
    for name in ("bert-base-uncased", "bert-base-cased"):
        real[name] = Tokenizer.from_file(str(data / "models" / name / "tokenizer.json"))
        real[name].no_truncation()
        real[name].no_padding()

    versions = {"tokenizers": tokenizers.__version__}
    write_json(FOLDER / "texts.json", {
        "golden": GOLDEN_TEXTS, "random_ranges": RANDOM_RANGES, "random_literals": RANDOM_LITERALS,
        "truncation": truncation, "versions": versions})
    texts = [random_text(i) for i in range(NUM_RANDOM_TEXTS)]
    references = {name: reference(tokenizer, texts) for name, tokenizer in {**recorded, **real}.items()}
    write_json(FOLDER / "references.json", {"references": references, "versions": versions})
    write_json(FOLDER / "unicode.json", {"digests": unicode_digests(), "versions": versions})

    glue = []
    for name, columns, skipped in GLUE_FILES:
        content = (data / "glue" / name).read_bytes()
        rows = read_rows(content, columns, skipped)
        digest = Digest()
        digest.add_bytes(content)
        glue.append({"file": name, "columns": columns, "skipped": skipped, "content": digest.hex(),
                     "digests": {model: glue_digests(tokenizer, rows) for model, tokenizer in real.items()}})
    write_json(FOLDER / "glue.json", {"files": glue, "versions": versions})


if __name__ == "__main__":
    main()
