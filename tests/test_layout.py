"""The layout that was asked for holds, imports point one way, and importing darksieve is light."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "darksieve"
STAGES = ("configs", "datasets", "models", "training", "evaluation")

# A module may import from its own level and from those before it. All else at the top is the front door.
LEVELS = ("foundation", "datasets", "models", "training", "evaluation", "front door")
FOUNDATION = {"constants", "couplings", "errors", "atomic", "darksieve"}


def _level(dotted: str) -> int:
    first = dotted.split(".")[1] if "." in dotted else "darksieve"
    if first in FOUNDATION:
        return 0
    return LEVELS.index(first) if first in LEVELS else len(LEVELS) - 1


def _imports(path: Path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            if node.module == "darksieve":
                yield from (f"darksieve.{alias.name}" for alias in node.names if alias.name != "__version__")
            else:
                yield node.module or ""


MODULES = sorted(p for p in PACKAGE.rglob("*.py") if p.name != "__init__.py")


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_one_way(path):
    own = "darksieve." + ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
    upward = [
        name
        for name in _imports(path)
        if name.startswith("darksieve.")
        and _level(name) > _level(own)
        and not name.startswith("darksieve.configs")
    ]
    assert not upward, f"{own} imports from later stages: {upward}"


@pytest.mark.parametrize("stage", STAGES)
def test_each_top_level_stage_is_a_link_to_its_package(stage):
    link = ROOT / stage
    assert link.is_symlink()
    assert os.readlink(link) == f"src/darksieve/{stage}"
    assert link.resolve() == PACKAGE / stage
    assert (link / "__init__.py").is_file()


def test_importing_darksieve_is_light():
    heavy = ("torch", "xgboost", "mlflow", "lightning", "matplotlib", "pandas", "numba")
    code = f"import sys, darksieve, darksieve.cli; print([m for m in {heavy!r} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_mlflow_starts_from_the_root_in_spite_of_the_folder_named_datasets():
    code = "import mlflow.data, mlflow.server; print(mlflow.data.__name__)"
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    out = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, check=False
    )
    assert out.returncode == 0, out.stderr
    assert out.stdout.strip() == "mlflow.data"


def test_the_files_that_tests_begin_with_are_there():
    code = ast.parse((ROOT / "tests" / "conftest.py").read_text())
    (named,) = [n.value for n in code.body if isinstance(n, ast.Assign) and n.targets[0].id == "FIRST"]
    missing = [name for name in ast.literal_eval(named) if not (ROOT / "tests" / name).is_file()]
    assert not missing
