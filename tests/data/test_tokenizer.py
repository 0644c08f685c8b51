import random
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any
from unittest.mock import Mock

import pytest
import spacy

from sentiment.data import tokenizer as tokenizer_module
from sentiment.data.scripts import unsplit_script
from sentiment.data.tokenizer import RULES_VERSION, Tokenizer, TokenizerSettings
from sentiment.runtime.errors import InputError


def test_markup_goes_and_the_rest_stays() -> None:
    tokenize = Tokenizer(TokenizerSettings())
    assert tokenize("Good.<br /><br />I <3 it &amp; you<!-- <b>no</b> -->!") == [
        "good", ".", "i", "<3", "it", "&", "you", "!",
    ]  # fmt: skip
    assert tokenize(" <br/>\n") == []
    assert tokenize("3 < 4, 5 > 2<!--\n\n-->") == ["3", "<", "4", ",", "5", ">", "2"]
    assert tokenize("caf&eacute;&nbsp;&lt;b&gt;")[0] == "café"
    assert "b" in tokenize("&lt;b&gt;")  # what was escaped is text, not markup


# The tokens of difficult texts. If you change the rules, increase RULES_VERSION, or old tokenised
# files stay in use; then renew these. (If a new spaCy gives other tokens, renew them without that:
# its version is a part of a file's name.) The tokens by cleaning 1 stay, as checkpoints of version
# 0.1.0 were trained with it.
BY_CLEANING_1 = {
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
BY_CLEANING_2 = BY_CLEANING_1 | {
    "a\t b\u00a0\u2003c\r\n\n d\u200be": "a b c de",
    "e\u0301 é \U0001f600 日本語": "é é \U0001f600 日本語",
}
DIGEST = "9d358fe046ee02cb160431fbc16857c4"  # of the first text


@pytest.mark.parametrize(("cleaning", "tokens"), [(1, BY_CLEANING_1), (2, BY_CLEANING_2)])
def test_rules_change_only_with_their_version(cleaning: int, tokens: dict[str, str]) -> None:
    tokenizer = Tokenizer(TokenizerSettings(cleaning=cleaning))
    assert RULES_VERSION == 2
    assert {text: " ".join(tokenizer(text)) for text in tokens} == tokens
    assert tokenizer.encode(list(tokens)).digests[0].tobytes().hex() == DIGEST


def test_settings_of_a_checkpoint_that_does_not_name_its_cleaning() -> None:
    saved = {"language": "de", "lowercase": False, "strip_markup": True}
    assert TokenizerSettings.of_checkpoint(saved).cleaning == 1
    assert TokenizerSettings.of_checkpoint(saved | {"cleaning": 2}).cleaning == 2
    assert TokenizerSettings().cleaning == 2
    with pytest.raises(InputError, match="cleaning=3: .* 1 to 2"):
        TokenizerSettings(cleaning=3)


def test_settings_decide() -> None:
    kept = Tokenizer(TokenizerSettings(lowercase=False, strip_markup=False))
    assert kept("A <b>") == ["A", "<", "b", ">"]
    assert Tokenizer(TokenizerSettings(language="de"))("z.B. Haus")[0] == "z.b."
    assert Tokenizer(TokenizerSettings(language="xx"))("Ça va, don't") == ["ça", "va", ",", "don't"]
    settings = TokenizerSettings(language="de", lowercase=False)
    assert TokenizerSettings(**settings.as_dict()) == settings


def test_an_unknown_language_is_refused() -> None:
    # "ko" needs a package that we do not install; the last is a module of spaCy's, no language.
    for language in ("qq", "ko", "tokenizer_exceptions"):
        with pytest.raises(InputError, match=f"data.language='{language}'") as caught:
            Tokenizer(TokenizerSettings(language=language))
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("language", "code"), [("chinese", "zh"), ("English", "en"), ("de-AT", "de")]
)
def test_the_name_of_a_language_is_answered_with_its_code(language: str, code: str) -> None:
    with pytest.raises(InputError, match=rf"did you mean {code}\?"):
        Tokenizer(TokenizerSettings(language=language))


