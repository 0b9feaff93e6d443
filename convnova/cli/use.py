"""The commands that use a trained model, each a method of a `Model`: from embed to export."""

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from convnova.cli.common import command, positive
from convnova.errors import ConvNovaError
from convnova.files import atomic, read_yaml
from convnova.log import log
from convnova.training.devices import VISIBLE, load_torch

if TYPE_CHECKING:
    import pandas

    from convnova.inference.model import Model

TABLES, PICTURES, VCFS = (".parquet", ".csv", ".tsv"), (".png", ".svg", ".pdf"), (".vcf", ".vcf.gz", ".vcf.bgz")
"""Endings of files that are written."""


def add_commands(commands: argparse._SubParsersAction) -> None:
    """Add them to the command line."""
    embed = _command(commands, "embed", run_embed, "write embeddings of sequences: what the last layer reads")
    embed.add_argument("--per-base", action="store_true", help="a row a base in place of a row a sequence")

    predict = _command(commands, "predict", run_predict, "predict classes or labels of sequences by a fine-tuned model")

    text = "score the variants of a VCF by what they change in a model"
    variants = _command(commands, "score-variants", run_score_variants, text, "VCF", "plain, gzip or bgzip")
    variants.add_argument(
        "--window", type=positive, metavar="BASES", help="read around a variant; default: as in training"
    )
    variants.add_argument("--strict", action="store_true", help="refuse a VCF that does not fit the genome")

    text = "write the effect of every substitution in a sequence"
    mutagenesis = _command(commands, "mutagenesis", run_mutagenesis, text)
    mutagenesis.add_argument("--name", help="which sequence of the file; needed if there are several")
    mutagenesis.add_argument("--start", type=int, default=0, help="first base that is changed, from 0; default: 0")
    mutagenesis.add_argument("--end", type=int, help="base after the last that is changed; default: the sequence's end")
    mutagenesis.add_argument("--target", metavar="CLASS", help="default: the class with the largest logit")
    for each in (predict, variants, mutagenesis):
        each.add_argument("--strands", choices=("forward", "both"), help="default: as the model's scores were made")

    text = "write a model as a folder of the Hugging Face hub"
    export = _of_model(command(commands, "export", run_export, text))
    export.add_argument("--hub", type=Path, required=True, metavar="DIR", help="a new or an empty folder")


def _command(
    commands: argparse._SubParsersAction,
    name: str,
    run: Callable,
    text: str,
    source: str = "SEQUENCES",
    forms: str = "FASTA, CSV or TSV with a column sequence, or BED; plain or gzip",
) -> argparse.ArgumentParser:
    """Add a command that has a model, a file to read and a file to write."""
    parser = _of_model(command(commands, name, run, text))
    kinds = {"score-variants": (*VCFS, *TABLES), "mutagenesis": (*TABLES, *PICTURES)}.get(name, TABLES)
    several = {"nargs": "+"} if name == "mutagenesis" else {}
    parser.add_argument("source", type=Path, metavar=source, help=forms)
    parser.add_argument(
        "--genome", type=Path, metavar="FASTA", required=source == "VCF", help="or the folder of a tokenized genome"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help=", ".join(kinds), **several)
    parser.add_argument("--device", choices=("cpu", "cuda"), help="default: a GPU if there is one")
    parser.add_argument("--precision", choices=("float32", "bfloat16", "auto"), help="default: that of the training")
    parser.add_argument("--threads", type=positive, default=os.cpu_count())
    parser.set_defaults(kinds=kinds)
    return parser


