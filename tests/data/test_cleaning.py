import time

import pytest

from sentiment.data.cleaning import clean

# One text for a reader; ``escape`` alone shows what differs.
SEEN = {
    "a \u200blovely\u200b film": "a lovely film",
    "a lovely\ufeff film": "a lovely film",
    "a love\u00adly film": "a lovely film",
    "\u202ea\u202c \u2066b\u2069 c\u200e\u061c": "a b c",
    "a\u2060b\x00c\x1bd\x7f": "abcd",
    "\x93It\x92s\x94 \x80 5\x85 \x81x": "\u201cIt\u2019s\u201d \u20ac 5\u2026 x",
    "I \u2764\ufe0f it": "I \u2764 it",
    "e\u0301 A\u030a \u1112\u1161\u11ab": "\u00e9 \u00c5 \ud55c",
    "a\u2800b\u3164c": "a b c",
    "a\u115f\u1160b \u17b4\u17b5": "ab",
    "lovely&shy;&ZeroWidthSpace;&#8203;": "lovely",
    "\u0634\u0645\u0627\u200c\u0647\u0627": "\u0634\u0645\u0627\u200c\u0647\u0627",  # Persian
    "\u0634\u0645\u0627\u200c lo\u200cvely": "\u0634\u0645\u0627 lovely",
    "\u0d28\u0d4d\u200d": "\u0d28\u0d4d\u200d",  # a letter of Malayalam
    "\U0001f468\u200d\U0001f469": "\U0001f468\u200d\U0001f469",  # one emoji of two
    "\u2764\ufe0f\u200d\U0001f525": "\u2764\u200d\U0001f525",
    "\U0001f468\u200d \u200d\U0001f469 a\u200db": "\U0001f468 \U0001f469 ab",
    "\u178f\u200b\u179a": "\u178f \u179a",  # Khmer, where it parts words
    "a scene.\\n\\nLazy\\r\\nplot\\": "a scene. Lazy plot\\",
}


@pytest.mark.parametrize(("text", "seen"), SEEN.items())
def test_texts_that_read_the_same_are_the_same(text: str, seen: str) -> None:
    assert clean(text) == seen
    assert clean(seen) == seen


def test_what_is_not_seen_goes_without_markup_too() -> None:
    assert clean("<b>lo\u00advely\\n</b> &amp;", strip_markup=False) == "<b>lovely\\n</b> &amp;"
    for text in SEEN:
        if "&" not in text and "\\" not in text:
            assert clean(text, strip_markup=False) == clean(text)


def test_cleaning_1_leaves_what_version_0_1_0_did() -> None:
    kept = "a\u200b e\u0301 \u2764\ufe0f \x93 b\\nc \ufeff"
    assert clean(f" {kept}<br />\x85&shy;", cleaning=1) == f"{kept} \u00ad"


@pytest.mark.parametrize("cleaning", [1, 2])
def test_numbers_of_no_character_are_one_that_says_so(cleaning: int) -> None:
    texts = ["&#" + "9" * 5000 + ";", "&#x" + "f" * 5000, "&#99999999", "&#" + "0" * 5000 + "65;b"]
    assert [clean(text, cleaning=cleaning) for text in texts] == ["\ufffd"] * 3 + ["Ab"]


def test_comments_go_where_they_end() -> None:
    assert clean("a<!-- b --> c <!-- d <!-- e -->f<!-- g") == "a c f<!-- g"
    assert clean("a <!--> b") == "a <!--> b"


@pytest.mark.parametrize(
    "piece", ["fine <!-- ", "<!--", "<a ", "&#", "\u0301\u0327", "e\u0327\u0301\u0316"]
)
def test_long_texts_take_no_longer_by_the_character(piece: str) -> None:
    start = time.process_time()
    seen = clean(piece * 100_000)
    assert time.process_time() - start < 5  # minutes, where the time grows with the square
    assert seen[:100] == clean(piece * 100)[:100]
