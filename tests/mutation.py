"""Small faults, put into the code one at a time: which of them do the tests notice?

    python tests/mutation.py --count 40 --seed 1                        of this checkout
    python tests/mutation.py --count 40 --seed 1 --before FOLDER        and of another one, fault by fault

A fault is one of four kinds: a comparison turned round, a constant changed, a line dropped, two arguments swapped. They
are drawn by the seed, as many in each room. With `--before`, only statements are drawn that both checkouts have word
for word, so that the same fault is put into both. Each fault runs the test files that import its module, then those of
its room, until one fails. Nothing is written to the checkouts: they are copied.
"""

import argparse
import ast
import copy
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

KINDS = ("comparison", "constant", "dropped line", "swapped arguments")
OPPOSITES = {ast.Lt: ast.GtE, ast.GtE: ast.Lt, ast.Gt: ast.LtE, ast.LtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq}
OPPOSITES |= {ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is}
SECONDS = 600


@dataclass(frozen=True)
class Statement:
    """A simple statement, or the head of a compound one, inside a function."""

    path: Path
    function: str
    node: ast.stmt

    @property
    def text(self) -> str:
        return ast.unparse(self.node).strip()


def statements(package: Path) -> Iterator[Statement]:
    """Every statement inside a function of a package, docstrings left out."""
    for path in sorted(package.rglob("*.py")):
        for function in ast.walk(ast.parse(path.read_text())):
            if isinstance(function, ast.FunctionDef):
                for node in ast.walk(function):
                    is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
                    if isinstance(node, (ast.Assign, ast.AugAssign, ast.Expr, ast.Return)) and not is_text:
                        yield Statement(path, function.name, node)


def faulty(statement: ast.stmt, kind: str, rng: random.Random) -> ast.stmt | None:
    """The statement with a fault of that kind; None if there is no place for one in it."""
    changed = copy.deepcopy(statement)
    places = [node for node in ast.walk(changed) if _fits(node, kind)]
    if kind == "dropped line":
        return ast.Pass() if isinstance(statement, (ast.Expr, ast.AugAssign)) else None
    if not places:
        return None
    node = rng.choice(places)
    if kind == "comparison":
        node.ops = [OPPOSITES[type(node.ops[0])](), *node.ops[1:]]
    elif kind == "constant":
        node.value = not node.value if isinstance(node.value, bool) else node.value + 1
    else:
        node.args[0], node.args[1] = node.args[1], node.args[0]
    return changed


def _fits(node: ast.AST, kind: str) -> bool:
    if kind == "comparison":
        return isinstance(node, ast.Compare) and type(node.ops[0]) in OPPOSITES
    if kind == "constant":
        return isinstance(node, ast.Constant) and isinstance(node.value, (bool, int, float))
    swappable = isinstance(node, ast.Call) and len(node.args) > 1
    return swappable and not any(isinstance(arg, ast.Starred) for arg in node.args[:2])


def room_of(package: Path, path: Path) -> str:
    """The folder of a module inside the package; `root` for what lies in none."""
    parts = path.relative_to(package).parts
    return parts[0] if len(parts) > 1 else "root"


