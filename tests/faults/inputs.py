"""Bits turned and bytes changed in every form of input: the same rows come out, or one line.

    PYTHONPATH=tests:. python tests/faults/inputs.py --flips 500 --mutations 1000 --seed 1

divides them among the forms. What stays undiscovered is counted as `other content`, and may be so in plain forms alone,
where nothing but the file's own checksum can tell; a turned bit may not lose rows even there. The counts are in
docs/reliability.md; a short form is in `test_inputs.py`.
"""

import argparse
import gzip
import io
import random
import sys
import tarfile
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow
import scipy.io
import torch
from pyarrow import parquet

from convnova.config.hyperparameters import Training
from convnova.config.load import load_config
from convnova.config.schema import KINDS, METRICS_OF, Task
from convnova.data.array_file import read_metadata
from convnova.data.genome import GENOME_FILE, read_genome, read_intervals, tokenize_genome
from convnova.data.prepare_task import tokenize_task
from convnova.data.readers import apart, bend
from convnova.data.task_dataset import read_task
from convnova.errors import ConvNovaError
from convnova.evaluation.metrics_file import METRICS, PREDICTIONS, read_metrics, write_metrics
from convnova.models.weights import load_weights, save_weights
from convnova.training.checkpoint import load_state, save_state
from convnova.training.optimization import AdamW

CATALOGUE = Path(__file__).resolve().parents[2] / "config"
SECONDS, SLOW = 5, 60.0
"""Until a library is given up, and that no input may take."""
DRAW = random.Random(0)
BASES = "".join(DRAW.choices("ACGT", k=2_000))
ROWS = [("".join(DRAW.choices("ACGTacgtNR", k=DRAW.randint(5, 60))), f"c{number % 3}") for number in range(16)]
SPLITS = ("train", "test")


@dataclass
class Form:
    """One kind of input.

    Attributes:
        path: the file that is attacked.
        read: gives rows in a form that can be compared, how many there are, and how many lines were passed over.
        has_checksum: whether the form has a checksum over all of its content.
    """

    path: Path
    read: Callable[[], tuple[Any, int]]
    has_checksum: bool = False


def forms(folder: Path) -> dict[str, Form]:
    """Write a valid file of every form; name to form."""
    genome = folder / "genome"
    fasta, bed = folder / "genome.fa", folder / "genome.bed"
    fasta.write_text(f">chr1 one\n{BASES}\n>chr2\n{BASES[:900]}\n")
    bed.write_text("".join(f"chr1\t{i * 90}\t{i * 90 + 80}\t{('train', 'valid', 'test')[i % 3]}\n" for i in range(20)))
    tokenize_genome(fasta, genome)
    found = {
        "genome FASTA": Form(fasta, lambda: _genome(fasta, None, folder / "made")),
        "genome BED": Form(bed, lambda: _genome(folder / "whole.fa", bed, folder / "made")),
    }
    (folder / "whole.fa").write_bytes(fasta.read_bytes())
    sources = {
        "csv": ("csv", _both(folder / "csv", _table()), None),
        "csv.gz": ("csv", _both(folder / "csv.gz", gzip.compress(_table(), mtime=0)), None),
        "fasta": ("fasta", _both(folder / "fasta", _fasta()), None),
        "fasta.gz": ("fasta", _both(folder / "fasta.gz", gzip.compress(_fasta(), mtime=0)), None),
        "parquet": ("nucleotide_transformer", _both(folder / "parquet", _parquet(), ".parquet"), None),
        "bed": ("bed", _both(folder / "bed", _bed()), genome),
        "zip": ("genomic_benchmarks", {"archive": _zip(folder / "sequences.zip")}, None),
        "zip of tables": ("genomic_benchmarks", {"intervals": _tables(folder / "tables.zip")}, genome),
        "tar": ("genomic_benchmarks", {"intervals": _tables(folder / "tables.tar")}, genome),
        "tar.gz": ("genomic_benchmarks", {"intervals": _tables(folder / "tables.tar.gz")}, genome),
        "hdf5": ("bend", _gene_finding(folder / "hdf5"), genome),
        "bend.bed": ("bend", _gene_finding(folder / "bend"), genome),
        "variants": ("variants", {"test": _variants(folder / "variants.tsv")}, genome),
        "gff": ("gff", {"annotation": _gff(folder / "genes.gff")}, genome),
        "mat 5": ("deepsea", _both(folder / "mat5", _mat_5(), ".mat"), None),
        "mat 7.3": ("deepsea", _both(folder / "mat7", _mat_7(), ".mat"), None),
        "bundle": ("deepsea", {"archive": _bundle(folder / "bundle.tar.gz")}, None),
    }
    attacked = {"hdf5": "labels", "bend.bed": "intervals"}
    for name, (read_format, files, on) in sources.items():
        role = attacked.get(name, "test" if "test" in files else next(iter(files)))
        has_checksum = name.endswith(".gz") or name.startswith("zip") or name == "bundle"
        read = _reader(read_format, files, on, folder / f"{name}.safetensors")
        found[name] = Form(files[role], read, has_checksum)
    found["csv"].read()
    shard = folder / "shard.safetensors"
    shard.write_bytes((folder / "csv.safetensors").read_bytes())
    found["tokenized task"] = Form(shard, lambda: (_rows(read_task(shard)), 32), True)
    for name in ("genome.safetensors", "intervals.tsv"):
        found[f"tokenized {name}"] = Form(genome / name, lambda: (_content(genome), 2), True)
    config = folder / "mine.yaml"
    config.write_bytes((CATALOGUE / "config.yaml").read_bytes())
    found["config"] = Form(config, lambda: (load_config(config, CATALOGUE).model_dump(mode="json"), 1))
    return found | _trained(folder)