def _of_model(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """A command with the arguments that say which model."""
    parser.add_argument("model", metavar="MODEL", help="folder of a run, weights, or a name on the Hugging Face hub")
    parser.add_argument("--revision", metavar="COMMIT", help="of a model on the hub; default: the newest")
    text = "YAML with the hyperparameters of a checkpoint of the authors' code"
    parser.add_argument("--settings", type=Path, metavar="FILE", help=text)
    return parser


def run_embed(options: argparse.Namespace) -> None:
    """`convnova embed`"""
    import numpy as np
    import pandas

    model = _load(options)
    from convnova.inference.sequences import read_sequences

    names, tokens = read_sequences(options.source, options.genome)
    embeddings = model.embed(tokens, options.per_base)
    numbers = np.concatenate(embeddings) if options.per_base else embeddings
    table = pandas.DataFrame(numbers, columns=[str(number) for number in range(numbers.shape[1])])
    if options.per_base:
        lengths = [len(sequence) for sequence in tokens]
        table.insert(0, "position", np.concatenate([np.arange(length) for length in lengths]))
        names = np.repeat(names, lengths)
    table.insert(0, "name", names)
    _write(table, options.out)


def run_predict(options: argparse.Namespace) -> None:
    """`convnova predict`"""
    model = _load(options)
    table = model.predict(options.source, options.genome, options.strands)
    if model.network.kind == "per_base":  # a row a base
        table["position"] = [range(len(classes)) for classes in table["predicted"]]
        table = table.explode(["position", "predicted"])[["name", "position", "predicted"]]
        table["predicted"] = [model.outputs[number] for number in table["predicted"]]
    elif model.network.numbers and (size := model.network.numbers.bin_size):  # a row a bin, by its first base
        table["position"] = [range(0, len(bins) * size, size) for bins in table["predicted"]]
        table = table.explode(["position", "predicted"])[["name", "position", "predicted"]]
    _write(table, options.out)


def run_score_variants(options: argparse.Namespace) -> None:
    """`convnova score-variants`"""
    model, in_vcf = _load(options), options.out.name.endswith(VCFS)
    asked = {"window": options.window, "strands": options.strands, "strict": options.strict}
    table = model.score_variants(options.source, options.genome, **asked, out=options.out if in_vcf else None)
    if table is not None:
        _write(table, options.out)


def run_mutagenesis(options: argparse.Namespace) -> None:
    """`convnova mutagenesis`"""
    model = _load(options)
    from convnova.data.dna import decode
    from convnova.inference.sequences import read_sequences

    names, tokens = read_sequences(options.source, options.genome)
    chosen = [number for number, name in enumerate(names) if options.name in (None, name)]
    if len(chosen) != 1:
        found = f"{len(chosen):,}; `--name` says which: {', '.join(names[:10])}{' ...' * (len(names) > 10)}"
        asked = f" with the name {options.name!r}" if options.name else ""
        raise ConvNovaError(f"{options.source}: expected one sequence{asked}, found {found}")
    asked = {"start": options.start, "end": options.end, "target": options.target, "strands": options.strands}
    effects = model.mutagenesis(decode(tokens[chosen[0]]), **asked)
    for out in options.out:
        if out.suffix in PICTURES:
            effects.plot(out)
            log(f"{out}: a picture of {len(effects.sequence):,} bases")
        else:
            _write(effects.table(), out)


def run_export(options: argparse.Namespace) -> None:
    """`convnova export`"""
    from convnova.inference.load import load

    settings = read_yaml(options.settings) if options.settings else None
    load(options.model, settings, options.revision, device="cpu").export(options.hub)
    log(f"{options.hub}: written; to give it to others: hf upload NAME {options.hub}")


def _load(options: argparse.Namespace) -> "Model":
    """The model, once it is known that what is made with it can be written."""
    for out in options.out if isinstance(options.out, list) else [options.out]:
        if not out.name.endswith(options.kinds):
            raise ConvNovaError(f"--out {out}: expected a name that ends in {', '.join(options.kinds)}")
        folder = next(folder for folder in out.absolute().parents if folder.exists())
        if out.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
            found = "a folder" if out.is_dir() else f"{folder}, where nothing can be written"
            raise ConvNovaError(f"--out {out}: expected a file that can be written, found {found}")
    if options.device == "cpu":
        os.environ[VISIBLE] = ""
    settings = read_yaml(options.settings) if options.settings else None
    load_torch(options.threads)
    from convnova.inference.load import load

    model = load(options.model, settings, options.revision, options.precision, options.device)
    log(str(model))
    return model


def _write(table: "pandas.DataFrame", path: Path) -> None:
    """Write a table whole or not at all: Parquet, CSV or TSV, as the name ends."""
    names = table.columns.map(str).to_series(index=range(table.shape[1]))  # a class may be called `name`, or `ref`
    count = names.groupby(names).cumcount()
    table.columns = names.where(count == 0, names + "." + count.map(str))
    with atomic(path) as temporary:
        if path.suffix == ".parquet":
            table.to_parquet(temporary, index=False)
        else:
            table.to_csv(temporary, index=False, sep="\t" if path.suffix == ".tsv" else ",")
    log(f"{path}: {len(table):,} rows of {', '.join(table.columns[:6])}{' ...' * (table.shape[1] > 6)}")
