# SPDX-License-Identifier: Apache-2.0
"""Poor text of the quality set that is made: corruptions of good text, and generators."""

import base64
import re

import phrases

MASK = (1 << 64) - 1


class Rng:
    """SplitMix64 (Steele, Lea and Flood 2014): the same draws with every version of Python."""

    def __init__(self, seed, side="train"):
        self.state = seed & MASK
        self.side = ["train", "test"].index(side)

    def next(self):
        self.state = (self.state + 0x9E3779B97F4A7C15) & MASK
        z = self.state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        return z ^ (z >> 31)

    def below(self, bound):
        return self.next() % bound

    def pick(self, values):
        return values[self.below(len(values))]

    def some(self, values, least, most):
        return [self.pick(values) for _ in range(least + self.below(most - least + 1))]

    def side_of(self, phrases):
        """Returns three of four phrases, or the fourth: no phrase is on both sides."""
        return [phrase for at, phrase in enumerate(phrases) if (at % 4 == 3) == bool(self.side)]

    def shuffle(self, values):
        for at in range(len(values) - 1, 0, -1):
            other = self.below(at + 1)
            values[at], values[other] = values[other], values[at]


def words(text):
    return re.findall(r"[A-Za-z]{3,}", text) or ["text"]


# --- corruptions of a good text
def word_salad(text, rng):
    """All words of the text in any order."""
    parts = text.split()
    rng.shuffle(parts)
    return " ".join(parts)


def word_chain(text, rng):
    """Words, each drawn by the one before it: every pair is good, the text is not."""
    parts = text.split()
    following = {}
    for one, two in zip(parts, parts[1:]):
        following.setdefault(one.lower(), []).append(two)
    word, made = rng.pick(parts), []
    for _ in range(40 + rng.below(400)):
        made.append(word)
        word = rng.pick(following.get(word.lower(), parts))
    return " ".join(made)


def typing(text, rng):
    """Characters swapped, doubled, lost and replaced, as bad recognition of scans does."""
    rate, made = 6 + rng.below(20), []
    for char in text[:4000]:
        if rng.below(rate):
            made.append(char)
            continue
        made.append(rng.pick(["", char * 2, rng.pick("il1|!.,;~^rnmvvcl00OQ"), char + " ", " "]))
    return "".join(made)


def mojibake(text, rng):
    """Bytes read in the wrong encoding, or lost."""
    made = []
    for part in text[:4000].split(" "):
        if rng.below(5) == 0:
            part += rng.pick("’“”–é…ü€™•")
        made.append(part)
    text = " ".join(made)
    choice = rng.below(4)
    if choice == 0:
        return "".join("\ufffd" if ord(c) > 127 or not rng.below(25) else c for c in text)
    if choice == 1:
        return text.encode().decode("latin-1")
    if choice == 2:
        return text.encode().decode("latin-1").encode().decode("latin-1")
    return text[:1500].encode("utf-16-le").decode("latin-1").replace("\0", rng.pick("\0 ·"))


