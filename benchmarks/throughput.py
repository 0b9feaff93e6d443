"""Training and inference throughput of our model and of the published one: same weights, same inputs, in turns.

    python benchmarks/throughput.py --device cpu --threads 2 --released convnova.py --json throughput.json

`--released` names the file `convnova.py` of the authors' code (github.com/aim-uofa/ConvNova,
`convnova/src/models/ConvNova/convnova.py`), which is no part of this project; without it the published equations,
written down again with PyTorch's own layers, stand for it.

Per case and entrant: milliseconds a step and bases a second (medians), the ratio to the first entrant (median over
rounds), FLOPs a base as PyTorch counts them, bytes that its operations read and write a base, FLOPs reached in share of
this machine's own matrix products in the same precision and run, and the peak memory a base of one step. On a CPU each
entrant has a process of its own, as in use: ours keep freed memory, as `convnova` has it, and the released model's is
as PyTorch makes it. To have both keep it: MALLOC_MMAP_THRESHOLD_=33554432 MALLOC_TRIM_THRESHOLD_=1073741824.

    released or published       the authors' model, as shipped, or its equations, channels first; both in float32
    plain, float32              ours without `convnova.models.kernels`, at every position
    fast, float32 or bfloat16   ours as the pipeline uses it; in pretraining the last block and the tail at masked
                                positions only; on a GPU it replays graphs (`convnova.training.cuda_graphs`)
    plain or compiled, bfloat16 on a GPU: plain under autocast, as it is and compiled by PyTorch
"""

import argparse
import json
import math
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from published_model import Published, released_model
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from convnova.config.hyperparameters import Training
from convnova.data.batches import Batch
from convnova.models import without_fast_kernels
from convnova.models.convnova import Backbone, Config
from convnova.models.heads import MaskedLanguageModel
from convnova.models.layers import linear
from convnova.models.released_checkpoint import from_released
from convnova.training.compute_cost import COUNTED
from convnova.training.cuda_graphs import SHAPE_MULTIPLE, Graphs
from convnova.training.devices import keep_freed_memory, peak_resident
from convnova.training.optimization import sequences_at_once

MASKED = 0.15
PRETRAINING = Config(width=128, kernel=9, ffn=True)
NT = Config(width=128, kernel=9)
GB = Config(width=64, kernel=5, tail_expansion=4, final_conv=True)


class Case(NamedTuple):
    """One measurement: a model of a size on a batch."""

    name: str
    config: Config
    batch: int
    length: int
    mode: str
    """pretrain: forward and backward, loss at masked bases. finetune: the same from the mean. infer: forward."""


CASES = {
    "cpu": [
        Case("pretraining", PRETRAINING, 16, 1024, "pretrain"),
        Case("fine-tuning NT", NT, 64, 500, "finetune"),
        Case("fine-tuning GB", GB, 64, 500, "finetune"),
        Case("inference 1,024", PRETRAINING, 16, 1024, "infer"),
        Case("inference NT", NT, 64, 500, "infer"),
        Case("inference GB", GB, 64, 500, "infer"),
    ],
    "cuda": [
        Case("pretraining", PRETRAINING, 128, 1024, "pretrain"),
        Case("fine-tuning NT", NT, 128, 500, "finetune"),
        Case("fine-tuning GB", GB, 128, 500, "finetune"),
        Case("inference 1,024", PRETRAINING, 128, 1024, "infer"),
        Case("long d 256", Config(width=256, kernel=9, ffn=True), 1, 131_072, "pretrain"),
    ],
}


class Entrant(NamedTuple):
    """A way to compute a case. `run` does one step and returns its loss or its output."""

    name: str
    run: Callable[[], Tensor]


class Timed(NamedTuple):
    """An entrant that is ready: bytes of memory that its first step took, and what does another and returns seconds."""

    peak: int
    step: Callable[[], float]


