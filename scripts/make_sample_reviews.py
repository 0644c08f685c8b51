"""Write the bundled sample data set: short reviews made from hand-written fragments.

    python scripts/make_sample_reviews.py [--out FILE] [--seed N] [--count N]

The words are in ``sample_fragments.toml`` beside this file. A review picks a thing (a film, a
hotel ...), a feeling and a plan (the kinds of its sentences); each sentence is a template whose
slots are filled from the tables. The same arguments always write the same bytes, and the defaults
write ``src/sentiment/data/sample_reviews.csv`` as shipped. Only the standard library is used.
"""

import argparse
import csv
import random
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FRAGMENTS = Path(__file__).with_name("sample_fragments.toml")
SHIPPED_CSV = Path(__file__).parents[1] / "src" / "sentiment" / "data" / "sample_reviews.csv"
DEFAULT_SEED = 20
DEFAULT_COUNT = 5000

LABELS = {"good": "positive", "bad": "negative"}
OPPOSITE = {"good": "bad", "bad": "good"}
LONGEST = 60  # words in a review

CHOICE = re.compile(r"\[([^\[\]]*)\]")
SLOT = re.compile(r"\{([a-z_.]+)\}")
ARTICLE = re.compile(r"\b([Aa])(?= (?!one\b|once\b|uni[cfqtv]|us[eu]|eu)[aeiou])")
SENTENCE_START = re.compile(r"(?:^|[.!?]\s+)([a-z])")

SINGULAR = {
    "this": "this", "thisis": "this is", "itis": "it's", "it": "it", "them": "it", "a": "a ",
    "was": "was", "wasnt": "wasn't", "is": "is", "has": "has", "does": "does", "s": "s", "ones": "",
}  # fmt: skip
PLURAL = {
    "this": "these", "thisis": "these are", "itis": "they're", "it": "they", "them": "them",
    "a": "", "was": "were", "wasnt": "weren't", "is": "are", "has": "have", "does": "do", "s": "",
    "ones": "s",
}  # fmt: skip

INFORMAL = {
    "definitely": "definately", "because": "cuz", "though": "tho", "you": "u", "really": "rly",
    "to be honest": "tbh", "going to": "gonna", "want to": "wanna", "please": "pls", "your": "ur",
    "a lot": "alot", "people": "ppl", "so": "sooo", "don't": "dont",
    "wasn't": "wasnt", "didn't": "didnt", "can't": "cant", "it's": "its",
}  # fmt: skip


@dataclass(frozen=True)
class Aspect:
    """A part of a thing that can be good or bad, such as the acting of a film."""

    name: str
    kind: str  # "mass", "one" or "many": how the noun is counted
    adjectives: Mapping[str, Sequence[str]]  # by "good" and "bad"


def plural_of(noun: str) -> str:
    """Return the plural of a singular noun: ``comedy`` -> ``comedies``."""
    if noun.endswith("series"):
        return noun
    if noun.endswith("s"):
        return noun + "es"
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return noun[:-1] + "ies"
    return noun + "s"


def read_aspects(domain: Mapping[str, Any]) -> list[Aspect]:
    """Return the aspects of a domain, whose adjectives are written ``good, good / bad, bad``."""
    aspects = []
    for kind, table in domain["aspects"].items():
        for name, adjectives in table.items():
            good, bad = (side.strip().split(", ") for side in adjectives.split("/"))
            aspects.append(Aspect(name, kind, {"good": good, "bad": bad}))
    return aspects