@pytest.mark.parametrize("many", [1, 10**9])  # with pandas, and without
def test_encoding_many_equals_tokenising_each(monkeypatch: pytest.MonkeyPatch, many: int) -> None:
    monkeypatch.setattr(tokenizer_module, "MANY_TOKENS", many)
    monkeypatch.setattr(tokenizer_module, "MAX_REMEMBERED_STRINGS", 600)  # forgets on the way
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


@pytest.mark.parametrize("length", [1, 1000])
def test_spacy_does_not_keep_all_strings(monkeypatch: pytest.MonkeyPatch, length: int) -> None:
    vocabularies = Mock(wraps=spacy.blank)
    monkeypatch.setattr(spacy, "blank", vocabularies)
    monkeypatch.setattr(tokenizer_module, "MAX_REMEMBERED_STRINGS", 0)  # 100 more than at first
    monkeypatch.setattr(tokenizer_module, "MAX_LONG_CHARACTERS", 10_000)
    tokenizer = Tokenizer(TokenizerSettings(language="xx"))
    for first in range(0, 1000, 50):
        words = [f"w{number}" + "o" * length for number in range(first, first + 50)]
        assert sorted(tokenizer.encode(words).words) == sorted(words)
    assert vocabularies.call_count > 5


def test_digests_differ_if_cleaned_texts_do() -> None:
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


@cache
def english(**settings: Any) -> Tokenizer:
    return Tokenizer(TokenizerSettings(**settings))


RUNS = [
    "!",
    "?",
    "=",
    "_",
    "*",
    ")",
    "(",
    "…",
    ",",
    "&",
    "#",
    '"',
    "$",
    "❤",
    "👍🏽",
    "!?",
    "!?.",
    ":)",
]
WHOLE = ["-", "~", ".", "a", "日本語", "\u0301", "5"]  # spaCy does not split runs of these


@pytest.mark.parametrize("mark", RUNS + WHOLE)
def test_a_run_falls_into_the_tokens_of_a_short_one(mark: str) -> None:
    """A run of any length; spaCy itself tokenises 24 repeats, or nearly."""
    tokenizer = english()
    short, long = tokenizer(mark * 24), tokenizer("great film " + mark * 2400)[2:]
    assert "".join(long) == mark * 2400
    assert len(long) == (1 if mark in WHOLE else pytest.approx(100 * len(short), rel=0.05))
    assert set(long) <= set(short) or mark in WHOLE


def test_a_run_of_one_mark_has_the_tokens_of_the_spaced_text() -> None:
    tokenizer = english()
    assert tokenizer("great film" + "!" * 8000) == ["great", "film"] + ["!"] * 8000
    assert tokenizer("great film" + "!" * 8000) == tokenizer("great film " + "! " * 8000)


def test_long_chunks_fall_into_words_and_marks() -> None:
    tokenizer = english()
    sentence = "I-really-don't-like-this-film,"
    assert tokenizer(sentence * 9)[:12] == tokenizer(" ".join([sentence] * 9))[:12]
    address = "https://www.example.com/?" + "id=15&" * 30 + "x"
    assert tokenizer(f"see {address}, or {address}!!") == [
        "see", address, ",", "or", address, "!", "!",
    ]  # fmt: skip
    assert tokenizer(f'("{address}")') == ["(", '"', address, '"', ")"]
    accents = "x\u0304" * 200  # no letter and its accent have a character of their own
    assert not any(token.startswith("\u0304") for token in tokenizer(accents))
    chinese = Tokenizer(TokenizerSettings(language="zh"))  # which does not go by rules
    assert chinese("电影很好" * 900) == list("电影很好") * 900