def draw(
    checkout: Path, before: Path | None, count: int, seed: int
) -> list[tuple[Statement, Statement | None, ast.stmt, str]]:
    """Faults, as many in each room and of each kind: statement here, the same in `before`, with the fault, kind."""
    rng, package = random.Random(seed), checkout / "convnova"
    here = list(statements(package))
    there: dict[str, list[Statement]] = {}
    for statement in statements(before / "convnova") if before else ():
        there.setdefault(statement.text, []).append(statement)
    texts = [statement.text for statement in here]
    rooms: dict[str, list[Statement]] = {}
    for statement in here:
        unique = texts.count(statement.text) == 1
        if unique and (before is None or len(there.get(statement.text, [])) == 1):
            rooms.setdefault(room_of(package, statement.path), []).append(statement)
    faults = []
    for number in range(count):
        room = sorted(rooms)[number % len(rooms)]
        kind = KINDS[(number // len(rooms)) % len(KINDS)]
        candidates = rooms[room][:]
        rng.shuffle(candidates)
        for statement in candidates:
            changed = faulty(statement.node, kind, rng)
            if changed is not None and all(statement is not fault[0] for fault in faults):
                same = there[statement.text][0] if before else None
                faults.append((statement, same, changed, kind))
                break
    return faults


def put(statement: Statement, changed: ast.stmt, checkout: Path, copied: Path) -> Path:
    """Write the module with the fault into the copy of the checkout; returns its path there."""
    path = copied / statement.path.relative_to(checkout)
    lines = statement.path.read_text().splitlines(keepends=True)
    node = statement.node
    first, last = lines[node.lineno - 1], lines[node.end_lineno - 1]
    head = first.encode()[: node.col_offset].decode()
    tail = last.encode()[node.end_col_offset :].decode()
    text = ast.unparse(changed).replace("\n", "\n" + " " * node.col_offset)
    path.write_text("".join([*lines[: node.lineno - 1], head + text + tail, *lines[node.end_lineno :]]))
    return path


def tests_of(checkout: Path, module: Path) -> list[list[str]]:
    """Test files that import the module, and then the others of its room."""
    name = ".".join(module.relative_to(checkout).with_suffix("").parts).removesuffix(".__init__")
    parent, _, last = name.rpartition(".")
    files = [path for path in sorted((checkout / "tests").rglob("test_*.py")) if "slurm" not in path.parts]
    direct = []
    for path in files:
        text = path.read_text()
        if f"{name} import" in text or f"{name}." in text or f"from {parent} import {last}" in text:
            direct.append(path)
    room = module.relative_to(checkout / "convnova").parts[0]
    others = [path for path in files if room in path.parts and path not in direct]
    if not others:  # a checkout without rooms among its tests: those whose name has a word of the module's
        words = set(last.split("_"))
        others = [path for path in files if words & set(path.stem.split("_")) and path not in direct]
    return [[str(path.relative_to(checkout)) for path in part] for part in (direct, others) if part]


def caught(checkout: Path, statement: Statement, changed: ast.stmt, python: str) -> str:
    """The name of the first test that fails with the fault; empty if none does."""
    with tempfile.TemporaryDirectory() as folder:
        copied = Path(folder, "checkout")
        names = shutil.ignore_patterns(".git", ".venv", ".snakemake", "results", "resources", "__pycache__")
        shutil.copytree(checkout, copied, ignore=names, symlinks=True)
        if (checkout.parent / "shared").is_dir():
            Path(folder, "shared").symlink_to((checkout.parent / "shared").resolve())
        put(statement, changed, checkout, copied)
        environment = os.environ | {"PYTHONPATH": str(copied), "PYTHONDONTWRITEBYTECODE": "1"}
        for files in tests_of(checkout, statement.path):
            words = [python, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-rf", "--no-header", *files]
            try:
                done = subprocess.run(
                    words, cwd=copied, env=environment, capture_output=True, text=True, timeout=SECONDS
                )
            except subprocess.TimeoutExpired:
                return "time limit"
            if done.returncode not in (0, 5):
                failed = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
                return failed[0].split()[1] if failed else "collection"
    return ""


def main() -> int:
    """Draw faults, run tests, print a line a fault; exit code 1 if one that was caught before is not caught now."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--before", type=Path, metavar="FOLDER", help="another checkout of this project")
    parser.add_argument(
        "--python-before", default=sys.executable, metavar="FILE", help="the interpreter to test it with"
    )
    parser.add_argument("--list", action="store_true", help="print the faults and run nothing")
    options = parser.parse_args()
    checkout = Path(__file__).resolve().parents[1]
    before = options.before.resolve() if options.before else None
    lost = survivors = 0
    for number, (statement, same, changed, kind) in enumerate(draw(checkout, before, options.count, options.seed), 1):
        place = f"{statement.path.relative_to(checkout)}:{statement.node.lineno}"
        print(f"{number:3} {kind:18} {place:52} {statement.text[:70]!r} -> {ast.unparse(changed)[:70]!r}", flush=True)
        if options.list:
            continue
        now = caught(checkout, statement, changed, sys.executable)
        then = caught(before, same, changed, options.python_before) if before and same and not now else ""
        survivors, lost = survivors + (not now), lost + bool(then and not now)
        print(f"    {'caught by ' + now if now else 'NOT caught'}{'; before by ' + then if then else ''}", flush=True)
    print(f"{survivors} not caught, {lost} of them caught before")
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