def _trained(folder: Path) -> dict[str, Form]:
    """What a training writes: weights, checkpoints and scores. Of a checkpoint that is refused the older is taken."""
    model = torch.nn.Sequential(torch.nn.Linear(30, 40), torch.nn.Linear(40, 1))
    optimizer = AdamW(model, Training())
    for step in (1, 2):
        save_state(folder / "checkpoints", step, model, optimizer, {"step": step, "losses": [0.5] * 50})
    save_weights(model.state_dict(), folder / "weights.safetensors", {"network": {"width": 8}, "parameters": 1281})
    (folder / PREDICTIONS).write_bytes((folder / "parquet" / "train.parquet").read_bytes())
    write_metrics(folder, {"mcc": 0.8123, "interval": [0.79, 0.83], "epochs": [{"epoch": 1, "score": 0.5}]})

    def weights() -> tuple[Any, int]:
        read, about = load_weights(folder / "weights.safetensors")
        return ({name: tensor.tolist() for name, tensor in read.items()}, about), 1

    def checkpoint() -> tuple[Any, int]:
        loop = load_state(folder / "checkpoints", model, optimizer)
        if loop is None or loop["step"] == 1:
            raise ConvNovaError("the older checkpoint was taken")
        return (loop, [parameter.tolist() for parameter in model.parameters()], str(optimizer.state_dict())), 1

    newest = folder / "checkpoints" / "step-000000002"
    forms = {name: Form(folder / name, weights, True) for name in ("weights.safetensors", "weights.json")}
    for name in ("state.pt", "weights.safetensors", "weights.json"):
        forms[f"checkpoint {name}"] = Form(newest / name, checkpoint, True)
    for name in (METRICS, PREDICTIONS):
        forms[name] = Form(folder / name, lambda: (read_metrics(folder / METRICS), 1), True)
    return forms


def _variants(path: Path) -> Path:
    lines = ["chrom\tpos\tref\talt\tlabel\tmatch_group\n"]
    for number, pos in enumerate(range(5, 1605, 100)):
        ref = BASES[pos - 1]
        lines.append(f"chr1\t{pos}\t{ref}\t{'CGTA'['ACGT'.index(ref)]}\t{number % 2}\tg{number // 2}\n")
    path.write_text("".join(lines))
    return path


