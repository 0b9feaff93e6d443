"""Saturation mutagenesis: the effect of every substitution in a sequence, and a picture of it."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from convnova.data.dna import LETTERS, decode
from convnova.errors import ConvNovaError
from convnova.files import atomic
from convnova.inference.network import Network
from convnova.log import progress

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

BASES = LETTERS[:4]
COLORS = {"A": "#1b9e77", "C": "#1f78b4", "G": "#e6a700", "T": "#d7301f"}
BASES_AT_ONCE = 1 << 24
"""Of changed sequences in memory."""
INCHES_A_BASE, NARROWEST, WIDEST = 0.13, 6.0, 60.0


@dataclass(frozen=True)
class Effects:
    """What each substitution does to the outputs of a model.

    Attributes:
        sequence: the letters that were changed, one by one.
        start: 0-based place of the first of them in the whole sequence.
        by_output: float32 (length, 4, outputs), output after the substitution by A, C, G or T minus output before; 0
            for the letter that is there, NaN where a masked-language model has none to compare with (N).
        outputs: names of the outputs.
        target: the output that `values` are of.
    """

    sequence: str
    start: int
    by_output: np.ndarray
    outputs: list[str]
    target: str

    @property
    def values(self) -> np.ndarray:
        """Effects on the target, float32 (length, 4) for A, C, G and T."""
        return self.by_output[:, :, self.outputs.index(self.target)]

    def table(self) -> "pandas.DataFrame":
        """A row a base: its place from 0, its letter, and the effects of A, C, G and T on the target."""
        import pandas

        table = pandas.DataFrame(self.values, columns=list(BASES))
        table.insert(0, "position", range(self.start, self.start + len(self.sequence)))
        table.insert(1, "base", list(self.sequence))
        return table

    def plot(self, path: str | Path | None = None) -> "Figure":
        """Draw the letters, as high as the mean effect of changing them is low, over a heat map of all effects.

        Args:
            path: also write the picture here: PNG, SVG or PDF, by the name's ending.
        """
        from matplotlib.figure import Figure

        values = np.nan_to_num(self.values)
        importance = -values.sum(1) / (len(BASES) - 1)  # the letter that is there has effect 0
        width = float(np.clip(INCHES_A_BASE * len(self.sequence), NARROWEST, WIDEST))
        figure = Figure((width, 3.6), layout="constrained")
        letters, heat = figure.subplots(2, 1, sharex=True, height_ratios=[2, 1])
        _draw_letters(letters, self.sequence, importance)
        letters.set_ylabel("importance\n(minus the mean effect)")
        letters.spines[["top", "right"]].set_visible(False)
        largest = np.abs(values).max() or 1.0
        image = heat.imshow(
            values.T, cmap="RdBu_r", vmin=-largest, vmax=largest, aspect="auto", interpolation="nearest"
        )
        here = [BASES.find(letter) for letter in self.sequence]
        heat.plot([x for x, y in enumerate(here) if y >= 0], [y for y in here if y >= 0], "k.", markersize=2)
        heat.set_yticks(range(len(BASES)), list(BASES))
        heat.xaxis.set_major_formatter(lambda x, _: f"{x + self.start:.0f}")
        heat.set_xlabel("position (from 0); dots: the sequence itself")
        figure.colorbar(image, ax=heat, label=f"effect on\n{self.target}", pad=0.01)
        if path is not None:
            with atomic(path) as temporary:
                figure.savefig(temporary, format=Path(path).suffix[1:], dpi=200)
        return figure


def _draw_letters(axes: Any, sequence: str, heights: np.ndarray) -> None:
    """Letters side by side, each from 0 to its height; below 0 they hang upside up."""
    from matplotlib.patches import PathPatch
    from matplotlib.textpath import TextPath
    from matplotlib.transforms import Affine2D

    for x, (letter, height) in enumerate(zip(sequence, heights, strict=True)):
        if letter in COLORS and height:
            path = TextPath((0, 0), letter, size=1, prop={"family": "DejaVu Sans", "weight": "bold"})
            box = path.get_extents()
            scale = Affine2D().translate(-box.x0, -box.y0).scale(0.92 / box.width, abs(height) / box.height)
            place = scale.translate(x - 0.46, min(0.0, height))
            axes.add_patch(PathPatch(place.transform_path(path), facecolor=COLORS[letter], linewidth=0))
    axes.axhline(0, color="0.4", linewidth=0.6)
    low, high = min(0.0, float(heights.min())), max(0.0, float(heights.max()))
    margin = 0.05 * ((high - low) or 1.0)
    axes.set_xlim(-0.6, len(sequence) - 0.4)
    axes.set_ylim(low - margin, high + margin)


def effects(
    network: Network, tokens: np.ndarray, places: range, names: list[str], target: str | None, strands: str
) -> Effects:
    """Change every base of a part of a sequence to every other one.

    Args:
        network: a masked-language model or a fine-tuned network.
        tokens: uint8 (length,).
        places: which bases are changed.
        names: of the outputs.
        target: the output that `values` are of; default the one that is largest before any change.
        strands: `both` for the mean over the sequence and its reverse complement.

    Raises:
        ConvNovaError: no places.
    """
    if not len(places):
        raise ConvNovaError(
            f"start and end: expected a part of the sequence of {len(tokens):,} bases, found none of it"
        )
    by_output = np.empty((len(places), len(BASES), len(names)), np.float32)
    at_once = max(1, BASES_AT_ONCE // (len(BASES) * len(tokens)))
    with progress("changing bases", len(places), "bases") as bar:
        for first in range(0, len(places), at_once):
            part = places[first : first + at_once]
            change = _of_letters if network.kind == "masked" else _of_logits
            by_output[first : first + len(part)] = change(network, tokens, part, strands)
            bar.update(len(part))
    if target is None:
        target = names[0]
        if network.kind != "masked":
            target = names[int(network.logits([tokens], [places[len(places) // 2]], strands)[0].argmax())]
    return Effects(decode(tokens[places.start : places.stop]), places.start, by_output, names, target)


def _of_letters(network: Network, tokens: np.ndarray, places: range, strands: str) -> np.ndarray:
    """Log-likelihood ratios (places, 4, 1) of each letter and the one that is there, whose place is masked."""
    letters = np.stack(network.letters([tokens] * len(places), [range(i, i + 1) for i in places], strands))[:, 0]
    here = np.append(letters, np.full((len(places), 1), np.nan), 1)[
        range(len(places)), tokens[places.start : places.stop]
    ]
    return (letters - here[:, None])[:, :, None]


def _of_logits(network: Network, tokens: np.ndarray, places: range, strands: str) -> np.ndarray:
    """Changes of the logits (places, 4, outputs); of a model of single bases, those of the base that is changed."""
    changes = [(row, letter) for row, place in enumerate(places) for letter in range(4) if letter != tokens[place]]
    rows, letters = np.array(changes).T
    changed = np.repeat(tokens[None], len(changes), 0)
    changed[range(len(changes)), places.start + rows] = letters
    after = network.logits(list(changed), places.start + rows, strands)
    once = 1 if network.kind != "per_base" else len(places)
    before = network.logits([tokens] * once, places, strands)
    result = np.zeros((len(places), len(BASES), after.shape[1]), np.float32)
    result[rows, letters] = after - np.broadcast_to(before, (len(places), after.shape[1]))[rows]
    return result
