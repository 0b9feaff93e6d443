"""A trained model in hand: how soon it answers, and its throughput beside plain inference of the same network.

    python benchmarks/inference.py --threads 2 --variants 2000 4000 --json inference.json

The model is ConvNova of width 128 with random weights. What is measured, all in this run:

    start        `import convnova`; and a new process that loads a model and embeds 1,000 sequences of 500 bases
    embedding    `Model.embed` beside the step of `throughput.py` (inference, 500 and 1,024 bases), in turns
    variants     `Model.score_variants` of a masked-language and of a fine-tuned model, over a made FASTA, with windows
                 of 1,024 bases, beside `Model.embed` of as long windows. Bases are those of both alleles, though a
                 masked-language model reads both in one window. A process each, whose peak memory is given

Ratios are of seconds of the processor, and of wall time: beside other work the first is steadier.
"""

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from throughput import CASES, entrants

import convnova
from convnova.models import build_backbone, build_predictor
from convnova.models.heads import MaskedLanguageModel
from convnova.models.weights import save_weights
from convnova.training.devices import keep_freed_memory, peak_resident

SETTINGS, WINDOW = {"width": 128, "kernel": 9}, 1024
START = """
import convnova, numpy
letters = numpy.array(list("ACGT"))[numpy.random.default_rng(2).integers(0, 4, (1000, 500))]
assert convnova.load({folder!r}).embed(["".join(line) for line in letters]).shape == (1000, 128)
"""


def save_models(folder: Path) -> None:
    """A masked-language model and a fine-tuned one with random weights."""
    torch.manual_seed(1)
    about = {"architecture": "convnova", "settings": SETTINGS}
    masked = MaskedLanguageModel(build_backbone("convnova", SETTINGS))
    save_weights(
        masked.state_dict(), folder / "masked/weights.safetensors", about | {"pretraining": {"length": WINDOW}}
    )
    about["network"] = {**about, "kind": "classes", "outputs": 2, "length": WINDOW}
    tuned = build_predictor(**about["network"])
    save_weights(tuned.state_dict(), folder / "tuned/weights.safetensors", about)