class ReviewWriter:
    """Writes one review about one thing, with one feeling.

    Args:
        rng: Makes every choice.
        fragments: The parsed ``sample_fragments.toml``.
        feeling: ``good`` or ``bad``.
    """

    def __init__(self, rng: random.Random, fragments: Mapping[str, Any], feeling: str) -> None:
        self.rng = rng
        self.fragments = fragments
        self.sides = {"good": "good", "bad": "bad", "right": feeling, "wrong": OPPOSITE[feeling]}
        domains = list(fragments["domain"].values())
        self.domain = rng.choices(domains, [domain["weight"] for domain in domains])[0]
        self.aspects = read_aspects(self.domain)
        rng.shuffle(self.aspects)
        self.used: set[str] = set()
        self.named = False  # whether the current sentence has named the thing
        self.sentences: list[str] = []
        self.words = self._words_for_thing()

    def write(self) -> str:
        """Return the text of the review, without any of the looks of a web review."""
        plans = self.fragments["plans"]
        plan = self.rng.choices(list(plans), list(plans.values()))[0]
        for kind in plan.split():
            self.named = False
            sentence = self._expand(self._pick(self._pools(kind, "right")))
            self.sentences.append(sentence)
        return tidy(" ".join(self.sentences))

    def _words_for_thing(self) -> dict[str, str]:
        nouns = self.domain["nouns"]
        plural_nouns = self.domain.get("plural_nouns", [])
        noun = self.rng.choice(nouns + plural_nouns)
        paired = noun in plural_nouns
        forms = PLURAL if paired else SINGULAR
        return {
            **forms,
            "noun": noun,
            "nouns": noun if paired else plural_of(noun),
            "unit": f"pair of {noun}" if paired else noun,
            "units": f"pairs of {noun}" if paired else plural_of(noun),
            "this": f"{forms['this']} {noun}",
            "the": f"the {noun}",
        }

    def _pools(self, key: str, side: str) -> list[list[str]]:
        """Return the lists of fragments of a key, the shared ones and those of the domain."""
        tables = [self.fragments["common"], self.domain]
        if side:
            feeling = self.sides[side]
            tables += [self.fragments["both"], self.fragments[feeling], self.domain[feeling]]
        return [table[key] for table in tables if key in table]

    def _pick(self, pools: Sequence[Sequence[str]]) -> str:
        """Choose a fragment that this review has not used, from a long list more often."""
        pools = [[text for text in pool if text not in self.used] or pool for pool in pools]
        pool = self.rng.choices(pools, [len(pool) for pool in pools])[0]
        fragment = self._early(pool)
        self.used.add(fragment)
        return fragment

    def _early(self, words: Sequence[str]) -> str:
        """Choose a word; as in real text, a few (the first ones) make up most of the choices."""
        return words[min(self.rng.randrange(len(words)) for _ in range(3))]

    def _expand(self, template: str) -> str:
        template = CHOICE.sub(lambda match: self.rng.choice(match[1].split("|")), template)
        return SLOT.sub(lambda match: self._fill(match[1]), template)

    def _fill(self, slot: str) -> str:
        if slot in self.words:
            self.named = self.named or slot in ("this", "the", "noun")
            return self.words[slot]
        if slot in ("subj", "obj"):
            return self._reference("it" if slot == "subj" else "them")
        side, _, key = slot.rpartition(".")
        if key in ("clause", "negclause"):
            return self._clause(key, side)
        if key == "np":
            return self._noun_phrase(side)
        key = self.rng.choice(("plain", "strong")) if key == "adj" else key
        return self._expand(self._pick(self._pools(key, side)))

    def _reference(self, pronoun: str) -> str:
        """Name the thing once, at the start; from then on use the pronoun almost always."""
        if self.named:
            return self.words[pronoun]
        self.named = True
        later = [pronoun] * 8 + ["the"]
        return self.words[self.rng.choice(later if self.sentences else ["this", "this", "the"])]

    def _next_aspect(self) -> Aspect:
        self.aspects.append(self.aspects.pop(0))
        return self.aspects[-1]

    def _clause(self, key: str, side: str) -> str:
        """Return a clause on the next aspect: "the acting was superb", "I loved the songs"."""
        aspect = self._next_aspect()
        feeling = self.sides[side]
        right, wrong = aspect.adjectives[feeling], aspect.adjectives[OPPOSITE[feeling]]
        template = self._early([text for pool in self._pools(key, side) for text in pool])
        words = {
            "{aspect}": f"the {aspect.name}",
            "{awas}": "were" if aspect.kind == "many" else "was",
            "{aright}": self._early(right),
            "{awrong}": self._early(wrong),
            "{right.": "{" + side + ".",
        }
        for slot, word in words.items():
            template = template.replace(slot, word)
        return self._expand(template)

    def _noun_phrase(self, side: str) -> str:
        """Return an aspect with its adjective: "superb acting", "a weak script"."""
        aspect = self._next_aspect()
        adjective = self._early(aspect.adjectives[self.sides[side]])
        return f"{'a ' if aspect.kind == 'one' else ''}{adjective} {aspect.name}"


