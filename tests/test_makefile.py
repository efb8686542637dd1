"""The Makefile finds a Python that works, whatever the PATH holds."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAKE = shutil.which("make")

pytestmark = pytest.mark.skipif(MAKE is None, reason="make is not installed")


def python(folder: Path, name: str, version: tuple[int, int], environments: bool = True) -> None:
    """A stand-in: the Python that runs this test, under another version number."""
    change = f"sys.version_info = {(*version, 0, 'final', 0)}"
    if not environments:
        change += "; sys.modules['ensurepip'] = None"
    script = folder / name
    script.write_text(
        f"""#!/bin/sh\nexec {sys.executable} -c "import sys; {change}; exec('$2')"\n"""
    )
    script.chmod(0o755)


def broken(folder: Path, name: str) -> None:
    """A pyenv shim of a version that is not selected."""
    script = folder / name
    script.write_text("#!/bin/sh\necho 'pyenv: command not found' >&2\nexit 127\n")
    script.chmod(0o755)


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [MAKE, "-s", *arguments],
        cwd=ROOT,
        env={"PATH": str(folder)},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("minor", [11, 12, 13, 14])
def test_one_python_alone_is_found(tmp_path, minor):
    python(tmp_path, f"python3.{minor}", (3, minor))
    found = make(tmp_path, "python")
    assert found.stdout.strip() == str(tmp_path / f"python3.{minor}"), found.stderr


def test_the_oldest_supported_comes_first(tmp_path):
    for minor in (14, 12, 11, 13):
        python(tmp_path, f"python3.{minor}", (3, minor))
    assert make(tmp_path, "python").stdout.strip() == str(tmp_path / "python3.11")


def test_what_fails_when_called_is_passed_over(tmp_path):
    broken(tmp_path, "python3.11")
    python(tmp_path, "python3.12", (3, 12), environments=False)
    python(tmp_path, "python3.13", (3, 13))
    assert make(tmp_path, "python").stdout.strip() == str(tmp_path / "python3.13")


def test_python3_is_taken_where_its_version_fits(tmp_path):
    python(tmp_path, "python3", (3, 12))
    assert make(tmp_path, "python").stdout.strip() == str(tmp_path / "python3")


@pytest.mark.parametrize("version", [(3, 10), (3, 15), (2, 7)])
def test_other_versions_are_refused(tmp_path, version):
    python(tmp_path, "python3", version)
    broken(tmp_path, "python3.11")
    found = make(tmp_path, "python")
    assert found.returncode == 2 and not found.stdout
    assert "no Python from 3.11 to 3.14" in found.stderr
    assert "make PYTHON=" in found.stderr


def test_every_target_says_so_before_it_does_anything(tmp_path):
    ready = tmp_path / "environment"
    found = make(tmp_path, "lint", f"VENV={ready}")
    assert found.returncode == 2 and not ready.exists()
    assert "no Python from 3.11 to 3.14" in found.stderr


def test_a_python_may_be_named(tmp_path):
    assert make(tmp_path, "python", "PYTHON=/some/python3.12").stdout.strip() == "/some/python3.12"
