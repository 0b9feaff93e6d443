"""The rooms of the package: what may import what, and how large a file, a function and the whole may be."""

import ast
import io
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "convnova"
LEVELS = ["root", "config", "data", "models simulation evaluation", "training runs", "inference reporting", "cli"]
LEVEL = {room: number for number, rooms in enumerate(LEVELS) for room in rooms.split()}
"""A room imports itself and rooms of lower levels."""

WITH_TENSORS = ("models/", "training/", "inference/", "data/batches.py", "evaluation/predict.py")
MODULES = {".".join(("convnova", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__"): path
           for path in sorted(PACKAGE.rglob("*.py"))}  # fmt: skip
TREES = {name: ast.parse(path.read_text()) for name, path in MODULES.items()}


def imported(name: str) -> Iterator[str]:
    """Every module that a module imports, those inside functions too; of the package's own by the name of a file."""
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: imports are absolute"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in MODULES else str(node.module)


def room_of(name: str) -> str:
    """The room of a module of the package; a package of its own below `convnova` is a room."""
    parts = name.split(".")
    return parts[1] if len(parts) > 1 and (PACKAGE / parts[1]).is_dir() else "root"


def test_the_rooms_are_those_of_the_picture():
    rooms = {room_of(name) for name in MODULES}
    assert rooms <= LEVEL.keys() and rooms >= LEVEL.keys() - {"inference"}


@pytest.mark.parametrize("name", MODULES)
def test_imports_run_one_way_and_none_is_snakemakes(name):
    for other in imported(name):
        assert not other.startswith("snakemake"), f"{name} imports {other}"
        if other.split(".")[0] == "convnova" and room_of(other) != room_of(name):
            assert LEVEL[room_of(other)] < LEVEL[room_of(name)], f"{name} imports {other}, which is not below it"


def test_no_file_imports_in_a_circle():
    own = {name: {other for other in imported(name) if other in MODULES and other != "convnova"} for name in MODULES}
    TopologicalSorter(own).prepare()


def test_torch_is_imported_where_tensors_are():
    at_torch = {name for name in MODULES if any(other.split(".")[0] == "torch" for other in imported(name))}
    places = {str(MODULES[name].relative_to(PACKAGE)) for name in at_torch}
    assert all(place.startswith(WITH_TENSORS) for place in places), sorted(places)


@pytest.mark.parametrize("name", ["cli.main", "runs.outputs", "runs.status", "runs.explain", "reporting.report"])
def test_what_every_job_or_a_user_waits_for_does_not_import_torch(name):
    script = f"import sys, convnova.{name}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0


def code_lines(path: Path) -> set[int]:
    """The lines of a file that are neither blank, nor comment, nor docstring."""
    text, lines = path.read_text(), set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type in (tokenize.NAME, tokenize.NUMBER, tokenize.STRING, tokenize.OP, tokenize.FSTRING_MIDDLE
                          if hasattr(tokenize, "FSTRING_MIDDLE") else tokenize.STRING):  # fmt: skip
            lines |= set(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(text)):
        for part in getattr(node, "body", []) if isinstance(getattr(node, "body", []), list) else []:
            if (
                isinstance(part, ast.Expr)
                and isinstance(part.value, ast.Constant)
                and isinstance(part.value.value, str)
            ):
                lines -= set(range(part.lineno, part.end_lineno + 1))
    return lines


def functions(name: str) -> Iterator[tuple[ast.FunctionDef, int]]:
    """Every function of a module with the number of lines of code of its body."""
    lines = code_lines(MODULES[name])
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.FunctionDef):
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            yield node, len([line for line in lines if body and body[0].lineno <= line <= node.end_lineno])


@pytest.mark.parametrize("name", MODULES)
def test_a_file_is_finished_in_one_reading(name):
    assert len(MODULES[name].read_text().splitlines()) <= 400
    assert [node.name for node, size in functions(name) if size > 60] == []


@pytest.mark.parametrize("name", MODULES)
def test_public_functions_of_several_arguments_say_what_they_are(name):
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            count = sum(argument.arg not in ("self", "cls") for argument in arguments)
            if count >= 3 and not any(part.name.startswith("_") for part in TREES[name].body
                                      if isinstance(part, ast.ClassDef) and node in part.body):  # fmt: skip
                assert "Args:" in (ast.get_docstring(node) or ""), f"{name}.{node.name}"


def test_the_reader_does_not_hop():
    """Few functions of one or two lines."""
    assert (
        sum(size <= 2 and not node.name.startswith("__") for name in MODULES for node, size in functions(name)) <= 229
    )


def test_the_house_stays_small():
    assert sum(len(code_lines(path)) for path in MODULES.values()) <= 13776
