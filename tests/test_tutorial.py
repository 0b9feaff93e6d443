"""The tutorial: a notebook that runs, whose stored outputs are those of a run without a fault."""

import re
import shlex
import subprocess

import nbclient
import nbformat
import pytest
from own_run import ENVIRONMENT, PIPED, ROOT

NOTEBOOK = ROOT / "docs/tutorial.ipynb"
CHECKS = """
assert importance[inside].mean() > 0.02 > 5 * importance[~inside].mean(), "the planted motifs are what is read"
assert means[0] < 0.2 and means[-1] > 0.8 and np.corrcoef(counts, means)[0, 1] > 0.8
assert score[inside].mean() < score[~inside].mean() - 0.05
assert np.sign(vectors[classes == "0", 0].mean()) != np.sign(vectors[classes == "1", 0].mean())
assert (predictions[model.outputs].idxmax(axis=1) == classes).mean() > 0.9
assert np.abs(stored - predictions[model.outputs]).max().max() < 1e-6
"""
"""What the text of the notebook says of its outputs; they differ a little from machine to machine."""


def test_the_stored_outputs_are_of_one_run_without_a_fault():
    cells = [cell for cell in nbformat.read(NOTEBOOK, 4).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert {output.output_type for output in outputs} == {"stream", "display_data", "execute_result"}
    assert all(output.name == "stdout" for output in outputs if output.output_type == "stream")
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 4
    assert NOTEBOOK.stat().st_size < 400_000 and not re.search(r"/(?:home|root|tmp|work)/", NOTEBOOK.read_text())


@pytest.mark.slow
def test_the_tutorial_runs_and_shows_what_it_says(tmp_path):
    """On the part of the embedded run that its first command makes."""
    notebook = nbformat.read(NOTEBOOK, 4)
    command = re.search(r"```bash\n(snakemake .*)\n```", notebook.cells[0].source)[1]
    words = [*shlex.split(command), "--configfile", str(ROOT / "config/config.yaml"), "--directory", str(tmp_path)]
    done = subprocess.run(words, cwd=ROOT, env=ENVIRONMENT, **PIPED)
    assert done.returncode == 0, done.stdout
    notebook.cells.append(nbformat.v4.new_code_cell(CHECKS))
    client = nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}})
    client.execute(env=ENVIRONMENT)
