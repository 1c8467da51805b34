"""Every module has a test file of its name, or a test whose docstring names the module it covers."""

import ast
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGES = ("imc_cli", "imc_common", "imc_edge", "imc_worker")
WIRING = {"__init__.py", "__main__.py"}
"""Packages and entry points: the tests that start processes run them."""


def test_every_module_is_covered_by_a_test_of_its_name_or_by_a_docstring_that_names_it() -> None:
    """A reader of a module finds its tests without searching."""
    tests = list((ROOT / "tests").rglob("test_*.py"))
    names = {path.name.removeprefix("test_") for path in tests}
    docstrings = " ".join(ast.get_docstring(ast.parse(path.read_text())) or "" for path in tests)
    words = set(docstrings.replace(",", " ").replace("`", " ").replace("/", " ").split())
    words |= {word.rstrip(".:;") for word in words}
    modules = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    uncovered = [
        str(path.relative_to(ROOT))
        for path in modules
        if path.name not in WIRING | names and path.name not in words
    ]
    assert uncovered == []


def test_no_two_classes_have_the_same_name() -> None:
    """One word means one thing, so a search for a class finds one."""
    paths = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    names = [
        node.name
        for path in paths
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef)
    ]
    assert sorted({name for name in names if names.count(name) > 1}) == []
