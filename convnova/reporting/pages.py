"""Self-contained HTML: templates with named holes, one style for all pages, tables that sort at a click."""

import html
import re
from importlib.resources import files

WARNING = "<p class=warning><strong>Simulated genome.</strong> Not comparable with the paper.</p>"


def fill(template: str, parts: dict[str, str]) -> str:
    """A template of this package with its holes filled.

    Args:
        parts: what stands for `{{NAME}}`; `{{page.css}}`, a name with a dot, is another file of this package.
    """
    return re.sub(
        r"\{\{([\w.]+)\}\}", lambda hole: parts[hole[1]] if hole[1] in parts else _file(hole[1]), _file(template)
    )


def _file(name: str) -> str:
    return files("convnova.reporting").joinpath("templates", name).read_text(encoding="utf-8").rstrip("\n")


def sortable(name: str, head: str, body: str) -> str:
    """A table that scrolls in itself and sorts at a click on a head.

    Args:
        name: of the table; its summary and its caption have the ids `<name>-summary` and `<name>-caption`.
        head: rows, with a button in each cell of the last. Two first columns sort as text, the others by `data-value`.
        body: rows.
    """
    return (
        f'<div class="scroll" role="region" aria-labelledby="{name}-caption" tabindex="0">\n'
        f'<table class="sortable" aria-describedby="{name}-summary">\n'
        f"<thead>\n{head}\n</thead>\n<tbody>\n{body}\n</tbody>\n</table>\n</div>"
    )


def escape(text: str) -> str:
    """Text as HTML."""
    return html.escape(str(text))


def breakable(text: str) -> str:
    """A name as HTML that may be broken after underscores."""
    return escape(text).replace("_", "_<wbr>")
