import random

import pytest

from sentiment.data import tokenizer as tokenizer_module
from sentiment.data.tokenizer import Tokenizer, TokenizerSettings
from sentiment.errors import InputError


def test_markup_goes_and_the_rest_stays() -> None:
    tokenize = Tokenizer(TokenizerSettings())
    assert tokenize("Good.<br /><br />I <3 it &amp; you<!-- <b>no</b> -->!") == [
        "good", ".", "i", "<3", "it", "&", "you", "!",
    ]  # fmt: skip
    assert tokenize(" <br/>\n") == []


def test_settings_decide() -> None:
    kept = Tokenizer(TokenizerSettings(lowercase=False, strip_markup=False))
    assert kept("A <b>") == ["A", "<", "b", ">"]
    assert Tokenizer(TokenizerSettings(language="de"))("z.B. Haus")[0] == "z.b."


def test_an_unknown_language_is_refused() -> None:
    with pytest.raises(InputError, match="data.language='qq'"):
        Tokenizer(TokenizerSettings(language="qq"))


def test_encoding_many_equals_tokenising_each(monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_digests_tell_cleaned_texts_apart() -> None:
    digests = Tokenizer(TokenizerSettings()).encode(["a<br />b", "a b", "A b"]).digests.tolist()
    assert digests[0] == digests[1] != digests[2]
