"""The wheel of the package: built, installed into a fresh environment, and used from an empty directory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

import moyai
from moyai.recipe.load import shipped_recipes
from moyai.recipe.sources import STARTER_NAMES

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out_dir = tmp_path_factory.mktemp("wheel")
    words = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out_dir), str(ROOT)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = out_dir.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def program(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`moyai` in a fresh environment that holds the wheel, and sees this environment's other packages behind it."""
    directory = tmp_path_factory.mktemp("fresh") / "venv"
    venv.create(directory, symlinks=True)
    python = directory / "bin" / "python"
    words = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps", "--no-index", "--quiet"]
    done = subprocess.run([*words, str(wheel)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (site_packages,) = directory.glob("lib/python*/site-packages")
    (site_packages / "behind.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    return directory / "bin" / "moyai"


def use(program: Path, work_dir: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "MOYAI"))}
    environment |= {"HOME": str(work_dir), "XDG_CACHE_HOME": str(work_dir / "cache")}
    return subprocess.run([program, *words], cwd=work_dir, env=environment, capture_output=True, text=True, check=False)


def test_everything_it_needs_is_inside(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        assert "License-Expression: Apache-2.0" in archive.read(
            next(name for name in names if name.endswith(".dist-info/METADATA"))
        ).decode("utf-8")
    package = Path(moyai.__file__).parent
    expected = {
        f"moyai/{path.relative_to(package).as_posix()}"
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    inside = {name for name in names if ".dist-info/" not in name}
    assert inside == expected
    assert {f"moyai/starter/{name}.jsonl" for name in STARTER_NAMES} <= inside
    assert {f"moyai/recipe/shipped/{name}.yaml" for name in shipped_recipes()} <= inside
    assert "moyai/starter/PROVENANCE.md" in inside
    assert any(name.startswith("moyai/report/") and name.endswith(".j2") for name in inside)
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


def test_it_is_used_from_an_empty_directory(program: Path, tmp_path: Path) -> None:
    version = use(program, tmp_path, "--version")
    assert (version.returncode, version.stdout) == (0, f"moyai {moyai.__version__}\n"), version.stderr
    recipes = use(program, tmp_path, "recipes")
    assert recipes.returncode == 0, recipes.stderr
    assert set(shipped_recipes()) <= set(recipes.stdout.split())
    plan = use(program, tmp_path, "plan", "quickstart", "--json")
    assert plan.returncode == 0, plan.stderr
    assert json.loads(plan.stdout)["recipe"] == "quickstart"
    assert list(tmp_path.iterdir()) == [], "nothing was written to find this out"


def test_it_is_the_installed_package_that_was_used(program: Path, tmp_path: Path) -> None:
    script = "import moyai; from moyai.recipe.sources import corpus_file; print(corpus_file('starter:ja_text'))"
    found = use(program.with_name("python"), tmp_path, "-c", script)
    assert found.returncode == 0, found.stderr
    path = Path(found.stdout.strip())
    assert path.is_relative_to(program.parents[1])
    assert path.read_bytes() == (Path(moyai.__file__).parent / "starter" / "ja_text.jsonl").read_bytes()