def _reader(read_format: str, files: dict[str, Path], genome: Path | None, out: Path) -> Callable[[], tuple[Any, int]]:
    kind = KINDS.get(read_format, ("classes",))[0]
    only = {"score": "minus_llr"} if kind == "variants" else {"max_length": 200}
    task = Task(kind=kind, metric=METRICS_OF[kind][0], **only)

    def read() -> tuple[Any, int]:
        tokenize_task(task, read_format, files, out, genome)
        rows = read_task(out)
        return _rows(rows), sum((rows.metadata["read"] | rows.metadata["skipped"]).values())

    return read


def _rows(task: Any) -> dict[str, Any]:
    return {
        name: [task.classes, *(array.tolist() for array in (split.tokens, split.offsets, split.labels))]
        for name, split in task.splits.items()
    }


def _genome(fasta: Path, bed: Path | None, out: Path) -> tuple[Any, int]:
    tokenize_genome(fasta, out, bed)
    content, counts = _content(out), read_metadata(out / GENOME_FILE)
    return content, len(content[0]) + counts["read"] + sum(counts["skipped"].values())


def _content(folder: Path) -> tuple[dict[str, list[int]], dict[str, list[Any]]]:
    return {name: tokens.tolist() for name, tokens in read_genome(folder).items()}, read_intervals(folder)


def _both(folder: Path, content: bytes, suffix: str = "") -> dict[str, Path]:
    folder.mkdir()
    files = {split: folder / (split + suffix) for split in SPLITS}
    for path in files.values():
        path.write_bytes(content)
    return files


def _table() -> bytes:
    return ("sequence,note,label\n" + "".join(f'{bases},"x, y",{label}\n' for bases, label in ROWS)).encode()


def _fasta() -> bytes:
    return "".join(f">s{n}|{label}\n{bases[:30]}\n{bases[30:]}\n" for n, (bases, label) in enumerate(ROWS)).encode()


def _parquet() -> bytes:
    memory = io.BytesIO()
    columns = {"sequence": [bases for bases, _ in ROWS], "label": [int(label[1]) for _, label in ROWS]}
    parquet.write_table(pyarrow.table(columns | {"task": ["H3"] * len(ROWS)}), memory)
    return memory.getvalue()


def _bed() -> bytes:
    lines = (f"chr1\t{n * 50}\t{n * 50 + 40}\t{label}\t0\t{'+-'[n % 2]}\n" for n, (_, label) in enumerate(ROWS))
    return "".join(lines).encode()


def _zip(path: Path) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for split in SPLITS:
            for number, (bases, label) in enumerate(ROWS):
                archive.writestr(zipfile.ZipInfo(f"mini/{split}/{label}/{number}.txt"), bases)
    return path


def _tables(path: Path) -> Path:
    table = "".join(f"{n},chr1,{n * 30},{n * 30 + 20},{'+-'[n % 2]}\n" for n in range(8))
    content = f"id,region,start,end,strand\n{table}".encode()
    files = {f"mini/{split}/{name}": content for split in SPLITS for name in ("a.csv", "b.csv.gz")}
    packed = {name: gzip.compress(text, mtime=0) if name.endswith("gz") else text for name, text in files.items()}
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, text in packed.items():
                archive.writestr(zipfile.ZipInfo(name), text)
        return path
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as archive:
        for name, text in packed.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text))
    return path


def _gene_finding(folder: Path) -> dict[str, Path]:
    folder.mkdir()
    splits = ("train", "test", "valid")
    return bend.write(
        folder, (("chr1", n * 50, n * 50 + 40 + n, ".", splits[n % 3], np.arange(40 + n) % 9) for n in range(24))
    )


def _gff(path: Path) -> Path:
    exons = "".join(f"chr1\tx\tCDS\t{n * 150 + 1}\t{n * 150 + 60}\t.\t+\t0\tParent=t{n // 3}\n" for n in range(12))
    path.write_text(f"##gff-version 3\n{exons}")
    return path


def _windows() -> tuple[np.ndarray, np.ndarray]:
    bases = np.array([list(BASES[n * 30 : n * 30 + 30]) for n in range(16)])
    hot = np.stack([bases == channel for channel in "AGCT"], axis=1).astype(np.uint8)
    return hot, np.array([[n % 2, n % 3 == 0, n > 8] for n in range(16)], np.uint8)


