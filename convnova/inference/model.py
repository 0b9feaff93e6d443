"""A trained model in hand: what `convnova.load` gives."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from convnova import __version__
from convnova.errors import ConvNovaError, nearest
from convnova.inference.export import export
from convnova.inference.mutagenesis import Effects, effects
from convnova.inference.network import Network, sequences_of
from convnova.inference.one_hot import OneHot
from convnova.inference.sequences import read_sequences
from convnova.inference.variants import LLR, scored_lines, table_of, write_vcf
from convnova.log import log

if TYPE_CHECKING:
    import pandas

DEFAULT_WINDOW = 1024
"""Bases, where nothing is known of the training."""


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
        """Names of the classes, labels or targets, in the order of the network's outputs; of a masked-language model
        none."""
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
        return self.network.embeddings(sequences_of(read_sequences(sequences, genome)[1]), per_base)

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
            A row a sequence: `name`, and the probability of each class or label, or each number in the units of the
            training rows; of a model of bases, in the column `predicted`, the ids of the most probable classes, uint8
            (length,), and of a model of bins there their numbers, float64 (bins,).

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
        if self.network.kind == "per_base" or self.network.numbers and self.network.numbers.bin_size:
            return pandas.DataFrame({"name": names, "predicted": results})
        table = pandas.DataFrame(np.stack(results), columns=self.outputs)
        table.insert(0, "name", names, allow_duplicates=True)
        return table

    def score_variants(
        self,
        vcf: str | Path,
        genome: str | Path,
        window: int | None = None,
        strands: str | None = None,
        strict: bool = False,
        out: str | Path | None = None,
    ) -> "pandas.DataFrame | None":
        """Scores of the variants of a VCF: of a masked-language model the log-likelihood ratio of the alternative
        allele and the reference, of a fine-tuned model the change of each class's or label's logit, of numbers the
        change of each, or of its natural logarithm where the loss is Poisson's.

        Several alternative alleles of a line are scored one by one. An allele is not scored, and counted in the log,
        where the VCF's REF is not what the genome has, where the place is not in the genome, where it is symbolic, or
        where it is longer than half a window. At the end of a chromosome the variant is off the window's middle.

        Args:
            vcf: plain, gzip or bgzip.
            genome: a FASTA or the folder of a tokenized genome.
            window: bases that are read around a variant; default as in training.
            strands: `both` for the mean over a window and its reverse complement; default as of `predict`.
            strict: refuse a VCF that does not fit the genome, in place of leaving alleles without a score.
            out: write the VCF to this file, with the scores in INFO, in place of a table in memory.

        Returns:
            A row an alternative allele: `chrom`, `pos` (from 1), `id`, `ref`, `alt`, `LLR` or a column a class or
            label, and under `skipped` why an allele has no score.

        Raises:
            ConvNovaError: no VCF, no genome, a window that the model cannot read.
        """
        if self.network.kind == "features":
            raise ConvNovaError(f"{self.path}: expected a model with a head to score variants with, found none")
        window, strands = self.window(window), self.strands(strands)
        names = [LLR] if self.network.kind == "masked" else self.outputs
        scored = scored_lines(self.network, Path(vcf), Path(genome), window, strands, strict)
        if out is None:
            return table_of(scored, names)
        made_by = f"<version={__version__},model={self.path},genome={genome},window={window},strands={strands}>"
        write_vcf(scored, names, made_by, Path(out))
        return None

    def mutagenesis(
        self,
        sequence: str,
        start: int = 0,
        end: int | None = None,
        target: str | None = None,
        strands: str | None = None,
    ) -> Effects:
        """The effect of every substitution in a sequence: of a masked-language model the log-likelihood ratio at the
        masked base, of a fine-tuned model the change of a class's or label's logit, or of a number as of
        `score_variants`.

        Args:
            sequence: in letters.
            start, end: which part of it is changed, 0-based and half-open; default all. The model reads all of it.
            target: the class or label; default the one with the largest logit.
            strands: `both` for the mean over the sequence and its reverse complement; default as of `predict`.

        Returns:
            `values`, (length, 4) for A, C, G and T, and `plot()`: see `inference.mutagenesis.Effects`.

        Raises:
            ConvNovaError: no sequence, a part that lies outside, an unknown class, or a model without a head.
        """
        if self.network.kind == "features":
            raise ConvNovaError(f"{self.path}: expected a model with a head, found none")
        (tokens,) = read_sequences([sequence])[1]
        names = ["log-likelihood ratio"] if self.network.kind == "masked" else self.outputs
        if target is not None and target not in names:
            raise ConvNovaError(f"target {target!r}: {nearest(target, names)}")
        return effects(self.network, tokens, range(len(tokens))[start:end], names, target, self.strands(strands))

    def one_hot(self) -> OneHot:
        """The network as a module that reads one-hot letters (n, 4, length), for tangermeme and captum."""
        return OneHot(self.network.module, self.network.padding)

    def export(self, folder: str | Path) -> None:
        """Write the model to a new folder as Hugging Face's `transformers` loads it, with `trust_remote_code=True` and
        without this package: weights, settings, the model's code, a tokenizer and a model card.

        Args:
            folder: a new or an empty one.

        Raises:
            ConvNovaError: another architecture than ConvNova, or a folder with files.
        """
        export(self.network, self.about, self.outputs, folder)

    def window(self, window: int | None) -> int:
        """Bases around a variant: those asked for, or those of a training sequence.

        Raises:
            ConvNovaError: fewer than 2, or more than the model can read.
        """
        about, longest = self.about, self.network.longest
        trained = about.get("network", about.get("pretraining", {})).get("length", DEFAULT_WINDOW)
        window = window or min(trained, longest or trained)
        if window < 2 or window > (longest or window):
            raise ConvNovaError(f"window = {window}: expected 2 to {longest or 'any number of'} bases for this model")
        return window

    def strands(self, strands: str | None) -> str:
        """The strands that are read: those asked for, or those that the model's scores were made with."""
        known = ("forward",) if self.network.kind == "per_base" else ("forward", "both")
        chosen = strands or self.about.get("strands", "forward")
        if chosen not in known:
            raise ConvNovaError(
                f"strands = {chosen!r}: expected {' or '.join(known)} of a model of {self.network.kind}"
            )
        return chosen
