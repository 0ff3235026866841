import os
from pathlib import Path

from easyremote.cli.reload import changed_file, modification_times


def test_a_new_changed_or_vanished_file_is_seen(tmp_path: Path) -> None:
    kept, touched = tmp_path / "kept.py", tmp_path / "deep" / "touched.py"
    touched.parent.mkdir()
    for path in (kept, touched):
        path.write_text("")
    before = modification_times(tmp_path)
    assert changed_file(before, modification_times(tmp_path)) is None
    os.utime(touched, ns=(1, 1))
    assert changed_file(before, modification_times(tmp_path)) == touched
    touched.unlink()
    assert changed_file(before, modification_times(tmp_path)) == touched
    before = modification_times(tmp_path)
    (tmp_path / "added.py").write_text("")
    assert changed_file(before, modification_times(tmp_path)) == tmp_path / "added.py"


def test_other_files_hidden_folders_and_installed_code_are_not_watched(tmp_path: Path) -> None:
    for place in ("__pycache__", ".git", "node_modules", "environment"):
        (tmp_path / place).mkdir()
        (tmp_path / place / "x.py").write_text("")
    (tmp_path / "environment" / "pyvenv.cfg").write_text("")
    (tmp_path / "data.csv").write_text("")
    (tmp_path / "mine.py").write_text("")
    assert list(modification_times(tmp_path)) == [tmp_path / "mine.py"]
