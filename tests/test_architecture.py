# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""The rules of the house: who may import whom, and how long a module may be."""

import ast
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parents[1]
PACKAGE = ROOT / "dit_jax"
MODULES = sorted(PACKAGE.rglob("*.py"))
FLOOR_1 = {"arrays", "mesh", "record"}
FLOOR_2 = {"layers", "data", "diffusion", "train", "evaluate", "law"}
FLOOR_3 = {"autoencoder", "text", "backbone"}
MAX_LINES = 400


def name_of(path: pathlib.Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path: pathlib.Path) -> set[str]:
    """Every module of this repository that a file imports, at its top or inside a function."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {n if (ROOT / (n.replace(".", "/") + ".py")).exists() else node.module for n in inner}
    return {name for name in found if name.split(".")[0] in ("dit_jax", "configs", "experiments")}


def room(name: str) -> str:
    """The part of the house a module is in: `dit_jax.law.fit` is in `law`."""
    return [*name.split("."), ""][1]


def allowed(importer: str, imported: str) -> bool:
    if imported == importer:
        return True
    if importer in FLOOR_1:
        return False
    if importer in FLOOR_2:
        return imported in FLOOR_1
    if importer in FLOOR_3:
        return imported in FLOOR_1 | {"layers"}
    return True


def breaches(importer: str, names: set[str]) -> list[str]:
    bad = [name for name in names if name.split(".")[0] != "dit_jax"]
    return bad + [name for name in names if not bad and not allowed(room(importer), room(name))]


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_keep_to_the_floors(path):
    assert breaches(name_of(path), imports_of(path)) == []


def test_a_breach_would_be_seen():
    assert breaches("dit_jax.law.fit", {"dit_jax.train.loop"})
    assert breaches("dit_jax.backbone.dit", {"dit_jax.diffusion.path"})
    assert breaches("dit_jax.build", {"configs.quickstart"})
    assert breaches("dit_jax.mesh", {"dit_jax.record"})


def test_no_circles():
    graph = {name_of(path): imports_of(path) for path in MODULES}
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, f"circle: {' -> '.join([*trail, name])}"
        if name not in done:
            for other in graph.get(name, ()):
                visit(other, (*trail, name))
            done.add(name)

    for name in graph:
        visit(name, ())


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_no_module_is_too_long(path):
    assert len(path.read_text().splitlines()) <= MAX_LINES


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_configs_stay_above_build(path):
    below = room(name_of(path)) in FLOOR_1 | FLOOR_2 | FLOOR_3
    assert not (below and re.search(r"^\s*(from|import) ml_collections", path.read_text(), re.M))


def test_every_file_names_its_licence():
    tracked = [*MODULES, *(ROOT / "tests").rglob("*.py"), *(ROOT / "experiments").rglob("*.py")]
    without = [p for p in tracked if "SPDX-License-Identifier: Apache-2.0" not in p.read_text()[:200]]
    assert without == []
