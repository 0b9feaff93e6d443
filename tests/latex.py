"""LaTeX, for tests of what is to be read by it."""

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest


def needs_pdflatex(test: Callable) -> Callable:
    """Mark a test as one of `make test-all`, and skip it where the program is not installed."""
    return pytest.mark.external(pytest.mark.skipif(not shutil.which("pdflatex"), reason="needs pdflatex")(test))


def compiled(texts: list[str], folder: Path) -> None:
    """What LaTeX says of a paper, 5.5 inches wide, that inputs the texts and loads booktabs and graphicx alone.

    An error of LaTeX, and a line or a page too full, fail the test.
    """
    for number, text in enumerate(texts):
        (folder / f"table{number}.tex").write_text(text)
    inputs = [rf"\input{{table{number}.tex}}\clearpage" for number in range(len(texts))]
    head = r"\documentclass{article}\usepackage{booktabs,graphicx}"
    head += r"\setlength{\textwidth}{5.5in}\setlength{\textheight}{9in}"
    (folder / "paper.tex").write_text("\n".join([head, r"\begin{document}", *inputs, r"\end{document}"]))
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, done.stdout
    output = (folder / "paper.log").read_text(errors="replace")
    assert not re.findall("(?:Overfull|Float too large).*", output)
