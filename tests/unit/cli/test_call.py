import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from easyremote.cli.call import parse_word, parse_words, refuse_options
from easyremote.errors import UsageError


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("5", 5),
        ("-5", -5),
        ("1.5e3", 1500.0),
        ("true", True),
        ("null", None),
        ("[1, 2]", [1, 2]),
        ('{"a": "b=c"}', {"a": "b=c"}),
        ('"5"', "5"),
        ("True", "True"),
        ("hello", "hello"),
        ("two words", "two words"),
        ("", ""),
        ("NaN", "NaN"),
        ("-Infinity", "-Infinity"),
        ("1" * 5000, "1" * 5000),
        ("[" * 100_000, "[" * 100_000),
        ("007", "007"),
    ],
)
def test_a_word_is_json_or_itself(word: str, value: object) -> None:
    assert parse_word(word) == value
    assert type(parse_word(word)) is type(value)


@given(st.dictionaries(st.text(), st.integers() | st.text()) | st.lists(st.text()))
def test_json_is_always_taken_as_json(value: Any) -> None:
    assert parse_words([json.dumps(value)]) == ([value], {})


def test_names_make_keywords_wherever_they_stand() -> None:
    words = ["1", "size=[2, 3]", "text", "mode=fast", "größe=1", "equation=a=b", "empty="]
    positional, keywords = parse_words(words)
    assert positional == [1, "text"]
    assert keywords == {"size": [2, 3], "mode": "fast", "größe": 1, "equation": "a=b", "empty": ""}


@pytest.mark.parametrize("word", ['"a=b"', "1=2", "a b=c", "=x", "a-b=c"])
def test_other_equals_signs_are_plain_words(word: str) -> None:
    positional, keywords = parse_words([word])
    assert len(positional) == 1
    assert keywords == {}


def test_a_keyword_given_twice_is_an_error() -> None:
    with pytest.raises(UsageError, match="'x' is given twice"):
        parse_words(["x=1", "x=2"])


@pytest.mark.parametrize("word", ["--jsno", "-x", "--timeout=5s"])
def test_a_mistyped_option_is_not_handed_to_the_function(word: str) -> None:
    with pytest.raises(UsageError, match="no option"):
        refuse_options(["1", word], 0)
    refuse_options(["1", word], 1)


def test_numbers_below_zero_and_a_lone_dash_are_arguments() -> None:
    refuse_options(["-5", "-1.5", "-"], 0)
