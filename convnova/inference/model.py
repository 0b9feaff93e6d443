"""A trained model in hand: what `convnova.load` gives."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from convnova.errors import ConvNovaError
from convnova.inference.network import Network, sequences_of
from convnova.inference.sequences import read_sequences
from convnova.log import log

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class Model:
    """A trained model.

    Attributes:
        network: the network and how it is run.
        about: what is known of it: architecture, settings, task, scores, provenance; of weights that this package
            wrote, the JSON beside them.
        path: where it was loaded from.
    """

    network: Network = field(repr=False)
    about: dict[str, Any] = field(repr=False)
    path: str

    def __str__(self) -> str:
        about, kind = self.about, self.network.kind
        size = sum(parameter.numel() for parameter in self.network.module.parameters())
        text = f"{about['architecture']}, {size:,} parameters, from {self.path}: "
        if kind in ("masked", "features"):
            return text + ("a masked-language model" if kind == "masked" else "features without a head")
        score = about[about["metric"]]
        return (
            f"{text}{kind} {', '.join(self.outputs)} of {about['suite']}/{about['task']}, {about['metric']} {score:.3f}"
        )

    @property
    def outputs(self) -> list[str]:
        """Names of the classes or labels, in the order of the network's outputs; of a masked-language model none."""
        count = self.about.get("network", {}).get("outputs", 0)
        return self.about.get("classes") or [f"label {number}" for number in range(count)]

    def embed(
        self, sequences: Any, per_base: bool = False, genome: str | Path | None = None
    ) -> "np.ndarray | list[np.ndarray]":
        """The numbers that stand for each sequence: what the model's last layer reads.

        Args:
            sequences: a list of letters, a file or tokens; see `inference.sequences.read_sequences`.
            per_base: those of every base in place of the sequence's own.
            genome: a FASTA or the folder of a tokenized genome; for BED.

        Returns:
            float32 (n, width); with `per_base` a list of (length, width).

        Raises:
            ConvNovaError: sequences that are wrong or too long, or an architecture without features.
        """
        embeddings = self.network.embeddings(sequences_of(read_sequences(sequences, genome)[1]), per_base)
        return embeddings if per_base else np.stack(embeddings)

    def predict(
        self, sequences: Any, genome: str | Path | None = None, strands: str | None = None
    ) -> "pandas.DataFrame":
        """Predictions of a fine-tuned model, as the pipeline makes them for test rows.

        Args:
            sequences: a list of letters, a file or tokens; see `inference.sequences.read_sequences`. A sequence longer
                than the task's `max_length` is read up to that, and the log says how many are.
            genome: a FASTA or the folder of a tokenized genome; for BED.
            strands: `both` for the mean over a sequence and its reverse complement, or `forward`; default as the
                model's scores were made.

        Returns:
            A row a sequence: `name`, and the probability of each class or label; of a model of bases, in the column
            `predicted`, the ids of the most probable classes, uint8 (length,).

        Raises:
            ConvNovaError: sequences that are wrong or too long, or a model that was not fine-tuned.
        """
        import pandas

        if self.network.kind in ("masked", "features"):
            raise ConvNovaError(f"{self.path}: expected a fine-tuned model to predict with, found one without a task")
        names, tokens = read_sequences(sequences, genome)
        longest = self.about["max_length"]
        if cut := sum(len(sequence) > longest for sequence in tokens) if longest else 0:
            log(f"{cut:,} sequences longer than {longest:,} bases are read up to that, as in training")
        results = self.network.probabilities(sequences_of(tokens, longest), self.strands(strands))
        if self.network.kind == "per_base":
            return pandas.DataFrame({"name": names, "predicted": results})
        table = pandas.DataFrame(np.stack(results), columns=self.outputs)
        table.insert(0, "name", names, allow_duplicates=True)
        return table

    def strands(self, strands: str | None) -> str:
        """The strands that are read: those asked for, or those that the model's scores were made with."""
        known = ("forward",) if self.network.kind == "per_base" else ("forward", "both")
        chosen = strands or self.about.get("strands", "forward")
        if chosen not in known:
            raise ConvNovaError(
                f"strands = {chosen!r}: expected {' or '.join(known)} of a model of {self.network.kind}"
            )
        return chosen
