"""Every input that was kept is read again: seeds of the encoders, and what a fuzzer once found."""

from __future__ import annotations

import pytest
from fuzz.targets import (
    CORPUS,
    CORPUS_FILE_BYTES_MAX,
    CORPUS_FILES_MAX,
    TARGETS,
    Target,
    Violation,
    check,
    corpus,
)

KNOWN_FAULTS: dict[str, str] = {}
"""Inputs that still break the law, as ``target/file``, with the reason; taken out when it is mended."""


def import_or_skip(target: Target) -> None:
    for library in target.libraries:
        pytest.importorskip(library)


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_what_was_kept_is_read_or_refused(target: Target) -> None:
    import_or_skip(target)
    kept = corpus(target.name)
    assert kept, f"no corpus yet: run `python tests/fuzz/fuzz.py {target.name} --write-seeds`"
    for name, data in kept.items():
        if f"{target.name}/{name}" not in KNOWN_FAULTS:
            check(target, data)


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_what_the_encoders_make_is_read(target: Target) -> None:
    import_or_skip(target)
    for seed in target.seeds():
        target.run(seed)  # not check: a seed that is refused is no seed


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_known_faults_are_still_faults(target: Target) -> None:
    for place in KNOWN_FAULTS:
        name, _, file = place.partition("/")
        if name == target.name:
            with pytest.raises(Violation):
                check(target, corpus(name)[file])


def test_the_corpus_is_small_and_names_no_target_that_is_gone() -> None:
    assert {path.name for path in CORPUS.iterdir() if path.is_dir()} <= set(TARGETS)
    for name in TARGETS:
        kept = corpus(name)
        assert len(kept) <= CORPUS_FILES_MAX
        assert all(len(data) < CORPUS_FILE_BYTES_MAX for data in kept.values())
