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
    "scripts": {"worldmodel", "recordings", "kernels", "client.making", "client.play", "client.script"},
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


WINGS = (
    *("client.play", "client.window", "client.sessions", "client.serve", "client.web", "client.making"),
    *("worldmodel.data", "worldmodel.engine.host", "worldmodel.engine.cuda", "worldmodel.evaluation.beside_game"),
    *("worldmodel.evaluation.following", "worldmodel.evaluation.metrics", "worldmodel.games", "worldmodel.lab"),
    *("worldmodel.measure", "worldmodel.minecraft", "worldmodel.model", "worldmodel.readers", "worldmodel.training"),
    *("worldmodel.web", "worldmodel.worlds", "recordings", "kernels"),
)
"""Rooms within rooms: of several files each, by whose names an arrow is drawn. Any other file stands for itself."""


def test_wings_are_the_folders():
    for wing in WINGS:
        assert (ROOT / wing.replace(".", "/") / "__init__.py").is_file(), wing


def test_no_arrow_leads_back():
    """Nothing imports, at any time, what imports it: neither a wing another one, nor a file another one."""
    modules = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for room in ROOMS[:-1]
        for path in (ROOT / room).rglob("*.py")
    }

    def wing(module):
        return next((wing for wing in WINGS if module == wing or module.startswith(f"{wing}.")), module)

    arrows = {}
    for module, path in modules.items():
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [f"{node.module}.{alias.name}" for alias in node.names]
                names = [name if name in modules else node.module for name in names]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            for name in names:
                if name in modules and wing(name) != wing(module):
                    arrows.setdefault(wing(module), {}).setdefault(wing(name), f"{module} imports {name}")
    done = set()

    def visit(at, path):
        assert at not in path, " -> ".join([*path[path.index(at) :], at]) + f": {arrows[path[-1]][at]}"
        if at not in done:
            for other in arrows.get(at, ()):
                visit(other, [*path, at])
            done.add(at)

    for start in list(arrows):
        visit(start, [])


def test_pygame_is_in_the_window_alone():
    for path in (ROOT / "client").rglob("*.py"):
        if "window" not in path.relative_to(ROOT).parts:
            assert not [name for name in imports(path) if name.split(".")[0] == "pygame"], path


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
