"""What `torch.compile` is worth: each network as it is and compiled, same weights and sequences, in turns.

    python benchmarks/compiling.py --device cpu --threads 2 [--only transformer] [--length 512] [--json compiling.json]

Networks of two classes at the sizes of `config/models/`, float32. Of a training step (forward and backward) and of
inference: medians of milliseconds; their ratio, above 1 where compiling helps; seconds of the first call, which
compiles, and of the first one with sequences shorter by 12 bases, which compiles again. Compiled as `compile: true`
does it.
"""

import argparse
import copy
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
import yaml
from torch import Tensor, nn

from convnova.models import build_predictor, without_fast_kernels
from convnova.training.optimization import compile_in_place

MODELS = (
    "convnova", "plain", "cnn", "legnet", "basenji2", "convnext", "transformer", "hyenadna", "caduceus_ph"
)  # fmt: skip
BASES = 1 << 14
CATALOGUE = Path(__file__).parents[1] / "config/models"


def network(name: str, length: int) -> nn.Module:
    """The network of a model of the catalogue; `plain` is ConvNova as its equations stand."""
    model = yaml.safe_load((CATALOGUE / f"{'convnova' if name == 'plain' else name}.yaml").read_text())
    built = build_predictor(model["architecture"], model["settings"], "classes", 2, length)
    return without_fast_kernels(built) if name == "plain" else built


def train(model: nn.Module, tokens: Tensor) -> None:
    """Forward and backward."""
    model.zero_grad()
    F.cross_entropy(model(tokens), tokens[:, 0] % 2).backward()


def infer(model: nn.Module, tokens: Tensor) -> None:
    """Forward."""
    with torch.inference_mode():
        model(tokens)


def seconds(work: Callable[[nn.Module, Tensor], None], model: nn.Module, tokens: Tensor) -> float:
    """Wall time of one call, to its end on a GPU too."""
    start = time.perf_counter()
    work(model, tokens)
    if tokens.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - start


def measure(name: str, work: Callable, asked: argparse.Namespace) -> dict[str, object]:
    """One network at one kind of work."""
    torch.manual_seed(0)
    torch.compiler.reset()
    plain = network(name, asked.length).to(asked.device).train(work is train)
    compiled = copy.deepcopy(plain)
    compile_in_place(compiled)
    tokens = torch.randint(0, 4, (max(1, asked.bases // asked.length), asked.length), device=asked.device)
    first = seconds(work, compiled, tokens)
    for model in (plain, compiled):
        work(model, tokens)
    turns = [[seconds(work, model, tokens) for model in (plain, compiled)] for _ in range(asked.rounds)]
    other = seconds(work, compiled, tokens[:, 12:].contiguous())
    return {
        "model": name,
        "work": work.__name__,
        "milliseconds": 1e3 * statistics.median(turn[0] for turn in turns),
        "compiled": 1e3 * statistics.median(turn[1] for turn in turns),
        "ratio": statistics.median(turn[0] / turn[1] for turn in turns),
        "first": first,
        "other_length": other,
    }


def main() -> None:
    """Measure the networks asked for and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=2, help="of the CPU; default 2")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--bases", type=int, default=BASES, help="of a step; default 16,384")
    parser.add_argument("--only", choices=MODELS)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers here too")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    print(f"torch {torch.__version__}, {asked.device}, {asked.bases} bases in sequences of {asked.length}")
    print("model         work      ms   compiled  ratio  first s  other length s")
    rows = []
    for name in [asked.only] if asked.only else MODELS:
        for work in (train, infer):
            row = measure(name, work, asked)
            rows.append(row)
            print(
                f"{name:13} {row['work']:5} {row['milliseconds']:7.0f} {row['compiled']:10.0f} {row['ratio']:6.2f} "
                f"{row['first']:8.1f} {row['other_length']:8.1f}",
                flush=True,
            )
    if asked.json:
        asked.json.write_text(json.dumps({"torch": torch.__version__, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