@pytest.mark.parametrize(
    "chunk",
    ["wow" + "=" * 33, "(" + "=" * 33 + ")", "spoilers*********************(if", "!?" * 50,
     "a." * 50, "(" * 49 + ":)" + ")" * 49, "http://a.b/" + "!" * 89, "👍🏽" * 50],
)  # fmt: skip
def test_chunks_up_to_100_characters_have_the_tokens_of_spacy(chunk: str) -> None:
    plain = [token.lower_ for token in spacy.blank("en").tokenizer(f"a {chunk} b")]
    assert english(cleaning=1)(f"a {chunk} b") == plain


SHAPES = [
    "!", "…", "_", ":)", "!?.", "a!", "👍🏽", "a.b-", "&", "&#9", "<!-- ", "<b>", "<", "</", "a@b:",
    "\u0301\u0327", "\u200d", "https://a.b/", "-=", "日本語。", "\\n", "Ab.",
]  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
def test_time_is_linear_in_the_length_of_a_text(shape: str) -> None:
    tokenizer = english()

    def seconds(length: int, first: str = "") -> float:
        text = (first + shape * length)[:length]  # other chunks each time: spaCy remembers them
        start = time.process_time()
        tokenizer.encode([text])
        return time.process_time() - start

    seconds(1_000)
    assert min(seconds(40_000, "x"), seconds(40_000, "yy")) < 8 * seconds(10_000) + 0.1


def random_texts(seed: int, count: int) -> list[str]:
    """Mixtures of scripts, marks, markup, controls, characters that are not seen, long runs."""
    draw = random.Random(seed)
    scripts = [
        "abcdeABC'", "0123.,", "éßİſ", "абв", "日本語。", "हिन्दी", "می\u200cخ", "ไทย", "한국",
    ]  # fmt: skip
    marks = ["!?.,;:-_()[]<>&#*/\\\"'`~|", "…“”—", "❤😀👍🏽👨\u200d\ufe0f"]
    unseen = [
        "\x00\x07\x1b\x7f", "\x80\x85\x9d", "\xad\u200b\u200e\u2060\ufeff", "\u0301\u0327\u0308",
    ]  # fmt: skip
    markup = ["<br />", "<!--", "-->", "</a>", "<b", "&amp;", "&#x41;", "&#" + "9" * 4400, "\\n"]

    def piece() -> str:
        kind = draw.randrange(8)
        if kind == 0:
            return draw.choice(markup)
        alphabet = draw.choice(draw.choice([scripts, scripts, marks, unseen]))
        if kind == 1:
            return draw.choice(alphabet) * draw.randrange(1, 400)
        return "".join(draw.choices(alphabet, k=draw.randrange(1, 30)))

    return [
        draw.choice(["", " ", "\n"]).join(piece() for _ in range(draw.randrange(12)))
        for _ in range(count)
    ]


@pytest.mark.parametrize("lowercase", [True, False])
@pytest.mark.parametrize("strip_markup", [True, False])
def test_any_text_has_tokens_of_its_own(lowercase: bool, strip_markup: bool) -> None:
    tokenizer = english(lowercase=lowercase, strip_markup=strip_markup)
    texts = random_texts(seed=7, count=100)
    encoded = tokenizer.encode(texts)
    words = iter([encoded.words[index] for index in encoded.token_ids])
    together = [[next(words) for _ in range(length)] for length in encoded.lengths]
    assert together == [tokenizer(text) for text in texts]
    turned = tokenizer.encode(texts[::-1])
    assert turned.lengths.tolist() == encoded.lengths.tolist()[::-1]
    assert turned.digests.tolist() == encoded.digests.tolist()[::-1]
    for text, tokens in zip(texts, together, strict=True):
        seen = tokenizer.clean(text)
        assert seen == " ".join(seen.split())
        assert "".join(tokens) == "".join((seen.lower() if lowercase else seen).split())


