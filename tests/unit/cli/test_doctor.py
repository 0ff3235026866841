import os
from pathlib import Path

import pytest

from easyremote.cli.doctor import examine, too_old
from easyremote.cli.findings import Finding
from easyremote.cli.settings import Settings

NOBODY = "127.0.0.1:1"


def findings(home: Path) -> dict[str, Finding]:
    settings = Settings(gateway=NOBODY, home=home, connect_timeout=2.0)
    return {finding.check: finding for finding in examine(settings)}


@pytest.mark.parametrize(
    ("found", "least", "wanted"),
    [
        ("1.71.0", "1.71", False),
        ("1.9", "1.71", True),
        ("50.0.2", "50.0", False),
        ("49.9.9", "50.0", True),
        ("2026.6", "2025.2", False),
        ("3.0.0a1", "3.0.0", False),
    ],
)
def test_versions_are_compared_by_their_numbers(found: str, least: str, wanted: bool) -> None:
    assert too_old(found, least) is wanted


def test_a_fresh_machine_is_well_but_for_the_gateway(tmp_path: Path) -> None:
    found = findings(tmp_path / "none yet")
    wrong = [finding for finding in found.values() if finding.state != "ok"]
    assert [finding.check for finding in wrong] == ["gateway"]
    assert NOBODY in found["gateway"].found
    assert "easynet gateway" in found["gateway"].remedy
    assert found["gateway"].exit == 3
    assert not (tmp_path / "none yet").exists()


def test_an_open_home_is_wrong_and_the_remedy_mends_it(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    finding = findings(tmp_path)["home"]
    assert (finding.state, finding.remedy) == ("wrong", f"chmod 700 {tmp_path}")
    tmp_path.chmod(0o700)
    assert findings(tmp_path)["home"].state == "ok"


@pytest.mark.skipif(os.name != "posix", reason="modes are of POSIX")
def test_a_key_others_can_read_is_wrong(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    (tmp_path / "device.key").write_bytes(bytes(32))
    (tmp_path / "device.key").chmod(0o644)
    finding = findings(tmp_path)["key"]
    assert (finding.state, finding.exit) == ("wrong", 7)
    assert "chmod" in finding.found + finding.remedy


def test_every_wrong_finding_has_a_remedy(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "device.key").write_bytes(b"broken")
    for finding in findings(tmp_path).values():
        assert finding.state == "ok" or finding.remedy, finding
