"""The rooms may only import along the arrows of the design."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("kernels", "worldmodel", "recordings", "client", "scripts")
ALLOWED = {
    "kernels": set(),
    "worldmodel": {"kernels"},
    "recordings": {"worldmodel.types"},
    "client": {"worldmodel", "recordings", "kernels.sampling"},
    "scripts": {"worldmodel", "recordings", "kernels", "client.making", "client.play"},
}
FORBIDDEN_LIBRARIES = {"recordings": {"torch", "cupy", "pygame"}, "kernels": {"pygame"}, "worldmodel": {"pygame"}}


def imports(path):
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


@pytest.mark.parametrize("room", ROOMS)
def test_imports_follow_the_arrows(room):
    files = sorted((ROOT / room).rglob("*.py"))
    assert files
    for path in files:
        for name in imports(path):
            top = name.split(".")[0]
            where = f"{path.relative_to(ROOT)} imports {name}"
            assert top not in FORBIDDEN_LIBRARIES.get(room, ()), where
            assert top != "tests", where
            if top in ROOMS and top != room:
                assert any(name == allowed or name.startswith(allowed + ".") for allowed in ALLOWED[room]), where


def test_nothing_dangerous():
    """No unpickling, no eval, no shell: anywhere in the code."""
    for room in ROOMS:
        for path in (ROOT / room).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if not isinstance(node, ast.Call):
                    continue
                where = f"{path.relative_to(ROOT)}:{node.lineno}"
                if isinstance(node.func, ast.Name):
                    assert node.func.id not in {"eval", "exec"}, where
                keywords = {k.arg: getattr(k.value, "value", None) for k in node.keywords}
                assert keywords.get("shell") is not True, where
                assert keywords.get("allow_pickle") is not True, where
                if ast.unparse(node.func) == "torch.load":
                    assert keywords.get("weights_only") is True, where
