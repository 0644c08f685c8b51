import random

import pytest

from sentiment.data import tokenizer as tokenizer_module
from sentiment.data.tokenizer import RULES_VERSION, Tokenizer, TokenizerSettings
from sentiment.errors import InputError


def test_markup_goes_and_the_rest_stays() -> None:
    tokenize = Tokenizer(TokenizerSettings())
    assert tokenize("Good.<br /><br />I <3 it &amp; you<!-- <b>no</b> -->!") == [
        "good", ".", "i", "<3", "it", "&", "you", "!",
    ]  # fmt: skip
    assert tokenize(" <br/>\n") == []
    assert tokenize("3 < 4, 5 > 2<!--\n\n-->") == ["3", "<", "4", ",", "5", ">", "2"]
    assert tokenize("caf&eacute;&nbsp;&lt;b&gt;")[0] == "café"
    assert "b" in tokenize("&lt;b&gt;")  # what was escaped is text, not markup


# What version 1 of our rules makes of difficult texts. Where you change the rules, count up
# RULES_VERSION, or old tokenised files stay in use; then renew these. (Where another spaCy alone
# changes the tokens, renew them without counting: its version is part of a file's name.)
OF_VERSION_1 = {
    "I LOVED it.<br /><br />Truly!": "i loved it . truly !",
    '<p class="a">One</p><!-- <b>two</b>\n-- > -->2<!---->3': "one 2 3",
    "I <3 it, 3 < 4 and 5>2 <- see": "i <3 it , 3 < 4 and 5>2 < - see",
    "&lt;b&gt; &amp;amp; caf&eacute;&nbsp;au&#32;lait &no;": "< b > & amp ; café au lait & no ;",
    "don't can't they'll O'Neil's": "do n't ca n't they 'll o'neil 's",
    "a\t b\u00a0\u2003c\r\n\n d\u200be": "a b c d\u200be",
    "10/10!!! :-) ... ?!": "10/10 ! ! ! :-) ... ? !",
    "Straße İ ΣΊΣΥΦΟΣ": "straße i\u0307 σίσυφος",
    "well-known U.S.A. x.y@z.com https://a.b/c": "well - known u.s.a. x.y@z.com https://a.b / c",
    "<a href='x>y'>z</a> <unclosed tag <i>i</i>": "y'>z < unclosed tag i",
    "e\u0301 é \U0001f600 日本語": "e\u0301 é \U0001f600 日本語",
    " <br/>\n": "",
}
DIGEST_OF_VERSION_1 = "9d358fe046ee02cb160431fbc16857c4"  # of the first text


def test_rules_change_only_with_their_version() -> None:
    tokenizer = Tokenizer(TokenizerSettings())
    assert RULES_VERSION == 1
    assert {text: " ".join(tokenizer(text)) for text in OF_VERSION_1} == OF_VERSION_1
    digests = tokenizer.encode(list(OF_VERSION_1)).digests
    assert digests[0].tobytes().hex() == DIGEST_OF_VERSION_1


def test_settings_decide() -> None:
    kept = Tokenizer(TokenizerSettings(lowercase=False, strip_markup=False))
    assert kept("A <b>") == ["A", "<", "b", ">"]
    assert Tokenizer(TokenizerSettings(language="de"))("z.B. Haus")[0] == "z.b."
    assert Tokenizer(TokenizerSettings(language="xx"))("Ça va, don't") == ["ça", "va", ",", "don't"]
    settings = TokenizerSettings(language="de", lowercase=False)
    assert TokenizerSettings(**settings.as_dict()) == settings


def test_an_unknown_language_is_refused() -> None:
    # "th" needs a package that we do not install; the last is a module of spaCy's, no language.
    for language in ("qq", "th", "tokenizer_exceptions"):
        with pytest.raises(InputError, match=f"data.language='{language}'") as caught:
            Tokenizer(TokenizerSettings(language=language))
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("many", [1, 10**9])  # with pandas, and without
def test_encoding_many_equals_tokenising_each(monkeypatch: pytest.MonkeyPatch, many: int) -> None:
    monkeypatch.setattr(tokenizer_module, "_MANY_TOKENS", many)
    monkeypatch.setattr(tokenizer_module, "_MAX_REMEMBERED_STRINGS", 600)  # forgets on the way
    tokenizer = Tokenizer(TokenizerSettings())
    draw = random.Random(0)
    for _ in range(5):
        texts = ["".join(draw.choices("ab'.,! <>&;\n", k=draw.randrange(30))) for _ in range(40)]
        encoded = tokenizer.encode(texts)
        words = iter([encoded.words[index] for index in encoded.token_ids])
        assert [[next(words) for _ in range(n)] for n in encoded.lengths] == [
            tokenizer(text) for text in texts
        ]
    assert tokenizer.encode([]).digests.shape == (0, 2)


def test_spacy_forgets_past_a_number_of_strings(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = Tokenizer(TokenizerSettings(language="xx"))
    blank = len(tokenizer._spacy.vocab.strings)
    monkeypatch.setattr(tokenizer_module, "_MAX_REMEMBERED_STRINGS", blank + 100)
    sizes = []
    for first in range(0, 1000, 50):
        texts = [f"w{number}" for number in range(first, first + 50)]
        assert sorted(tokenizer.encode(texts).words) == sorted(texts)
        sizes.append(len(tokenizer._spacy.vocab.strings))
    assert max(sizes) < blank + 400


def test_digests_tell_cleaned_texts_apart() -> None:
    tokenizer = Tokenizer(TokenizerSettings())
    digests = tokenizer.encode(["a<br />b", "a b", "A b"]).digests.tolist()
    assert digests[0] == digests[1] != digests[2]
    folded = tokenizer.encode(["a b", "A b", "a c"]).folded.tolist()
    assert folded[0] == folded[1] == digests[0] != folded[2]
    cased = Tokenizer(TokenizerSettings(lowercase=False)).encode(["a b", "A b"])
    assert cased.folded.tolist() == cased.digests.tolist() == [digests[0], digests[2]]
    draw = random.Random(1)
    texts = ["".join(draw.choices("aé <>&", k=draw.randrange(6))) for _ in range(500)]
    cleaned = [tokenizer.clean(text) for text in texts]
    digests = [tuple(row) for row in tokenizer.encode(texts).digests.tolist()]
    assert len(set(digests)) == len(set(cleaned)) == len(set(zip(digests, cleaned, strict=True)))
