"""What a device keeps on disk: keys made once, files replaced whole, read by their owner and by nobody else."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from easyremote.errors import IdentityError
from easyremote.trust.identity import Identity
from easyremote.trust.keyring import Keyring, default_home

SEED, OTHER = bytes(range(32)), bytes(range(32, 64))
ROOT = os.geteuid() == 0


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "home"


def key_of(home: Path) -> Path:
    return home / "device.key"


def test_the_first_use_makes_the_key_and_later_ones_find_it(home: Path) -> None:
    made = Keyring(home).identity(SEED)
    assert made.device == Identity.from_seed(SEED).device
    assert Keyring(home).identity(OTHER).device == made.device


def test_the_key_and_its_folder_are_the_owners_alone(home: Path) -> None:
    before = os.umask(0)
    try:
        Keyring(home).identity(SEED)
    finally:
        os.umask(before)
    assert home.stat().st_mode & 0o777 == 0o700
    assert key_of(home).stat().st_mode & 0o777 == 0o600


def test_nothing_else_is_left_and_no_name_tells_of_the_seed(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names: list[str] = []
    link = os.link

    def watch(fresh: Path, path: Path) -> None:
        names.extend(os.listdir(home))
        link(fresh, path)

    monkeypatch.setattr(os, "link", watch)
    Keyring(home).identity(SEED)
    assert os.listdir(home) == ["device.key"]
    assert len(names) == 1
    assert not any(SEED.hex()[at : at + 8] in names[0] for at in range(0, 57))


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666, 0o601])
def test_a_key_that_others_may_read_is_refused_with_the_remedy(home: Path, mode: int) -> None:
    Keyring(home).identity(SEED)
    key_of(home).chmod(mode)
    with pytest.raises(IdentityError, match=f"mode is {mode:04o}, wanted 0600.*Run: chmod 600") as caught:
        Keyring(home).identity(OTHER)
    assert SEED.hex() not in str(caught.value)
    subprocess.run(str(caught.value).split("Run: ")[1].split(), check=True)
    assert Keyring(home).identity(OTHER).device == Identity.from_seed(SEED).device


def test_a_folder_in_which_others_may_replace_the_key_is_refused_with_the_remedy(home: Path) -> None:
    Keyring(home).identity(SEED)
    home.chmod(0o777)
    with pytest.raises(IdentityError, match=r"others may replace.*Run: chmod go-w") as caught:
        Keyring(home).identity(OTHER)
    subprocess.run(str(caught.value).split("Run: ")[1].split(), check=True)
    assert Keyring(home).identity(OTHER).device == Identity.from_seed(SEED).device


def test_a_shared_folder_that_protects_each_owners_files_will_do(home: Path) -> None:
    home.mkdir(parents=True)
    home.chmod(0o1777)  # as /tmp
    assert Keyring(home).identity(SEED).device == Identity.from_seed(SEED).device


@pytest.mark.skipif(not ROOT, reason="only root can give files away")
def test_a_key_that_somebody_else_put_there_is_refused(home: Path) -> None:
    Keyring(home).identity(SEED)
    os.chown(key_of(home), 12345, 12345)
    with pytest.raises(IdentityError, match=r"belongs to another user \(id 12345\)"):
        Keyring(home).identity(OTHER)
    os.chown(home, 12345, 12345)  # a folder mounted from outside, with its owner's key in it
    assert Keyring(home).identity(OTHER).device == Identity.from_seed(SEED).device


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\n", id="blank"),
        pytest.param(b"zz" * 32, id="not hex"),
        pytest.param(SEED.hex().encode()[:-2], id="short"),
        pytest.param(SEED.hex().encode() + b"00", id="long"),
        pytest.param(SEED, id="binary"),
        pytest.param(b"\xff" * 64, id="not ascii"),
        pytest.param(b"0" * 5_000_000, id="huge"),
    ],
)
def test_a_broken_key_is_an_error_and_is_left_as_it_is(home: Path, content: bytes) -> None:
    Keyring(home).identity(SEED)
    key_of(home).write_bytes(content)
    with pytest.raises(IdentityError, match=r"is broken: wanted 32 bytes in hexadecimal\. Restore it"):
        Keyring(home).identity(OTHER)
    assert key_of(home).read_bytes() == content


def test_what_is_no_file_is_an_error_and_does_not_block(home: Path) -> None:
    home.mkdir(parents=True)
    os.mkfifo(key_of(home), 0o600)
    with pytest.raises(IdentityError, match="is broken"):
        Keyring(home).identity(SEED)
    key_of(home).unlink()
    key_of(home).mkdir(mode=0o700)
    with pytest.raises(IdentityError):
        Keyring(home).identity(SEED)


def test_a_link_to_a_key_elsewhere_is_followed(home: Path, tmp_path: Path) -> None:
    Keyring(home).identity(SEED)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    (elsewhere / "device.key").symlink_to(key_of(home))
    assert Keyring(elsewhere).identity(OTHER).device == Identity.from_seed(SEED).device


def test_a_home_that_cannot_be_one_is_an_error_with_advice(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(IdentityError, match=r"cannot use the key .*device\.key: .*EASYREMOTE_HOME"):
        Keyring(tmp_path / "file").identity(SEED)


@pytest.mark.parametrize("length", [0, 31, 33])
def test_a_seed_of_another_length_never_reaches_the_disk(home: Path, length: int) -> None:
    with pytest.raises(IdentityError, match=f"32 bytes, found {length}"):
        Keyring(home).identity(bytes(length))
    assert not home.exists()


def test_the_home_is_the_argument_else_the_variable_else_the_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    monkeypatch.delenv("EASYREMOTE_HOME", raising=False)
    assert default_home() == tmp_path / "user" / ".easyremote"
    monkeypatch.setenv("EASYREMOTE_HOME", "~/keys")
    assert default_home() == Keyring().home == tmp_path / "user" / "keys"
    assert Keyring(tmp_path).home == tmp_path


def test_a_user_without_a_home_folder_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("EASYREMOTE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", nowhere)
    with pytest.raises(IdentityError, match="set EASYREMOTE_HOME"):
        Keyring()


def refuse_links(*_: object) -> None:
    raise PermissionError(1, "Operation not permitted")


@pytest.mark.parametrize("links", [True, False], ids=["hard links", "no hard links"])
def test_threads_that_start_at_once_agree(home: Path, monkeypatch: pytest.MonkeyPatch, links: bool) -> None:
    if not links:
        monkeypatch.setattr(os, "link", refuse_links)
    at_once = threading.Barrier(16)
    found: list[bytes] = []

    def start(number: int) -> None:
        at_once.wait(10)
        found.append(Keyring(home).identity(bytes([number]) * 32).device)

    threads = [threading.Thread(target=start, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(found) == 16
    assert len(set(found)) == 1
    assert os.listdir(home) == ["device.key"]


STARTER = """
import os, sys
from pathlib import Path
from easyremote.trust.keyring import Keyring
if sys.argv[2] == "no hard links":
    def link(*_):
        raise PermissionError(1, "Operation not permitted")
    os.link = link