def test_threads_may_reach_the_number_of_strings_together(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = Tokenizer(TokenizerSettings(language="xx"))
    monkeypatch.setattr(tokenizer_module, "MAX_REMEMBERED_STRINGS", 3000)

    def words_are_known(call: int) -> bool:
        words = [f"q{call}x{number}" for number in range(50)]
        return sorted(tokenizer.encode([" ".join(words)]).words) == sorted(words)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(words_are_known, range(300)))


def test_half_a_character_is_refused_as_python_does() -> None:
    with pytest.raises(UnicodeEncodeError):
        english().encode(["a \ud800 b" + "\ud800" * 200])


# By language: what reviews begin and end with. Twenty reviews are enough to notice the script.
REVIEWS = {
    "zh": (
        "这部电影 这本书 那家餐厅 酒店的服务 昨天看的演出",
        "非常好看我很喜欢 太无聊了浪费时间 真的很精彩值得推荐 令人失望不推荐",
    ),
    "ja": (
        "この映画は この本は あのレストランは ホテルのサービスは 昨日の公演は",
        "とても面白かったです。 つまらなくて時間の無駄でした。 本当に素晴らしい。 最悪でした。",
    ),
    "th": (
        "หนังเรื่องนี้ หนังสือเล่มนี้ ร้านอาหารนั้น บริการของโรงแรม การแสดงเมื่อวาน",
        "สนุกมากและฉันชอบมาก น่าเบื่อมากเสียเวลาเปล่า ยอดเยี่ยมจริงๆควรแนะนำ ผิดหวังมากไม่แนะนำ",
    ),
    "ar": ("الفيلم الكتاب المطعم الفندق العرض", "رائع ممل ممتاز سيئ"),
    "hi": ("फिल्म किताब होटल फोन कहानी", "अच्छी खराब शानदार उबाऊ"),
}
PACKAGES = {"ja": "sudachipy", "th": "pythainlp"}


def reviews_in(language: str) -> list[str]:
    beginnings, ends = (each.split() for each in REVIEWS[language])
    space = " " if language in ("ar", "hi") else ""
    return [f"{beginning}{space}{end}" for beginning in beginnings for end in ends]


@pytest.mark.parametrize(
    ("language", "remedy"),
    [("zh", "data.language=zh"), ("ja", "sudachidict_core"), ("th", "pythainlp"), ("ar", ""),
     ("hi", "")],
)  # fmt: skip
@pytest.mark.parametrize("tokenizer", ["en", "xx"])
def test_a_script_that_is_not_split_into_words_is_noticed(
    language: str, remedy: str, tokenizer: str
) -> None:
    finding = unsplit_script(
        Tokenizer(TokenizerSettings(language=tokenizer)).encode(reviews_in(language)).words
    )
    assert (finding is not None) == bool(remedy)
    assert remedy in (finding or "")
    assert f"data.language={language}" in (finding or f"data.language={language}")


@pytest.mark.parametrize("language", REVIEWS)
def test_the_language_s_own_tokenizer_splits_it(language: str) -> None:
    if language in PACKAGES:
        pytest.importorskip(PACKAGES[language])
    texts = reviews_in(language)
    encoded = Tokenizer(TokenizerSettings(language=language)).encode([*texts, texts[0] * 3000])
    assert unsplit_script(encoded.words) is None
    assert encoded.lengths.min() >= 2
    assert len(encoded.words) < 80  # they come again


def test_a_few_foreign_words_are_no_script() -> None:
    assert unsplit_script([]) is None
    assert unsplit_script(["fine", "film", "这部电影非常好看我很喜欢", "and", "plain"]) is None


@pytest.mark.parametrize(("language", "package"), PACKAGES.items())
def test_a_language_s_missing_package_is_named(
    language: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (package, f"{package}.tokenize"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match=f"data.language={language}: .*pip install {package}"):
        Tokenizer(TokenizerSettings(language=language))