def tidy(text: str) -> str:
    """Return text with "an" before vowels, capital letters and no doubled spaces or commas."""
    text = re.sub(r"\s+", " ", text).strip()
    text = re.sub(r" ([.,!?])", r"\1", text)
    text = ARTICLE.sub(lambda match: match[1] + "n", text)
    return SENTENCE_START.sub(lambda match: match[0][:-1] + match[1].upper(), text)


def dress(rng: random.Random, text: str) -> str:
    """Give some texts the looks of web reviews: line breaks, slips, no capitals, more marks."""
    dice = rng.random()
    if dice < 0.04:
        return re.sub(r"(?<=[.!?]) ", rng.choice(["<br /><br />", "<br />"]), text, count=1)
    if dice < 0.07:
        for word, slip in INFORMAL.items():
            text = re.sub(rf"\b{word}\b", slip, text)
        return text.lower().rstrip(".")
    if dice < 0.10:
        return text.lower()
    if dice < 0.16:
        return text.rstrip(".")
    if dice < 0.19 and text.endswith("."):
        return text[:-1] + rng.choice(["!", "!!", "!!!", "..."])
    return text


def make_reviews(seed: int, count: int) -> list[tuple[str, str]]:
    """Return ``count`` different reviews as (text, label), half of them positive, shuffled.

    Raises:
        ValueError: If ``count`` is smaller than the number of complete hand-written reviews.
    """
    with FRAGMENTS.open("rb") as file:
        fragments = tomllib.load(file)
    rng = random.Random(seed)
    standalone = fragments["standalone"]
    least = 2 * max(len(texts) for texts in standalone.values())
    if count < least:
        raise ValueError(f"count is {count}, but the hand-written reviews alone need {least}")
    label_of = {text: label for label, texts in standalone.items() for text in texts}
    for feeling, label in LABELS.items():
        wanted = len(label_of) + (count + (label == "positive")) // 2 - len(standalone[label])
        while len(label_of) < wanted:
            text = dress(rng, ReviewWriter(rng, fragments, feeling).write())
            if len(text.split()) <= LONGEST:
                label_of.setdefault(text, label)
    rows = list(label_of.items())
    rng.shuffle(rows)
    return rows


def write_csv(rows: Sequence[tuple[str, str]], out: Path) -> None:
    """Write rows to ``out`` under the columns ``review`` and ``sentiment``."""
    with out.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("review", "sentiment"))
        writer.writerows(rows)


def main() -> None:
    """Read the command line and write the file."""
    parser = argparse.ArgumentParser(description="Write the bundled sample reviews.")
    parser.add_argument("--out", type=Path, default=SHIPPED_CSV, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=DEFAULT_SEED, help="default: %(default)s")
    parser.add_argument("--count", type=int, default=DEFAULT_COUNT, help="default: %(default)s")
    args = parser.parse_args()
    rows = make_reviews(args.seed, args.count)
    write_csv(rows, args.out)
    print(f"Wrote {len(rows)} reviews to {args.out}")


if __name__ == "__main__":
    main()
