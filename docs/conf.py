"""The documentation: `make docs` builds it into docs/_build/html, without a network."""

from pathlib import Path

from sphinx.application import Sphinx

import convnova
from convnova.cli.main import parser

project = "convnova"
author = "the convnova authors"
release = version = convnova.__version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
templates_path: list[str] = []

html_theme = "furo"
html_title = f"convnova {version}"
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3  # links to headings, as on GitHub
nb_execution_mode = "off"  # the notebook is stored with its outputs; a test executes it
autodoc_typehints = "description"
autodoc_member_order = "bysource"
napoleon_google_docstring = True
nitpicky = False


def write_commands(app: Sphinx) -> None:
    """Write the reference of the command line from the parser itself, a section a command."""
    top = parser()
    commands = next(action for action in top._actions if action.dest == "command").choices
    text = (
        "# Command line\n\nEvery step of the pipeline is one command. `convnova COMMAND --help` prints the same text.\n"
    )
    for name, command in commands.items():
        text += f"\n## {name}\n\n```text\n{command.format_help()}```\n"
    Path(app.srcdir, "commands.md").write_text(text)


def setup(app: Sphinx) -> None:
    """Called by Sphinx when it begins."""
    app.connect("builder-inited", write_commands)
