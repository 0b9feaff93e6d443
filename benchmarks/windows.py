"""Random windows of a genome as masked batches: tokenized once, or by pyfaidx and Python tokenizers; in turns.

    pip install transformers
    python benchmarks/windows.py --megabases 200 --length 1024 --json windows.json

makes a FASTA and its tokenized genome and prints, for each way, bases a second of one core (median over rounds) and how
many times as fast the first is. All give a batch of the same windows with 15% of the bases hidden.

    genome        `Windows.tokens` and `mask`, as pretraining reads
    dictionary    pyfaidx per window, a dictionary per letter, the same mask: as quick as Python gets
    tokenizer     pyfaidx per window, a character tokenizer on `transformers`, the mask drawn per window and twice: what
                  the released loaders of HyenaDNA, Caduceus and ConvNova do (left out without `transformers`)
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyfaidx
import torch
from tokenizing import make_fasta

from convnova.data.dna import LETTER_TO_TOKEN, N
from convnova.data.genome import tokenize_genome
from convnova.data.masking import mask
from convnova.data.windows import windows
from convnova.randomness import order

TOKEN = {chr(letter): min(int(token), N) for letter, token in enumerate(LETTER_TO_TOKEN)}


def main() -> None:
    """Make the genome, take turns, print and write JSON."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--megabases", type=int, default=200, help="a multiple of 10; default 200")
    options.add_argument("--length", type=int, default=1024, help="bases a window")
    options.add_argument("--batch", type=int, default=128, help="windows a batch")
    options.add_argument("--rounds", type=int, default=7)
    options.add_argument("--json", type=Path, help="write the numbers here too")
    asked = options.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        fasta, genome = Path(folder, "genome.fa"), Path(folder, "genome")
        make_fasta(fasta, asked.megabases)
        tokenize_genome(fasta, genome)
        results = compare(fasta, genome, asked)
    print(json.dumps(results, indent=2))
    if asked.json:
        asked.json.write_text(json.dumps(results, indent=2) + "\n")


def compare(fasta: Path, genome: Path, asked: argparse.Namespace) -> dict[str, object]:
    """Bases a second of each way; the slow ones make a batch a round, ours two hundred."""
    data, faidx = windows(genome, "train", asked.length), pyfaidx.Fasta(str(fasta))
    names, shuffled = list(faidx.keys()), order(len(data), 1, 0)

    def rows(step: int) -> np.ndarray:
        return np.take(shuffled, np.arange(step * asked.batch, (step + 1) * asked.batch), mode="wrap")

    def texts(step: int) -> list[str]:
        found = zip(*places(data, rows(step)), strict=True)
        return [str(faidx[names[segment]][start : start + asked.length]) for segment, start in found]

    def from_genome(step: int) -> np.ndarray:
        return mask(data.tokens(rows(step)), 0.15, 1, step)[0]

    def with_dictionary(step: int) -> np.ndarray:
        tokens = [[TOKEN[letter] for letter in text] for text in texts(step)]
        return mask(np.array(tokens, np.uint8), 0.15, 1, step)[0]

    assert all((from_genome(step) == with_dictionary(step)).all() for step in range(3))
    ways = {"genome": (from_genome, 200), "dictionary": (with_dictionary, 2)}
    if tokenizer := character_tokenizer(asked.length):
        ways["tokenizer"] = (lambda step: [mask_twice(tokenizer(text.upper())) for text in texts(step)], 1)
    speeds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(asked.rounds):
        for name, (make, steps) in ways.items():
            start = time.perf_counter()
            for step in range(number * steps, (number + 1) * steps):
                make(step)
            speeds[name].append(steps * asked.batch * asked.length / (time.perf_counter() - start))
    results: dict[str, object] = {"length": asked.length, "batch": asked.batch, "rounds": asked.rounds}
    for name, values in speeds.items():
        times = statistics.median(ours / theirs for ours, theirs in zip(speeds["genome"], values, strict=True))
        results[name] = {"megabases_per_second": statistics.median(values) / 1e6, "genome_is_times_as_fast": times}
    return results


def character_tokenizer(length: int) -> Callable[[str], torch.Tensor] | None:
    """A tokenizer of single letters on the slow class of `transformers`, padding and truncating to `length`."""
    try:
        from transformers import PreTrainedTokenizer
    except ImportError:
        return None

    class Characters(PreTrainedTokenizer):
        def __init__(self) -> None:
            self.ids = {letter: token for token, letter in enumerate("ACGTN")} | {"[PAD]": 5, "[UNK]": 6}
            super().__init__(pad_token="[PAD]", unk_token="[UNK]", model_max_length=length)

        vocab_size = property(lambda self: len(self.ids))

        def get_vocab(self) -> dict[str, int]:
            return dict(self.ids)

        def _tokenize(self, text: str) -> list[str]:
            return list(text)

        def _convert_token_to_id(self, token: str) -> int:
            return self.ids.get(token, 6)

        def _convert_id_to_token(self, token: int) -> str:
            return list(self.ids)[token]

    tokenizer = Characters()
    settings = {"padding": "max_length", "truncation": True, "max_length": length, "add_special_tokens": False}
    return lambda text: torch.LongTensor(tokenizer(text, **settings)["input_ids"])


def mask_twice(tokens: torch.Tensor) -> torch.Tensor:
    """Hide letters of one window, drawing a number a letter for each of three decisions, and once more."""
    for _ in range(2):
        target = torch.rand(tokens.shape) < 0.15
        hidden = target & (torch.rand(tokens.shape) < 0.8)
        other = target & ~hidden & (torch.rand(tokens.shape) < 0.5)
        tokens = torch.where(hidden, N, torch.where(other, torch.randint(4, tokens.shape), tokens))
    return tokens


def places(data: object, rows: np.ndarray) -> tuple[list[int], list[int]]:
    """Chromosome number and start of some windows."""
    segment = np.searchsorted(data.first, rows, side="right") - 1
    start = data.start[segment] + (rows - data.first[segment]) * data.width[segment]
    return data.chromosome[segment].tolist(), start.tolist()


if __name__ == "__main__":
    main()
