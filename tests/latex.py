"""LaTeX, for tests of what is to be read by it."""

import shutil
import subprocess
from pathlib import Path

import pytest

needs_pdflatex = pytest.mark.skipif(not shutil.which("pdflatex"), reason="needs pdflatex")


def compiled(texts: list[str], folder: Path) -> str:
    """What LaTeX says of a paper that inputs the texts and loads booktabs alone; an error fails the test."""
    for number, text in enumerate(texts):
        (folder / f"table{number}.tex").write_text(text)
    inputs = [rf"\input{{table{number}.tex}}\clearpage" for number in range(len(texts))]
    head = r"\documentclass{article}\usepackage[margin=1in]{geometry}\usepackage{booktabs}\begin{document}"
    (folder / "paper.tex").write_text("\n".join([head, *inputs, r"\end{document}"]))
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, done.stdout
    return (folder / "paper.log").read_text(errors="replace")
