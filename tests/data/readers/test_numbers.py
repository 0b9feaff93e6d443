"""Tasks whose labels are numbers, in every format that has labels, and what is no number."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from convnova.config.schema import Task
from convnova.data.genome import tokenize_genome
from convnova.data.prepare_task import tokenize_task
from convnova.data.task_dataset import TaskDataset, read_task
from convnova.errors import ConvNovaError

NUMBERS = {"train": [0.5, -1e-3, 12.25], "test": [1e6, 1000000.125, 3.0]}
LETTERS = ["ACGT", "GGGTTT", "TTACG"]


def dataset(folder: Path, form: str, suffix: str, texts: dict[str, str], genome: Path | None = None, **task):
    files = {}
    for split, text in texts.items():
        files[split] = folder / f"{split}.{suffix}"
        files[split].write_text(text)
    return tokenized(folder, form, files, genome, **task)


def tokenized(folder: Path, form: str, files: dict[str, Path], genome: Path | None = None, **task) -> TaskDataset:
    paths = {split: str(path) for split, path in files.items()}
    tokenize_task(Task(kind="regression", **paths, **task), form, files, folder / "task.safetensors", genome)
    return read_task(folder / "task.safetensors")


def table(numbers: list, others: list | None = None) -> str:
    rows = zip(LETTERS, numbers, others or numbers, strict=True)
    return "sequence,label,other\n" + "".join(f"{row[0]},{row[1]}, {row[2]} \n" for row in rows)


@pytest.mark.parametrize("form", ["csv", "parquet", "fasta", "bed"])
def test_every_format_gives_the_same_numbers_to_the_last_digit(tmp_path, form):
    if form == "csv":
        data = dataset(tmp_path, "csv", "csv", {split: table(numbers) for split, numbers in NUMBERS.items()})
    elif form == "parquet":
        files = {split: tmp_path / f"{split}.parquet" for split in NUMBERS}
        for split, numbers in NUMBERS.items():
            pd.DataFrame({"sequence": LETTERS, "label": numbers}).to_parquet(files[split])
        data = tokenized(tmp_path, "parquet", files)
    elif form == "fasta":
        texts = {
            split: "".join(f">a|b|{x}\n{s}\n" for s, x in zip(LETTERS, of, strict=True))
            for split, of in NUMBERS.items()
        }
        data = dataset(tmp_path, "fasta", "fa", texts)
    else:
        (tmp_path / "g.fa").write_text("".join(f">chr{number}\n{'ACGT' * 50}\n" for number in range(20)))
        tokenize_genome(tmp_path / "g.fa", tmp_path / "genome")
        texts = {
            split: "".join(f"chr1\t{i}\t{i + 9}\t{x}\n" for i, x in enumerate(of)) for split, of in NUMBERS.items()
        }
        data = dataset(tmp_path, "bed", "bed", texts, tmp_path / "genome")
    for split, numbers in NUMBERS.items():
        assert data.split(split).labels.tolist() == [[number] for number in numbers]
    assert (data.kind, data.classes, data.outputs) == ("regression", ["label"], 1)


def test_several_columns_are_several_targets(tmp_path):
    texts = {split: table(of, of[::-1]) for split, of in NUMBERS.items()}
    data = dataset(tmp_path, "csv", "csv", texts, label_column=["other", "label"])
    assert data.split("train").labels.tolist() == [[12.25, 0.5], [-0.001, -0.001], [0.5, 12.25]]
    assert (data.classes, data.outputs) == (["other", "label"], 2)
    files = {split: tmp_path / f"{split}.parquet" for split in NUMBERS}
    for split, of in NUMBERS.items():
        pd.DataFrame({"a": of, "sequence": LETTERS, "b": of[::-1]}).to_parquet(files[split])
    again = tokenized(tmp_path, "parquet", files, label_column=["b", "a"])
    np.testing.assert_array_equal(
        again.split("test").labels, [of[::-1] for of in zip(NUMBERS["test"], NUMBERS["test"][::-1], strict=True)]
    )


def test_a_header_of_a_fasta_has_several_numbers_with_blanks_between(tmp_path):
    data = dataset(
        tmp_path, "fasta", "fa", dict.fromkeys(NUMBERS, ">x|0.5 -2\nACGT\n>y|1 1e3\nAC\n"), classes=["dev", "hk"]
    )
    assert data.split("test").labels.tolist() == [[0.5, -2], [1, 1000]] and data.classes == ["dev", "hk"]
    with pytest.raises(ConvNovaError, match="test.fa row 2: expected as many numbers in every row, found 1 after 2"):
        dataset(tmp_path, "fasta", "fa", {"train": ">x|1 2\nA\n", "test": ">x|0.5 -2\nACGT\n>y|1\nAC\n"})
    with pytest.raises(ConvNovaError, match="as many labels a row in every split"):
        dataset(tmp_path, "fasta", "fa", {"train": ">x|1 2\nA\n>y|2 1\nA\n", "test": ">x|1\nA\n>x|2\nA\n"})
    with pytest.raises(ConvNovaError, match="train.fa: expected 3 numbers a row, found 2 from row 1"):
        dataset(
            tmp_path, "fasta", "fa", dict.fromkeys(NUMBERS, ">x|0.5 -2\nACGT\n>y|1 3\nAC\n"), classes=["a", "b", "c"]
        )


@pytest.mark.parametrize("text", ["high", "nan", "NaN", "inf", "-Infinity", "1_000", "1,5", "0x10", "1.5 2", ""])
def test_what_is_no_number_is_named_with_its_row(tmp_path, text):
    wrong = f'"{text}"'
    test = table([1, wrong, 3], [1, 2, 3])
    with pytest.raises(ConvNovaError, match=f"test.csv row 2: expected a number, as 1.5, found '{text}'") as error:
        dataset(tmp_path, "csv", "csv", {"train": table([1, 2, 3]), "test": test})
    assert "\n" not in str(error.value) and not (tmp_path / "task.safetensors").exists()


def test_a_constant_target_is_said_and_all_constant_in_test_is_refused(tmp_path, capsys):
    texts = {"train": table([1, 1, 1], [1, 2, 3]), "test": table([7, 7, 7], [1, 2, 3])}
    dataset(tmp_path, "csv", "csv", texts, label_column=["label", "other"])
    said = capsys.readouterr().err
    assert "warning: train: label is the same in all rows" in said
    assert "warning: test: label is the same in all rows; no correlation is defined, and it is left out" in said
    assert "test: label from 7 to 7, other from 1 to 3" in said
    with pytest.raises(ConvNovaError, match="test.csv: expected test rows with different numbers, found all 7"):
        dataset(tmp_path, "csv", "csv", {"train": table([1, 2, 3]), "test": table([7, 7, 7])})


def test_counts_below_0_have_no_poisson_loss(tmp_path):
    texts = {"train": table([0, 2, 3]), "test": table([1, 2, -1])}
    dataset(tmp_path, "csv", "csv", texts)
    with pytest.raises(ConvNovaError, match="test.csv row 3: expected numbers of 0 or more, for the loss is poisson"):
        dataset(tmp_path, "csv", "csv", texts, loss="poisson")
