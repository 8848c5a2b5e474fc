"""The wheel is what users get: it holds everything that src holds, and works where there is no src."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_holds_every_file_of_the_package(wheel):
    written = {path.relative_to(ROOT / "src").as_posix() for path in (ROOT / "src" / "callfare").rglob("*.*")}

    packed = set(zipfile.ZipFile(wheel).namelist())

    # What Python compiles meanwhile, for other tests, comes and goes.
    assert {path for path in written if "/__pycache__/" not in path} - packed == set()
    assert "callfare/py.typed" in packed


def test_the_wheel_holds_the_convex_functions_and_nothing_generated(wheel):
    written = {path.relative_to(ROOT / "convex").as_posix() for path in (ROOT / "convex" / "callfare").glob("*.ts")}

    packed = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("callfare/convex_functions/")}

    assert packed == {f"callfare/convex_functions/{name}" for name in (*written, "schema.ts", "tsconfig.json")}


@pytest.mark.all
def test_the_wheel_alone_gives_a_working_command(wheel, tmp_path):
    python = tmp_path / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path)], check=True)
    subprocess.run([str(python), "-m", "pip", "install", "--quiet", str(wheel)], check=True)

    said = subprocess.check_output([str(tmp_path / "bin" / "callfare"), "--help"], cwd=tmp_path, text=True)

    assert "balance" in said
