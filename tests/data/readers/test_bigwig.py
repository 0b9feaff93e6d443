"""Signal along a genome: each bin against a plain loop over the values that were written."""

from pathlib import Path

import numpy as np
import pyBigWig
import pytest

from convnova.config.schema import Task
from convnova.data.dna import encode
from convnova.data.genome import tokenize_genome
from convnova.data.prepare_task import tokenize_task
from convnova.data.task_dataset import read_task
from convnova.errors import ConvNovaError

LENGTH = 400


def write_signal(path: Path, values: dict[str, dict[int, float]], lengths: dict[str, int]) -> None:
    """A bigWig with a value at these bases alone."""
    with pyBigWig.open(str(path), "w") as file:
        file.addHeader(list(lengths.items()))
        for chrom, of_bases in values.items():
            bases = sorted(of_bases)
            file.addEntries([chrom] * len(bases), bases, [b + 1 for b in bases], [of_bases[b] for b in bases])


class Case:
    """A genome of two chromosomes, a signal on both, and intervals."""

    def __init__(self, folder: Path, **task):
        self.folder, random = folder, np.random.default_rng(0)
        self.letters = {name: "".join(random.choice(list("ACGT"), LENGTH)) for name in ("chr1", "chr2", "chr3")}
        (folder / "g.fa").write_text("".join(f">{name}\n{text}\n" for name, text in self.letters.items()))
        bases = {name: random.choice(LENGTH, 300, replace=False).tolist() for name in self.letters}
        self.values = {name: {base: float(random.integers(1, 50)) / 4 for base in bases[name]} for name in bases}
        self.lines = {"train": ["chr1\t0\t60", "chr2\t37\t97"], "test": ["1\t100\t160\tx\t0\t-", "chr1\t340\t400"]}
        self.task = {"kind": "regression", "bin_size": 20, "signal": "s.bw", **task}

    def dataset(self):
        folder = self.folder
        if not (folder / "genome").exists():
            tokenize_genome(folder / "g.fa", folder / "genome", valid=["chr2"], test=["chr3"])
        files = {"signal": folder / "s.bw"}
        if not files["signal"].exists():
            write_signal(files["signal"], self.values, dict.fromkeys(self.letters, LENGTH))
        for split, lines in self.lines.items():
            files[split] = folder / f"{split}.bed"
            files[split].write_text("\n".join(lines) + "\n")
        task = Task(train="train.bed", test="test.bed", **self.task)
        tokenize_task(task, "bigwig", files, folder / "task.safetensors", folder / "genome")
        return read_task(folder / "task.safetensors")


def test_each_bin_has_the_mean_of_its_bases_and_one_without_a_value_counts_as_0(tmp_path):
    case = Case(tmp_path)
    dataset = case.dataset()
    expected = []
    for chrom, start in (("chr1", 0), ("chr2", 37)):
        for first in range(start, start + 60, 20):
            expected.append(sum(case.values[chrom].get(base, 0.0) for base in range(first, first + 20)) / 20)
    np.testing.assert_allclose(dataset.split("train").labels.ravel(), expected)
    assert (dataset.outputs, dataset.classes, dataset.split("train").labels.shape) == (1, ["signal"], (2, 3))


def test_an_interval_of_the_other_strand_is_read_from_its_end(tmp_path):
    case = Case(tmp_path)
    test = case.dataset().split("test")
    pairs = str.maketrans("ACGT", "TGCA")
    np.testing.assert_array_equal(test.tokens[:60], encode(case.letters["chr1"][100:160].translate(pairs)[::-1])[0])
    sums = [sum(case.values["chr1"].get(base, 0.0) for base in range(first, first + 20)) for first in (140, 120, 100)]
    np.testing.assert_allclose(test.labels[0] * 20, sums)


@pytest.mark.parametrize(
    ("changes", "lines", "message"),
    [
        ({}, {"train": ["chr1\t0\t60", "chr1\t60\t140"]}, "train.bed line 2: .*one length, found 80 after 60"),
        ({}, {"test": ["chr1\t0\t80"]}, "test.bed line 1: .*one length, found 80 after 60"),
        ({}, {"train": ["chr1\t0\t50"]}, "train.bed line 1: .*multiple of bin_size = 20, found 50"),
        ({"max_length": 40}, {}, "train.bed line 1: .*up to max_length = 40, found 60"),
        ({}, {"train": ["chr1\t0\t60\tx\t0\t?"]}, "train.bed line 1: .*strand"),
        ({}, {"train": ["chr9\t0\t60"]}, "train.bed line 1: .*chromosome of the genome, found 'chr9'"),
    ],
)
def test_intervals_that_do_not_fit_are_named(tmp_path, changes, lines, message):
    case = Case(tmp_path, **changes)
    case.lines |= lines
    with pytest.raises(ConvNovaError, match=message):
        case.dataset()


def test_a_signal_that_does_not_fit_is_named(tmp_path):
    case = Case(tmp_path)
    write_signal(tmp_path / "s.bw", {"chr1": case.values["chr1"]}, {"chr1": LENGTH})
    with pytest.raises(ConvNovaError, match="train.bed line 2: expected chr2 of 400 bases in .*s.bw.* only chr1"):
        case.dataset()
    write_signal(tmp_path / "s.bw", case.values, {"chr1": LENGTH, "chr2": 2 * LENGTH, "chr3": LENGTH})
    with pytest.raises(ConvNovaError, match="line 2: .*chr2 of 400 bases.* one of 800"):
        case.dataset()
    case.values["chr2"] |= {40: -1.5}
    write_signal(tmp_path / "s.bw", case.values, dict.fromkeys(case.letters, LENGTH))
    case.dataset()
    case.task["loss"] = "poisson"
    with pytest.raises(ConvNovaError, match="train.bed line 2: .*0 or more.*found -1.5 at base 40"):
        case.dataset()
    (tmp_path / "s.bw").write_text("no bigWig")
    with pytest.raises(ConvNovaError, match="s.bw: expected a bigWig"):
        case.dataset()
    content = bytearray()
    write_signal(tmp_path / "s.bw", case.values, dict.fromkeys(case.letters, LENGTH))
    content += (tmp_path / "s.bw").read_bytes()
    (tmp_path / "s.bw").write_bytes(content[: len(content) // 2])
    with pytest.raises(ConvNovaError, match="s.bw"):
        case.dataset()


def test_a_signal_of_names_without_chr_is_found(tmp_path):
    case = Case(tmp_path)
    before = case.dataset().split("train").labels.copy()
    values = {name.removeprefix("chr"): of for name, of in case.values.items()}
    write_signal(tmp_path / "s.bw", values, dict.fromkeys(values, LENGTH))
    np.testing.assert_array_equal(case.dataset().split("train").labels, before)