def looping(text, rng):
    """A few lines over and over."""
    lines = [line for line in text.split("\n") if line.strip()]
    some = rng.some(lines, 1, 2)
    if rng.below(2):
        some = [" ".join(rng.some(some[0].split(), 2, 6))]
    joint = rng.pick(["\n", " ", "\n\n"])
    return joint.join(some * (1 + 3000 // (1 + sum(map(len, some)))))[:3500]


def keyword_list(text, rng):
    """Words of the text as tags and keywords."""
    vocabulary = words(text)
    joint = rng.pick([", ", " | ", "; ", " ", " / ", " #"])
    case = rng.pick([str.lower, str.title, str.upper])
    return joint.join(case(" ".join(rng.some(vocabulary, 1, 3)))
                      for _ in range(40 + rng.below(200)))


def teasers(text, rng):
    """Beginnings of sentences that go on elsewhere."""
    sentences = [s.strip() for s in re.split(r"[.!?\n]", text) if len(s) > 30] or [text]
    made = []
    for _ in range(6 + rng.below(20)):
        sentence = rng.pick(sentences)
        made.append(rng.pick(["", "NEW: ", f"{1 + rng.below(28)} Mar - ", "* ", "» "])
                    + sentence[:30 + rng.below(60)]
                    + rng.pick(rng.side_of(["...", "… Read more", " […]", "... (more)", "…",
                                         "... Continue reading →"])))
    return rng.pick(["\n", "\n\n", " "]).join(made)


def shouting(text, rng):
    """Capitals, exclamation marks, and pictures."""
    made = []
    for sentence in re.split(r"(?<=[.!?])\s+", text[:3000]):
        sentence = sentence.rstrip(".") + rng.pick(
            ["!!!", "!!", "!?!", " 😂😂😂", " 🔥🔥", " !!!1"])
        made.append(sentence.upper() if rng.below(3) else sentence)
    return " ".join(made)


# --- generators
def navigation(text, rng):
    """Menus, breadcrumbs and footers of a site."""
    menu = rng.side_of(re.split(r"[|\n]", phrases.MENU))
    menu += [" ".join(rng.some(words(text), 1, 3)).title() for _ in range(25)]
    joint = rng.pick(["\n", " | ", " › ", "\n* ", " · ", "\n\n", "  "])
    lines = [joint.join(rng.some(menu, 15, 90))]
    lines.append(f"© {1999 + rng.below(26)} {rng.pick(words(text)).title()} Inc. "
                 "All rights reserved.")
    return "\n".join(lines)


def boilerplate(text, rng):
    """Notices that every site has."""
    lines = rng.some(rng.side_of(phrases.BOILERPLATE), 8, 40)
    lines += [" ".join(rng.some(words(text), 1, 4)).title() for _ in range(rng.below(8))]
    rng.shuffle(lines)
    joint = rng.pick(["\n", " ", "\n\n"])
    return joint.join(lines).replace(". ", rng.pick(["\n", ". ", " | "]))


def log(text, rng):
    """Lines that a program logged."""
    names = [word.lower() for word in rng.some(words(text), 6, 12)]
    made, clock = [], rng.below(1 << 31)
    shape = rng.below(4)
    for _ in range(10 + rng.below(60)):
        clock += rng.below(500)
        time = f"{clock // 3600 % 24:02}:{clock // 60 % 60:02}:{clock % 60:02}"
        level = rng.pick(["INFO", "DEBUG", "WARN", "ERROR", "TRACE"])
        name, other = rng.pick(names), rng.pick(names)
        number, address = rng.below(100000), ".".join(str(rng.below(256)) for _ in range(4))
        made.append([
            f"2024-0{1 + rng.below(9)}-1{rng.below(10)} {time},{rng.below(1000):03} {level} "
            f"[{name}-{rng.below(16)}] com.{other}.{name.title()}: {other}={number}",
            f"{address} - - [12/May/2023:{time} +0000] \"GET /{name}/{other}?id={number} HTTP/1.1\""
            f" {rng.pick([200, 200, 304, 404, 500])} {number} \"-\" \"Mozilla/5.0\"",
            f"[{clock % 99999}.{number:06}] {name}: {other} at 0x{rng.next():016x} failed, code "
            f"-{rng.below(99)}",
            f"    at {name}.{other}({name.title()}.java:{rng.below(900)})",
        ][shape])
    return "\n".join(made)


def numbers(text, rng):
    """Table of numbers."""
    columns, joint = 2 + rng.below(9), rng.pick(["\t", ",", "  ", " | ", ";"])
    names = [word.lower() for word in rng.some(words(text), columns, columns)]
    lines = [joint.join(names)] if rng.below(2) else []
    decimals = rng.below(5)
    for row in range(15 + rng.below(60)):
        cells = [f"{rng.below(10 ** (1 + rng.below(5)))}" + (f".{rng.below(10 ** decimals)}"
                 if decimals else "") for _ in range(columns - 1)]
        lines.append(joint.join([rng.pick([str(row), rng.pick(words(text))]), *cells]))
    return "\n".join(lines)[:4000]


def letters(text, rng):
    """Letters, drawn at random or as often as the text has them."""
    alphabet = rng.pick(["abcdefghijklmnopqrstuvwxyz", text.lower(), "asdfghjkl qwertyuiop"])
    made = []
    for _ in range(50 + rng.below(300)):
        made.append("".join(rng.some(alphabet, 1, 11)).strip())
    return " ".join(made)


def sales(text, rng):
    """Text that sells, to readers and to search engines."""
    topic = " ".join(rng.some(words(text), 1, 2)).lower()
    place = rng.pick(words(text)).title()
    lines = [line.format(t=topic, p=place, n=10 + rng.below(90))
             for line in rng.some(rng.side_of(phrases.SALES), 6, 20)]
    return rng.pick([" ", "\n", "\n\n"]).join(lines)


def dump(text, rng):
    """Bytes as text, in hexadecimal or Base64."""
    data = bytes(rng.below(256) for _ in range(300 + rng.below(900)))
    if rng.below(2):
        code = base64.b64encode(data).decode()
        return "\n".join(code[at:at + 76] for at in range(0, len(code), 76))
    return "\n".join(f"{at:08x}  " + data[at:at + 16].hex(" ") for at in range(0, len(data), 16))


# Kinds that only the test side has show what the score says about text of a new kind.
def comments(text, rng):
    """Praise that is posted below articles for the sake of a link."""
    topic = rng.pick(words(text)).lower()
    lines = rng.some(phrases.COMMENTS, 10, 40)
    return "\n".join(line.format(t=topic, n=rng.below(9999)) for line in lines)


def mixed_sentences(text, rng):
    """Sentences in any order: each is good, the text is not. No bag of n-grams can tell."""
    sentences = re.split(r"(?<=[.!?])\s+", text)
    rng.shuffle(sentences)
    return " ".join(sentences)


TRAINED = [word_salad, typing, mojibake, looping, keyword_list, teasers, shouting, navigation,
           boilerplate, log, numbers, letters, sales, dump]
UNSEEN = [comments, word_chain, mixed_sentences]