def make_genome(path: Path, megabases: int) -> None:
    """A FASTA of three chromosomes of random letters, 100 a line."""
    random, letters = np.random.default_rng(0), np.frombuffer(b"ACGT", np.uint8)
    with path.open("wb") as file:
        for name in (b"chr1", b"chr2", b"chr3"):
            file.write(b">" + name + b"\n")
            for _ in range(megabases // 3):
                lines = letters[random.integers(0, 4, (10_000, 100))]
                file.write(np.pad(lines, ((0, 0), (0, 1)), constant_values=ord("\n")).tobytes())


def make_variants(fasta: Path, path: Path, count: int) -> None:
    """A VCF of substitutions at random places, in order."""
    import pyfaidx

    random, genome = np.random.default_rng(1), pyfaidx.Fasta(str(fasta), as_raw=True)
    lines = ["#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"]
    for name in ("chr1", "chr2", "chr3"):
        for place in np.sort(random.integers(0, len(genome[name]), count // 3 + 1)).tolist():
            ref = genome[name][place]
            lines.append(f"{name}\t{place + 1}\t.\t{ref}\t{'ACGT'['CGTA'.index(ref)]}\t.\t.\t.\n")
    path.write_text("".join(lines[: count + 1]))


def seconds(run: Callable[[], object]) -> np.ndarray:
    """Seconds of the processor, those of child processes too, and of wall time, that a call takes."""
    before = os.times()
    run()
    spent = np.subtract(os.times(), before)
    return np.array([spent[:4].sum(), spent[4]])


def measure_start(folder: Path, rounds: int) -> dict[str, list[float]]:
    """Seconds of the processor and of wall time of new processes, the least."""
    scripts = {"nothing": "", "import": "import convnova", "load and embed": START.format(folder=str(folder / "tuned"))}
    words = {name: [sys.executable, "-c", script] for name, script in scripts.items()}
    results = {}
    for name, command in words.items():
        spent = [seconds(lambda command=command: subprocess.run(command, check=True)) for _ in range(rounds)]
        results[name] = np.min(spent, 0).tolist()
    return results


def measure_embedding(folder: Path, precision: str, rounds: int) -> list[dict]:
    """Embedding beside the plain step, in turns."""
    model, results = convnova.load(folder / "tuned", precision=precision), []
    for case in CASES["cpu"]:
        if case.name not in ("inference NT", "inference 1,024"):
            continue
        plain = dict(entrants(case, None, "cpu"))[f"fast, {precision}"]
        if case.name == "inference 1,024":  # which has another layer in every block than the model here
            plain = dict(entrants(case._replace(config=CASES["cpu"][4].config), None, "cpu"))[f"fast, {precision}"]
        tokens = np.random.default_rng(0).integers(0, 4, (4 * case.batch, case.length)).astype(np.uint8)
        turns = [
            (
                seconds(lambda plain=plain: [plain() for _ in range(4)]),
                seconds(lambda tokens=tokens: model.embed(tokens)),
            )
            for _ in range(rounds + 1)
        ][1:]
        ratio = np.median([plain_step / embedding for plain_step, embedding in turns], 0)
        rate = tokens.size / float(np.median([embedding[1] for _, embedding in turns]))
        results.append({"length": case.length, "ratio": ratio.tolist(), "bases_per_second": rate})
    return results


def measure_variants(
    asked: argparse.Namespace, folder: Path, name: str, count: int, answers: multiprocessing.Queue
) -> None:
    """Variants beside embedding of windows of their length; the process is new."""
    torch.set_num_threads(asked.threads)
    keep_freed_memory()
    model = convnova.load(folder / name, precision=asked.precision)
    windows = np.random.default_rng(0).integers(0, 4, (asked.windows, WINDOW)).astype(np.uint8)
    model.embed(windows[:8])
    before = seconds(lambda: model.embed(windows))
    spent = seconds(
        lambda: model.score_variants(
            folder / f"{count}.vcf", folder / "genome.fa", WINDOW, asked.strands, out=folder / "scored.vcf"
        )
    )
    embedding = (before + seconds(lambda: model.embed(windows))) / 2 / windows.size
    scoring = spent / (count * WINDOW * 2 * (2 if asked.strands == "both" else 1))
    answers.put({
        "model": name, "variants": count, "seconds": spent.tolist(), "ratio": (embedding / scoring).tolist(),
        "peak_bytes": peak_resident(),
    })  # fmt: skip


def main() -> None:
    """Measure, print and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="bfloat16")
    parser.add_argument("--rounds", type=int, default=5, help="of embedding")
    parser.add_argument("--starts", type=int, default=3)
    parser.add_argument("--windows", type=int, default=500, help="embedded before and after variants")
    parser.add_argument("--variants", type=int, nargs="*", default=[2000, 4000])
    parser.add_argument("--models", nargs="*", choices=("masked", "tuned"), default=["masked", "tuned"])
    parser.add_argument("--strands", choices=("forward", "both"), default="forward")
    parser.add_argument("--megabases", type=int, default=300)
    parser.add_argument("--json", type=Path, metavar="FILE")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    os.environ["OMP_NUM_THREADS"] = str(asked.threads)
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as name:
        folder, results = Path(name), {"threads": asked.threads, "precision": asked.precision, "strands": asked.strands}
        save_models(folder)
        results["start"] = measure_start(folder, asked.starts)
        print(results["start"], flush=True)
        results["embedding"] = measure_embedding(folder, asked.precision, asked.rounds)
        print(*results["embedding"], sep="\n", flush=True)
        make_genome(folder / "genome.fa", asked.megabases)
        results["variants"], new = [], multiprocessing.get_context("spawn")
        for count in asked.variants:
            make_variants(folder / "genome.fa", folder / f"{count}.vcf", count)
            for model in asked.models:
                answers = new.Queue()
                process = new.Process(target=measure_variants, args=(asked, folder, model, count, answers))
                process.start()
                results["variants"].append(answers.get())
                process.join()
                print(results["variants"][-1], flush=True)
    if asked.json:
        asked.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
