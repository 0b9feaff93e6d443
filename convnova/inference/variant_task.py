"""A task of variants: one model and one score give a number a variant, and one set of scores.

    minus_llr   log P(reference) - log P(alternative) of a masked-language model, at the masked place
    abs_llr     the same without its sign, where it is not known which allele is the rarer one
    distance    Euclidean, between the embeddings of all bases of the two windows; behind an insertion or deletion a
                base is compared with the one that took its place
    effect      how far the outputs of a fine-tuned model move: the length of the change of its numbers or logits, of
                classes without what they change together, which probabilities do not see

Each is the mean over both strands, except the outputs of a task that is predicted from one.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from convnova.config.run import BASELINE_OF_VARIANTS, Job, RunConfig
from convnova.config.schema import METRICS_OF
from convnova.data.array_file import read_arrays, read_metadata
from convnova.data.dna import N, decode, reverse_complement
from convnova.data.indexed_fasta import open_genome
from convnova.data.vcf import Variant
from convnova.errors import ConvNovaError
from convnova.evaluation import variant_metrics
from convnova.evaluation.metrics_file import PREDICTIONS, write_metrics
from convnova.evaluation.prediction_file import column, write_columns
from convnova.inference.load import load
from convnova.inference.model import Model
from convnova.inference.network import sequences_of
from convnova.inference.variants import BASES, LINES, Skipped, Window, differences, windows_of
from convnova.log import log, progress
from convnova.models import configure, receptive_field, variant_baseline
from convnova.training.provenance import Provenance

DISTANCES_AT_ONCE = 64
"""Pairs of windows whose embeddings of all bases are in memory together."""


@dataclass(frozen=True)
class Variants:
    """The variants of a tokenized task, in the order of its file; every array has a row a variant.

    Attributes:
        path: the file.
        alleles: tokens of the reference and of the alternative allele.
        chromosomes: their names, in the order of the numbers below.
        chromosome, start: where the reference allele begins, from 0.
        gene: bases to the nearest gene; negative where that is not known.
        labels: 0 or 1.
    """

    path: Path
    alleles: list[tuple[np.ndarray, np.ndarray]]
    chromosomes: list[str]
    chromosome: np.ndarray
    start: np.ndarray
    gene: np.ndarray
    labels: np.ndarray

    def windows(self, genome: Path, window: int) -> Iterator[list[tuple[Window, Window]]]:
        """Yield the windows with the reference and with the alternative, some variants at a time.

        Args:
            genome: a FASTA or the folder of a tokenized genome.
            window: bases of a window.

        Raises:
            ConvNovaError: an allele that is longer than half the window, or another genome.
        """
        tokens, pairs = open_genome(genome), []
        lengths = {name: len(tokens[name]) for name in tokens}
        for row, (ref, alt) in enumerate(self.alleles):
            chrom, start = self.chromosomes[self.chromosome[row]], int(self.start[row])
            place = Variant(f"{self.path} row {row + 1}", [chrom, str(start + 1)], start, decode(ref), [decode(alt)])
            pair = windows_of(place, decode(alt), tokens, lengths, window)
            if isinstance(pair, Skipped):
                raise ConvNovaError(pair.message)
            pairs.append(pair)
            if len(pairs) == max(1, min(LINES, BASES // window)):
                yield pairs
                pairs = []
        if pairs:
            yield pairs


def read_variants(path: Path) -> Variants:
    """Read a tokenized task of variants.

    Raises:
        ConvNovaError: the file is missing, or holds no variants.
    """
    arrays, metadata = read_arrays(path), read_metadata(path)
    if metadata.get("kind") != "variants":
        raise ConvNovaError(f"{path}: expected a tokenized task of variants, found another file; make it again")
    columns = {name.removeprefix("test."): np.asarray(array) for name, array in arrays.items()}
    rows = zip(np.split(columns["tokens"], columns["offsets"][1:-1]), columns["ref"], strict=True)
    alleles = [(tokens[:length], tokens[length:]) for tokens, length in rows]
    kept = {name: columns[name] for name in ("chromosome", "start", "gene", "labels")}
    return Variants(Path(path), alleles, metadata["chromosomes"], **kept)


def score_task(
    config: RunConfig,
    job: Job,
    dataset: Path,
    genome: Path,
    out: Path,
    weights: Path | None = None,
    provenance: Provenance | None = None,
) -> dict[str, Any]:
    """Score a task's variants by a model and write `metrics.json` and `predictions.parquet` to `out`.

    Args:
        config: the run.
        job: one of `config.jobs()`, of a task of variants.
        dataset: the tokenized task.
        genome: a FASTA or the folder of a tokenized genome.
        out: folder for the results.
        weights: of the pretrained or the fine-tuned model; the baseline has none.
        provenance: what the result is made from.

    Returns:
        The content of `metrics.json`, without its checksums.

    Raises:
        ConvNovaError: weights that are missing, or a model that cannot give this score.
    """
    began, provenance = time.monotonic(), provenance or Provenance()
    task, about, rows = config.task(job), config.models[job.model], read_variants(dataset)
    strands, parameters, precision = config.strands(job.model, job.suite, job.task), 0, "float32"
    settings = config.settings(job.model, job.suite, job.task)
    if about.architecture == BASELINE_OF_VARIANTS:
        scores = _by_baseline(rows, genome, configure(about.architecture, settings).penalty)
    elif weights is None:
        raise ConvNovaError(f"{job.model}: expected the weights of a model to score variants with, found none")
    else:
        model = load(weights)
        parameters = sum(parameter.numel() for parameter in model.network.module.parameters())
        precision, settings = model.network.precision, model.about["settings"]
        scores = by_model(model, rows, genome, task.score or "", task.window, strands)
    metrics = {
        **job._asdict(),
        "architecture": about.architecture,
        "settings": settings,
        "receptive_field": receptive_field(about.architecture, settings, task.kind),
        "simulated": config.simulated,
        "metric": task.metric,
        "variant_score": task.score,
        "fine_tuned": task.fine_tuned,
        **variant_metrics.score(rows.labels, scores, rows.chromosome),
        "interval": variant_metrics.interval(rows.labels, scores, rows.chromosome, task.metric),
        "strands": strands,
        "best_epoch": None,
        "epochs": [],
        "per_batch": None,
        "parameters": parameters,
        "rows": {"test": len(rows.labels)},
        "seconds": round(time.monotonic() - began, 3),
        "provenance": provenance.describe(precision, []),
    }
    columns = {"row": np.arange(len(scores)), "label": np.asarray(rows.labels), "score": scores.astype(np.float32)}
    columns = {name: column(values) for name, values in columns.items()}
    write_columns(out / PREDICTIONS, columns, provenance.fingerprint)
    write_metrics(out, metrics)
    log(f"{job.name}: {task.metric} {metrics.get(task.metric, float('nan')):.4f} of {len(scores):,} variants")
    return metrics


def by_model(model: Model, rows: Variants, genome: Path, score: str, window: int | None, strands: str) -> np.ndarray:
    """A number a variant, float32 (n,).

    Args:
        model: what `convnova.load` gives.
        rows: the variants.
        genome: a FASTA or the folder of a tokenized genome.
        score: one of `config.schema.VariantScore`.
        window: bases around a variant; default as in training.
        strands: `both` for the mean over a window and its reverse complement.

    Raises:
        ConvNovaError: a score that a model of this kind does not give, or a window that it cannot read.
    """
    network, window, parts = model.network, model.window(window), []
    trained = [kind for kind in METRICS_OF if kind != "variants"]
    needed = {"minus_llr": ["masked"], "abs_llr": ["masked"], "effect": trained}.get(score, [network.kind])
    if network.kind not in needed:
        expected = " or ".join(needed)
        raise ConvNovaError(f"{model.path}: expected a model of kind {expected} for {score}, found {network.kind}")
    with progress(score, len(rows.labels), "variants") as bar:
        for pairs in rows.windows(genome, window):
            if score == "distance":
                parts.append(_distances(model, pairs, strands))
            else:
                change = differences(network, pairs, strands)
                if score == "effect":
                    together = network.kind in ("classes", "per_base")
                    centre = change.mean(axis=1, keepdims=True) if together else 0
                    parts.append(np.linalg.norm(change - centre, axis=1))
                else:
                    parts.append(-change[:, 0] if score == "minus_llr" else np.abs(change[:, 0]))
            bar.update(len(pairs))
    return np.concatenate(parts)


def _distances(model: Model, pairs: list[tuple[Window, Window]], strands: str) -> np.ndarray:
    """Distances between the embeddings of windows with the reference and with the alternative, float64 (n,)."""
    distances = np.zeros(len(pairs))
    for first in range(0, len(pairs), DISTANCES_AT_ONCE):
        read = [[pair[allele].tokens for pair in pairs[first : first + DISTANCES_AT_ONCE]] for allele in (0, 1)]
        opposite = [[reverse_complement(tokens) for tokens in windows] for windows in read]
        on_strands = [read, opposite] if strands == "both" else [read]
        for references, alternatives in on_strands:
            embeddings = model.network.embeddings(sequences_of([*references, *alternatives]), per_base=True)
            for row, reference in enumerate(embeddings[: len(references)]):
                length = min(len(reference), len(alternative := embeddings[len(references) + row]))
                distance = np.linalg.norm(alternative[:length] - reference[:length])
                distances[first + row] += distance / len(on_strands)
    return distances


def _by_baseline(rows: Variants, genome: Path, penalty: float) -> np.ndarray:
    tokens, around = open_genome(genome), np.full((len(rows.labels), 3), N, np.uint8)
    for row, (number, start) in enumerate(zip(rows.chromosome, rows.start, strict=True)):
        chromosome = tokens[rows.chromosomes[number]]
        first, end = max(0, start - 1), min(len(chromosome), start + 2)
        around[row, first - start + 1 : end - start + 1] = chromosome[first:end]
    values = variant_baseline.features(rows.alleles, around, rows.gene)
    return variant_baseline.scores(values, rows.labels, rows.chromosome, penalty)