seed = os.urandom(32)
print("ready", flush=True)
sys.stdin.readline()
print(Keyring(Path(sys.argv[1])).identity(seed).device.hex())
"""


@pytest.mark.parametrize("links", ["hard links", "no hard links"])
def test_processes_that_start_at_once_agree(home: Path, links: str) -> None:
    with contextlib.ExitStack() as stack:
        processes = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", STARTER, str(home), links],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            for _ in range(5)
        ]
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        found = {process.communicate(timeout=20)[0].strip() for process in processes}
    assert len(found) == 1
    assert len(found.pop()) == 64


# ---- other keys and files


def test_keys_of_other_names_are_identities_of_their_own(home: Path) -> None:
    keyring = Keyring(home)
    assert keyring.key("network/root.key") is None
    device, root = keyring.identity(SEED), keyring.identity(OTHER, "network/root.key")
    assert device.device == Identity.from_seed(SEED).device
    assert root.device == Identity.from_seed(OTHER).device
    found = Keyring(home).key("network/root.key")
    assert found is not None
    assert found.device == root.device
    assert (home / "network").stat().st_mode & 0o777 == 0o700
    assert (home / "network" / "root.key").stat().st_mode & 0o777 == 0o600


def test_a_file_reads_back_as_it_was_last_written(home: Path) -> None:
    keyring = Keyring(home)
    assert keyring.read("networks/one.json") is None
    keyring.write("networks/one.json", b"first")
    keyring.write("networks/one.json", b"second")
    assert Keyring(home).read("networks/one.json") == b"second"
    assert os.listdir(home / "networks") == ["one.json"], "nothing else is left"


def test_a_file_is_the_owners_alone_whatever_the_umask(home: Path) -> None:
    before = os.umask(0)
    try:
        Keyring(home).create("tls.crt", b"data")
        Keyring(home).write("networks/one.json", b"data")
    finally:
        os.umask(before)
    assert (home / "networks").stat().st_mode & 0o777 == 0o700
    for name in ("networks/one.json", "tls.crt"):
        assert (home / name).stat().st_mode & 0o777 == 0o600


def test_the_home_is_the_owners_alone_also_when_its_first_file_is_in_a_folder(home: Path) -> None:
    before = os.umask(0)
    try:
        Keyring(home).identity(SEED, "network/root.key")
    finally:
        os.umask(before)
    assert home.stat().st_mode & 0o777 == 0o700
    assert Keyring(home).identity(OTHER).device == Identity.from_seed(OTHER).device


@pytest.mark.parametrize("name", ["networks/one.json", "network/tls.pem.key"])
def test_a_file_that_others_may_read_is_refused_with_the_remedy(home: Path, name: str) -> None:
    Keyring(home).write(name, b"secret")
    (home / name).chmod(0o644)
    with pytest.raises(IdentityError, match=r"mode is 0644, wanted 0600.*Run: chmod 600") as caught:
        Keyring(home).read(name)
    with pytest.raises(IdentityError):
        Keyring(home).create(name, b"other")
    subprocess.run(str(caught.value).split("Run: ")[1].split(), check=True)
    assert Keyring(home).read(name) == b"secret"


def test_a_write_that_fails_leaves_the_file_as_it_was(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    Keyring(home).write("one.json", b"first")
    for call in ("replace", "fsync"):
        with monkeypatch.context() as patch:
            patch.setattr(os, call, full)
            with pytest.raises(IdentityError, match=r"cannot use the file .*one\.json: No space left"):
                Keyring(home).write("one.json", b"second")
    assert Keyring(home).read("one.json") == b"first"


def test_what_was_made_first_stays(home: Path) -> None:
    keyring = Keyring(home)
    assert keyring.create("tls.crt", b"first") == b"first"
    assert keyring.create("tls.crt", b"second") == b"first"
    assert keyring.read("tls.crt") == b"first"


@pytest.mark.parametrize("links", [True, False], ids=["hard links", "no hard links"])
def test_threads_that_make_a_file_at_once_agree(
    home: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    if not links:
        monkeypatch.setattr(os, "link", refuse_links)
    at_once = threading.Barrier(8)
    found: list[bytes] = []

    def make(number: int) -> None:
        at_once.wait(10)
        found.append(Keyring(home).create("tls.crt", bytes([number]) * 1000))

    threads = [threading.Thread(target=make, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(found) == 8
    assert len(set(found)) == 1
    assert os.listdir(home) == ["tls.crt"]


def test_a_file_that_is_removed_is_gone_and_may_be_removed_again(home: Path) -> None:
    keyring = Keyring(home)
    keyring.write("networks/one.json", b"data")
    keyring.remove("networks/one.json")
    keyring.remove("networks/one.json")
    keyring.remove("nowhere/one.json")
    assert keyring.read("networks/one.json") is None


def test_a_folder_is_listed_by_the_ending_of_its_files(home: Path) -> None:
    keyring = Keyring(home)
    assert keyring.names("networks", ".json") == []
    for name in ("b.json", "a.json", "a.grant"):
        keyring.write(f"networks/{name}", b"data")
    (home / "networks" / f"c.json.{os.getpid()}.0123456789abcdef.new").write_bytes(b"half")
    assert keyring.names("networks", ".json") == ["networks/a.json", "networks/b.json"]
    assert [keyring.read(name) for name in keyring.names("networks", ".grant")] == [b"data"]