def _mat_5() -> bytes:
    memory = io.BytesIO()
    hot, labels = _windows()
    scipy.io.savemat(memory, {"axdata": hot, "adata": labels}, do_compression=True)
    return memory.getvalue()


def _mat_7() -> bytes:
    memory = io.BytesIO()
    hot, labels = _windows()
    with h5py.File(memory, "w", userblock_size=512) as file:
        file["axdata"], file["adata"] = hot.T, labels.T
    return memory.getvalue()


def _bundle(path: Path) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for split, content in (("train", _mat_7()), ("test", _mat_5())):
            entry = tarfile.TarInfo(f"deepsea_train/{split}.mat")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


def flip(content: bytes, draw: random.Random) -> bytes:
    """Turn one bit."""
    place = draw.randrange(len(content))
    return content[:place] + bytes([content[place] ^ 1 << draw.randrange(8)]) + content[place + 1 :]


def mutate(content: bytes, draw: random.Random) -> bytes:
    """Cut, leave out, double, insert, blank or exchange some bytes, or make a number long."""
    first, second = sorted(draw.choices(range(len(content) + 1), k=2))
    second = min(second, first + 40)
    before, part, after = content[:first], content[first:second], content[second:]
    middles = (b"", part + part, draw.randbytes(8) + part, bytes(len(part)), b"\xff" * len(part), b"9" * 5_000)
    return before if draw.random() < 0.1 else before + draw.choice(middles) + after


def outcome(form: Form, good: tuple[Any, int]) -> str:
    """What came of an input: the same, one line, other content, missing rows, or what should not be."""
    began = time.monotonic()
    try:
        rows, count = form.read()
    except ConvNovaError as error:
        line = str(error)
        kind = "one line" if "\n" not in line and len(line) <= 2_000 else f"BROKEN: {line}"
    except Exception as error:
        kind = f"BROKEN: {type(error).__name__}: {error}"
    else:
        kind = "same" if rows == good[0] else "other content" if count >= good[1] else "fewer rows"
    return kind if time.monotonic() - began < SLOW else f"BROKEN: {time.monotonic() - began:.0f} seconds"


def attack(name: str, form: Form, flips: int, mutations: int, seed: int) -> tuple[Counter[str], list[str]]:
    """Attack a form; counts of what came of it, and what should not have."""
    draw, counts, wrong = random.Random(f"{name} {seed}"), Counter(), []
    good, whole = form.read(), form.path.read_bytes()
    for number in range(flips + mutations):
        is_flip = number < flips
        content = flip(whole, draw) if is_flip else mutate(whole, draw)
        form.path.write_bytes(content)
        kind = outcome(form, good)
        counts[kind.partition(":")[0]] += 1
        allowed = {"same", "one line"} | (set() if form.has_checksum else {"other content"})
        if kind not in allowed | (set() if form.has_checksum or is_flip else {"fewer rows"}):
            wrong.append(f"{name}, {'flip' if is_flip else 'mutation'} {number}: {kind}")
    form.path.write_bytes(whole)
    return counts, wrong


def main() -> int:
    """Attack every form; a line each, and exit code 1 if anything came that should not."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--flips", type=int, default=500, help="of all forms together")
    parser.add_argument("--mutations", type=int, default=1_000, help="of all forms together")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    apart.SECONDS = SECONDS
    total, failed = Counter(), []
    with tempfile.TemporaryDirectory() as folder:
        every = forms(Path(folder))
        flips, mutations = (-(-count // len(every)) for count in (options.flips, options.mutations))
        for name, form in every.items():
            counts, wrong = attack(name, form, flips, mutations, options.seed)
            print(f"{name:30} {dict(counts)}", *wrong, sep="\n    ", flush=True)
            total, failed = total + counts, failed + wrong
    print(f"{flips * len(every)} flips, {mutations * len(every)} mutations: {dict(total)}; {len(failed)} wrong")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
