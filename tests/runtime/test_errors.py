import pytest

from sentiment.runtime.errors import as_typed, first_words, listed, out_of_memory


def test_the_first_words_end_with_a_word() -> None:
    assert first_words(ValueError("one.\ntwo")) == "one"
    assert first_words(ValueError()) == "ValueError"
    words = first_words(ValueError("seven x " * 99))
    assert words.endswith("x ...")
    assert len(words) <= 120


@pytest.mark.parametrize(
    ("value", "typed"),
    [(True, "true"), (False, "false"), (None, "null"), (0, "0"), (1, "1"), ("None", "None")],
)
def test_a_value_is_written_as_a_user_types_it(value: object, typed: str) -> None:
    assert as_typed(value) == typed


def test_of_many_names_the_first_are_listed() -> None:
    assert listed(["a", "b"], repr) == "'a', 'b'"
    assert listed([f"{n}" for n in range(77)], most=2) == "0, 1 and 75 more"
    assert listed([f"{n}" for n in range(77)]).endswith("11 and 65 more")


@pytest.mark.parametrize(
    ("error", "memory"),
    [
        (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB."), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), True),
        (MemoryError(), True),
        (RuntimeError("CUDA error: invalid device ordinal"), False),
        (ValueError("the column 'out of memory'"), False),
    ],
)
def test_full_memory_is_known_from_other_errors(error: Exception, memory: bool) -> None:
    assert out_of_memory(error) is memory
