"""Fuzz one decoder, guided by coverage: ``python tests/fuzz/fuzz.py TARGET [--seconds 60]``.

Starts from the kept corpus. An input that breaks the law of ``targets.check`` is put in the corpus, where
``test_corpus.py`` fails on it until it is mended; one fault is kept once. Inputs that reach new lines are
kept too, while there is room. Needs atheris, which is in no dependency group: it has to be built for the
Python at hand.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import subprocess
import sys
import tempfile
import tracemalloc
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:] = [str(HERE.parent), *(each for each in sys.path if Path(each or ".").resolve() != HERE)]


def main() -> int:
    """Read the command line; 1 if a fault was found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("target", help="a name in targets.py, or 'list'")
    parser.add_argument("--seconds", type=int, default=60, help="how long (60)")
    parser.add_argument("--max-bytes", type=int, default=4096, help="the longest input that is made (4096)")
    parser.add_argument("--write-seeds", action="store_true", help="put the encoders' examples in the corpus")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child is not None:
        return fuzz(options.target, options.child, options.seconds, options.max_bytes)

    from fuzz.targets import TARGETS, keep

    if options.target not in TARGETS:
        print("\n".join(TARGETS))
        return 0 if options.target == "list" else 2
    if options.write_seeds:
        for seed in TARGETS[options.target].seeds():
            keep(options.target, seed)
        return 0
    try:
        import atheris  # noqa: F401
    except ImportError:
        print(
            "Fuzzing needs atheris, which is not installed here. Run `pip install atheris`", file=sys.stderr
        )
        return 2
    return supervise(options)


# ---- the fuzzer, in a process of its own, because a decoder may take the process with it


def fuzz(name: str, work: Path, seconds: int, max_bytes: int) -> int:
    """Run atheris; faults go to ``work/found``, one for each signature."""
    import atheris

    with atheris.instrument_imports(include=["easyremote"]):
        from fuzz import targets

    target = targets.TARGETS[name]
    targets.prepare(target)
    tracemalloc.start(1)
    seen: set[str] = set()

    def one(data: bytes) -> None:
        try:
            targets.check(target, data, twice=False)
        except targets.Violation as fault:
            if fault.signature not in seen:
                seen.add(fault.signature)
                (work / "found" / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)
                print(f"FOUND {fault.signature}: {fault}", flush=True)

    atheris.Setup(
        [
            sys.argv[0],
            str(work / "corpus"),
            str(targets.CORPUS / name),
            f"-artifact_prefix={work / 'died'}/",
            f"-max_total_time={seconds}",
            f"-max_len={max_bytes}",
            "-timeout=20",
            "-rss_limit_mb=4096",
            "-print_final_stats=1",
        ],
        one,
    )
    atheris.Fuzz()
    return 0


def supervise(options: Any) -> int:
    """Run the fuzzer, then keep what it found."""
    from fuzz.targets import CORPUS, TARGETS, keep

    target = TARGETS[options.target]
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        for name in ("corpus", "found", "died"):
            (work / name).mkdir()
        (CORPUS / target.name).mkdir(exist_ok=True)
        command = [sys.executable, __file__, target.name, "--child", folder]
        command += ["--seconds", str(options.seconds), "--max-bytes", str(options.max_bytes)]
        ran = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        output = ran.stdout + ran.stderr
        executions = re.search(r"number_of_executed_units: (\d+)", output)
        covered = re.findall(r"\bcov: (\d+)", output)
        print(
            f"{target.name}: {int(executions[1]) if executions else 0:,} executions in {options.seconds} s, "
            f"coverage {covered[-1] if covered else '?'}"
        )
        faults = sorted([*(work / "found").iterdir(), *(work / "died").iterdir()])
        for line in output.splitlines():
            if line.startswith("FOUND"):
                print(line)
        for path in faults:
            data = path.read_bytes()
            kept = keep(target.name, data) or f"nowhere, it has {len(data):,} bytes"
            print(f"  breaks the law: {data[:60].hex()} ({len(data)} bytes), kept in {kept}")
        if ran.returncode and not faults:
            print(output[-3000:])
        if not faults:
            new = reduce(target, [path.read_bytes() for path in (work / "corpus").iterdir()])
            print(f"  {len(new)} inputs that reach new lines were kept")
    return 1 if faults or ran.returncode else 0


def reduce(target: Any, found: list[bytes]) -> list[bytes]:
    """Keep those inputs, smallest first, that reach lines the corpus does not, while there is room."""
    from fuzz.targets import CORPUS_FILES_MAX, corpus, keep, prepare

    prepare(target)
    reached: set[Any] = set()
    for data in corpus(target.name).values():
        reached |= lines(target, data)
    kept: list[bytes] = []
    for data in sorted(found, key=lambda each: (len(each), each)):
        if len(corpus(target.name)) >= CORPUS_FILES_MAX:
            break
        if (new := lines(target, data)) - reached and keep(target.name, data):
            reached |= new
            kept.append(data)
    return kept


def lines(target: Any, data: bytes) -> set[Any]:
    """The lines of ours that an input reaches."""
    found: set[Any] = set()

    def trace(frame: Any, event: str, _: object) -> Any:
        code = frame.f_code
        if "easyremote" not in code.co_filename:
            return None
        found.add((code, frame.f_lineno))
        return trace

    sys.settrace(trace)
    try:
        target.run(data)
    except target.allowed:
        pass
    finally:
        sys.settrace(None)
    return found


if __name__ == "__main__":
    sys.exit(main())
