"""What the demo's nodes serve: ``easynet node demo_node.py`` gives every public function here.

With scikit-learn installed, a classifier of handwritten digits is trained when the file is loaded.
"""

from __future__ import annotations

import builtins
import inspect
import itertools
import os
import random
import time
from collections.abc import Iterator
from typing import Any

TOKEN_SECONDS = 0.015


def _train() -> tuple[Any, dict[str, float | int]]:
    """A classifier that has seen the first half of scikit-learn's digits; None where that is missing."""
    try:
        from sklearn.datasets import load_digits
        from sklearn.svm import SVC
    except ImportError:
        return None, {}
    images, labels = load_digits(return_X_y=True)
    half = len(images) // 2
    began = time.perf_counter()
    model = SVC(gamma=0.001).fit(images[:half], labels[:half])
    return model, {"images": half, "seconds": time.perf_counter() - began}


def _following_words() -> dict[str, list[str]]:
    """Which words follow which in the documentation of Python's builtins."""
    documents = [
        inspect.getdoc(value) or "" for _, value in sorted(vars(builtins).items()) if callable(value)
    ]
    words = " ".join(documents).split()
    following: dict[str, list[str]] = {}
    for word, next_word in itertools.pairwise(words):
        following.setdefault(word, []).append(next_word)
    return following


_model, _training = _train()
_following = _following_words()


def training() -> dict[str, float | int]:
    """How many images the classifier was trained on, and in how many seconds."""
    return {**_training, "pid": os.getpid()}


def classify(image: Any) -> int:
    """The digit in an image of 8 by 8 pixels."""
    return int(_model.predict(image.reshape(1, -1))[0])


def speak(prompt: str, tokens: int, seed: int = 0) -> Iterator[str]:
    """Go on from the prompt, a word at a time, each a little later, as a language model would."""
    chooser, word = random.Random(seed), prompt
    for _ in range(tokens):
        word = chooser.choice(_following.get(word) or _following["the"])
        time.sleep(TOKEN_SECONDS)
        yield word


def square(number: int) -> tuple[int, int]:
    """The number's square, and the process that worked it out."""
    return number * number, os.getpid()


def parse_age(text: str) -> int:
    """The age in a text, which must be a number that is not below zero."""
    age = int(text)
    if age < 0:
        raise ValueError(f"nobody is {age} years old")
    return age


def echo(value: Any) -> Any:
    """The same again."""
    return value