def entrants(case: Case, released: str | None, device: str) -> list[Entrant]:
    """All ways to compute a case, with the same weights and inputs."""
    torch.manual_seed(1)
    with_head = case.mode == "pretrain"
    ours = MaskedLanguageModel(Backbone(case.config)) if with_head else Backbone(case.config)
    if released:
        theirs = released_model(released, case.config, with_head)
        ours = from_released(theirs.state_dict(), case.config)
    else:
        theirs = Published(ours)
    theirs.to(device)
    ours.to(device)
    tokens = torch.randint(0, 4, (case.batch, case.length), device=device)
    at = torch.nonzero(torch.rand(tokens.numel(), device=device) < MASKED).squeeze(1)

    def features(output: object) -> Tensor:
        """Whatever a model returns, as (B, L, d) features or (B, L, 5) logits."""
        if isinstance(output, tuple):
            output = output[0].logits[0] if hasattr(output[0], "logits") else output[0]
        return output

    def step(model: nn.Module, forward: Callable[..., Tensor], at_masked: bool, parts: int = 1) -> Callable[[], Tensor]:
        """One step of `forward(tokens)`, or `forward(tokens, at)`, in so many micro-batches."""
        size = -(-case.batch // parts)
        split = [tokens[i : i + size] for i in range(0, case.batch, size)]
        split_at = [at[(at // case.length) // size == i] - i * size * case.length for i in range(len(split))]

        def infer() -> Tensor:
            with torch.inference_mode():
                return forward(tokens)

        def train() -> Tensor:
            model.zero_grad()
            total = torch.zeros((), device=device)
            for part, places in zip(split, split_at, strict=True):
                output = forward(part, places) if at_masked else forward(part)
                if case.mode == "finetune":
                    loss = output.mean(1).square().sum() / tokens.numel()
                else:
                    logits = output if at_masked else output.flatten(0, 1)[places]
                    loss = F.cross_entropy(logits.float(), part.flatten()[places], reduction="sum") / len(at)
                loss.backward()
                total += loss.detach()
            return total

        return infer if case.mode == "infer" else train

    def in_bfloat16(model: nn.Module) -> Callable[..., Tensor]:
        def forward(*inputs: Tensor) -> Tensor:
            with torch.autocast(device, torch.bfloat16):
                return model(*inputs)

        return forward

    first = (lambda part: features(theirs((part, None) if with_head else part))) if released else theirs
    plain = without_fast_kernels(ours)
    parts, parts_in_bfloat16 = (
        -(-case.batch // sequences_at_once(Training(), tokens, torch.device(device), precision))
        for precision in ("float32", "bfloat16")
    )
    found = [
        Entrant("released" if released else "published", step(theirs, first, False)),
        Entrant("plain, float32", step(plain, plain, False)),
        Entrant("fast, float32", step(ours, ours, with_head, parts)),
    ]
    if device == "cpu":
        return [*found, Entrant(FAST, step(ours, in_bfloat16(ours), with_head, parts_in_bfloat16))]
    for name, model in {"plain, bfloat16": plain, COMPILED: torch.compile(plain)}.items():
        found.append(Entrant(name, step(model, in_bfloat16(model), False)))
    if case.mode == "infer":
        return [*found, Entrant(FAST, step(ours, in_bfloat16(ours), False))]
    return [*found, Entrant(FAST, replayed(case, ours, in_bfloat16(ours), tokens, at))]


FAST, COMPILED = "fast, bfloat16", "compiled, bfloat16"
FLOPS_OF = {COMPILED: "plain, bfloat16", FAST: "fast, float32"}
"""Whose FLOPs, those that are needed, stand for an entrant's: PyTorch cannot count what compiled kernels do, nor the
bytes that they move."""


def replayed(
    case: Case, ours: nn.Module, forward: Callable[..., Tensor], tokens: Tensor, at: Tensor
) -> Callable[[], Tensor]:
    """A step on a GPU that replays a graph of `forward` and its gradient."""

    def backward(batch: Batch, count: Tensor) -> Tensor:
        output = forward(batch.tokens, batch.target_positions)
        if case.mode == "finetune":
            loss = output.mean(1).square().sum() / count
        else:
            loss = F.cross_entropy(output.float(), batch.targets, reduction="sum") / count
        loss.backward()
        return loss.detach()

    graphs, letters = Graphs.of(ours), tokens.cpu()
    if case.mode == "finetune":
        batch = Batch(letters, letters, tokens.numel())
    else:
        targets = letters.flatten()[at.cpu()]
        batch = Batch(letters, targets, len(at), at.cpu()).pad_targets_to_multiple(SHAPE_MULTIPLE)
    batch = batch.to(tokens.device)
    return lambda: graphs.run(backward, batch, batch.count)


class Traffic(TorchDispatchMode):
    """Counts the bytes of all tensors that operations read and write; views count nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # noqa: ANN001, ANN204
        out = func(*args, **(kwargs or {}))
        if not func.is_view:
            tensors = [leaf for leaf in tree_leaves((args, kwargs, out)) if isinstance(leaf, Tensor)]
            self.bytes += sum(tensor.nbytes for tensor in tensors)
        return out


def wait(device: str) -> None:
    """Until the GPU is done."""
    if device == "cuda":
        torch.cuda.synchronize()


def seconds(run: Callable[[], Tensor], device: str) -> float:
    """Wall time of one step."""
    wait(device)
    start = time.perf_counter()
    run()
    wait(device)
    return time.perf_counter() - start


def matrix_rate(device: str, dtype: torch.dtype, size: int) -> float:
    """FLOPs a second of a large matrix product, best of ten, by the library that is faster (see `layers.linear`)."""
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    return 2 * size**3 / min(seconds(lambda: linear(a, b, b[0]), device) for _ in range(10))


def peak_bytes(run: Callable[[], Tensor]) -> int:
    """Memory on the GPU that the first step needs beyond model and inputs."""
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    run()
    return torch.cuda.max_memory_allocated() - before


def serve(asks: Connection, case: Case, name: str, released: str | None, threads: int) -> None:
    """Be one entrant on a CPU: send the peak memory of its first step, then the seconds of one whenever asked."""
    torch.set_num_threads(threads)
    if name not in ("released", "published"):
        keep_freed_memory()
    run = dict(entrants(case, released, "cpu"))[name]
    before = peak_resident()
    run()
    asks.send(peak_resident() - before)
    run()
    while asks.recv():
        asks.send(seconds(run, "cpu"))


@contextmanager
def in_its_own_process(case: Case, way: Entrant, asked: argparse.Namespace) -> Iterator[Timed]:
    """An entrant on a CPU as it is used, not with the memory that another one or an earlier case has left behind."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=serve, args=(there, case, way.name, asked.released, asked.threads), daemon=True
    )
    process.start()
    there.close()

    def step() -> float:
        here.send(True)
        return here.recv()

    yield Timed(here.recv(), step)
    here.send(False)
    process.join()


def measure(case: Case, asked: argparse.Namespace, rates: dict[str, float]) -> list[dict]:
    """One case: time all in turns, and hold their outputs, of training the losses, against the first one's."""
    ways = entrants(case, asked.released, asked.device)
    times = {way.name: [] for way in ways}
    with ExitStack() as processes:
        if asked.device == "cuda":
            timed = {way.name: Timed(peak_bytes(way.run), partial(seconds, way.run, "cuda")) for way in ways}
        else:
            timed = {way.name: processes.enter_context(in_its_own_process(case, way, asked)) for way in ways}
        outputs = [way.run() for way in ways for _ in range(2)][1::2]
        for _ in range(asked.rounds):
            for name, entrant in timed.items():
                times[name].append(entrant.step())
    bases = case.batch * case.length
    rows = []
    for way, output in zip(ways, outputs, strict=True):
        counted = FLOPS_OF.get(way.name, way.name)
        with FlopCounterMode(display=False, custom_mapping=COUNTED) as flops:
            dict(ways)[counted]()
        with Traffic() as traffic:
            dict(ways)[counted]()
        median = statistics.median(times[way.name])
        first, rate = times[ways[0].name], rates["bfloat16" if "bfloat16" in way.name else "float32"]
        rows.append({
            "case": case.name,
            "entrant": way.name,
            "batch": case.batch,
            "length": case.length,
            "milliseconds": 1e3 * median,
            "bases_per_second": bases / median,
            "ratio": statistics.median(a / b for a, b in zip(first, times[way.name], strict=True)),
            "flops_per_base": flops.get_total_flops() / bases,
            "bytes_per_base": traffic.bytes / bases if counted == way.name else math.nan,
            "share_of_matrix_rate": flops.get_total_flops() / median / rate,
            "peak_bytes_per_base": timed[way.name].peak / bases,
            "difference": float((output.float() - outputs[0].float()).abs().max() / outputs[0].float().abs().max()),
        })  # fmt: skip
        if not rows[-1]["difference"] < (0.1 if "bfloat16" in way.name else 1e-4):
            sys.exit(
                f"{case.name}: {way.name} computes something else than {ways[0].name}: {rows[-1]['difference']:.1e}"
            )
    return rows


def main() -> None:
    """Measure the cases asked for, print a table and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=2, help="of the CPU; default 2")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--only", metavar="TEXT", default="", help="cases whose name holds TEXT")
    parser.add_argument("--released", metavar="PATH", help="the authors' convnova.py")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers here too")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    size = 8192 if asked.device == "cuda" else 2048
    rates = {name: matrix_rate(asked.device, getattr(torch, name), size) for name in ("float32", "bfloat16")}
    name = torch.cuda.get_device_name() if asked.device == "cuda" else f"{asked.threads} threads of a CPU"
    products = ", ".join(f"{rate / 1e9:,.0f} GFLOP/s in {precision}" for precision, rate in rates.items())
    print(f"torch {torch.__version__}, {name}, matrix products {products}\n")
    print("case              entrant                 ms    Mb/s  ratio  kFLOP/b  kB/b  share  peak kB/b  difference")
    results = []
    for case in CASES[asked.device]:
        if asked.only in case.name:
            for row in measure(case, asked, rates):
                results.append(row)
                print(
                    f"{row['case']:17} {row['entrant']:18} {row['milliseconds']:7.2f} "
                    f"{row['bases_per_second'] / 1e6:7.3f} {row['ratio']:6.2f} {row['flops_per_base'] / 1e3:8.0f} "
                    f"{row['bytes_per_base'] / 1e3:5.0f} {row['share_of_matrix_rate']:6.2f} "
                    f"{row['peak_bytes_per_base'] / 1e3:10.1f}  {row['difference']:.1e}",
                    flush=True,
                )
    if asked.json:
        about = {"torch": torch.__version__, "device": name, "threads": asked.threads, "rounds": asked.rounds}
        for row in results:
            row["bytes_per_base"] = None if math.isnan(row["bytes_per_base"]) else row["bytes_per_base"]
        asked.json.write_text(
            json.dumps({**about, "matrix_flops_per_second": rates, "cases": results}, indent=2) + "\n"
        )


if __name__ == "__main__":
    main()
