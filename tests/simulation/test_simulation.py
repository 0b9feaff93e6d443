import gzip
import hashlib
import io
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pyfaidx
import pytest
import scipy.io

from convnova.data.dna import decode, encode, reverse_complement
from convnova.errors import ConvNovaError
from convnova.simulation import write_mirror
from convnova.simulation.genes import UPSTREAM
from convnova.simulation.genome import make_genome

TRANSFORMER = (
    "huggingface.co/datasets/InstaDeepAI/nucleotide_transformer_downstream_tasks/resolve/"
    "9722b77543efe3c72dc19fa20f4524912aa6bf3b"
)


@pytest.fixture(scope="module")
def mirror(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("simulated") / "mirror"
    write_mirror(out, seed=1)
    return out


@pytest.fixture(scope="module")
def genome(mirror, tmp_path_factory) -> pyfaidx.Fasta:
    path = tmp_path_factory.mktemp("genome") / "genome.fa"
    path.write_bytes(gzip.decompress((mirror / "storage.googleapis.com/basenji_barnyard2/hg38.ml.fa.gz").read_bytes()))
    return pyfaidx.Fasta(str(path), as_raw=True)


def rows(path: Path) -> list[tuple[str, str]]:
    """Sequence and label of each record `>name|label`."""
    records = (record.split("\n") for record in path.read_text().split(">")[1:])
    return [("".join(lines), head.rsplit("|")[-1]) for head, *lines in records]


def opposite(sequence: str) -> str:
    return decode(reverse_complement(encode(sequence)[0]))


def digests(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bytes_and_another_does_not(mirror, tmp_path):
    """Also in another process, where sets and dictionaries of names have another order."""
    words = [Path(sys.executable).with_name("convnova"), "simulate", "--seed", "1", "--out", tmp_path / "again"]
    subprocess.run(words, env=os.environ | {"PYTHONHASHSEED": "7"}, check=True)
    write_mirror(tmp_path / "other", seed=2)
    first, again, other = digests(mirror), digests(tmp_path / "again"), digests(tmp_path / "other")
    listed = (line.split("  ") for line in (mirror / "SHA256SUMS").read_text().splitlines())
    assert first == again == {name: digest for digest, name in listed} | {"SHA256SUMS": first["SHA256SUMS"]}
    assert first.keys() == other.keys() and all(first[name] != other[name] for name in first)


def test_a_folder_with_other_files_is_not_replaced(tmp_path):
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(ConvNovaError, match="an earlier mirror, found other files"):
        write_mirror(tmp_path, 1)
    assert (tmp_path / "thesis.txt").exists()


def test_the_genome_has_gaps_lower_case_and_intervals_inside_it(mirror, genome):
    for record in genome:
        letters = record[:]
        assert set(letters) <= set("ACGTNacgt") and letters.startswith("N" * 1000) and letters.endswith("N" * 1000)
        assert sum(letters.count(base) for base in "acgt") > 1000
    covered: dict[str, set[tuple[str, int]]] = {}
    for line in (mirror / "storage.googleapis.com/basenji_barnyard2/sequences_human.bed").read_text().splitlines():
        name, start, end, split = line.split("\t")
        assert int(end) - int(start) == 131_072 and int(start) >= 0 and int(end) <= len(genome[name])
        covered.setdefault(split, set()).update((name, base) for base in range(int(start), int(end), 64))
    assert covered.keys() == {"train", "valid", "test"} and not covered["train"] & covered["test"]


def test_genes_of_both_strands_have_promoter_start_codon_and_stop_codon_in_frame(genome):
    boxes, strands = {True: [], False: []}, set()
    for place, gene in make_genome(1).genes:
        locus = genome[place.chromosome][place.start : place.end].upper()
        locus = opposite(locus) if place.strand == "-" else locus
        strands.add(place.strand)
        coding = "".join(locus[start:end] for start, end in gene.coding)
        codons = re.findall("...", coding)
        assert len(coding) % 3 == 0 and codons[0] == "ATG" and not {"TAA", "TAG", "TGA"} & set(codons)
        assert locus[gene.coding[-1][1] :][:3] in {"TAA", "TAG", "TGA"}
        assert all(locus[start:end][:2] == "GT" and locus[start:end][-2:] == "AG" for start, end in gene.introns)
        boxes[gene.tata].append(bool(re.search("TATA[AT]A", locus[UPSTREAM - 35 : UPSTREAM - 20])))
    assert strands == {"+", "-"}
    assert np.mean(boxes[True]) > 0.7 and np.mean(boxes[False]) < 0.1 and min(map(len, boxes.values())) > 50


@pytest.mark.parametrize(
    "task, motifs",
    [
        ("enhancers", ["ATGA[CG]TCAT", "AGATAAGGA", "ACCGGAAGTG", "ATTTGCATA"]),
        ("H3", ["TTACCCGGA", "CATATGTGCA", "GGTTCAAGA"]),
        ("H4ac", ["AGTCGACTT", "CCGATATGG", "TGGACAAGC"]),
    ],
)
def test_enhancers_and_domains_are_clusters_of_their_motifs(mirror, task, motifs):
    """On either strand; the other class has them by chance alone, once in some thousand bases."""
    counts = {"0": [], "1": []}
    for sequence, label in rows(mirror / TRANSFORMER / task / "test.fna"):
        both = sequence.upper() + " " + opposite(sequence.upper())
        counts[label].append(sum(len(re.findall(motif, both)) for motif in motifs))
    assert np.mean(counts["1"]) > 5 > 0.5 > np.mean(counts["0"])


@pytest.mark.parametrize("split", ["train", "test"])
def test_splice_windows_have_their_sites_at_the_stated_places(mirror, split):
    labelled = rows(mirror / TRANSFORMER / f"splice_sites_all/{split}.fna")
    acceptors, donors, decoys = ([text.upper() for text, label in labelled if label == name] for name in "012")
    assert {len(sequence) for sequence, _ in labelled} == {400}
    assert {sequence[198:200] for sequence in acceptors} == {"AG"} and {text[200:202] for text in donors} == {"GT"}
    assert all(sequence[198:200] == "AG" or sequence[200:202] == "GT" for sequence in decoys)
    assert min(map(len, (acceptors, donors, decoys))) >= len(labelled) // 4


def test_the_ten_marks_and_other_tasks_are_balanced_and_of_their_lengths(mirror):
    marks = ["H3", "H3K14ac", "H3K36me3", "H3K4me1", "H3K4me2", "H3K4me3", "H3K79me3", "H3K9ac", "H4", "H4ac"]
    for task, length in {"promoter_tata": 300, "enhancers": 200, **dict.fromkeys(marks, 500)}.items():
        train, test = (rows(mirror / TRANSFORMER / task / f"{split}.fna") for split in ("train", "test"))
        for split in (train, test):
            assert max(len(sequence) for sequence, _ in split) == length
            assert 0.4 < np.mean([label == "1" for _, label in split]) < 0.6
        assert {sequence.upper() for sequence, _ in train}.isdisjoint(sequence.upper() for sequence, _ in test)


@pytest.mark.parametrize("name, length", [("demo_coding_vs_intergenomic_seqs", 200), ("human_nontata_promoters", 251)])
def test_genomic_benchmarks_archives_hold_a_file_a_sequence(mirror, name, length):
    with zipfile.ZipFile(mirror / f"zenodo.org/records/16605299/files/{name}_v0.zip") as archive:
        files = [entry for entry in archive.namelist() if entry.endswith(".txt")]
        assert {entry.split("/")[0] for entry in files} == {name}
        assert len({tuple(entry.split("/")[1:3]) for entry in files}) == 4
        assert {len(archive.read(entry)) for entry in files} == {length}


def test_labels_of_bases_agree_with_the_sequence(mirror, genome):
    folder = mirror / "sid.erda.dk/share_redirect/f6hdp1zTzh/data/gene_finding"
    header, *lines = (folder / "gene_finding.bed").read_text().splitlines()
    assert header.split("\t")[-1] == "split"
    seen = set()
    with h5py.File(folder / "gene_finding.hdf5") as file:
        assert len(file["labels"]) == len(lines)
        for line, stored in zip(lines, file["labels"], strict=True):
            name, start, end = line.split("\t")[:3]
            sequence, labels = genome[name][int(start) : int(end)].upper(), np.asarray(stored)[: int(end) - int(start)]
            seen |= set(labels.tolist())
            for label, first, pair in ((1, 0, "GT"), (3, -1, "AG"), (5, -1, "AC"), (7, 0, "CT")):
                places = np.flatnonzero(labels == label) + first
                assert {sequence[place : place + 2] for place in places} <= {pair}
    assert seen == set(range(9))


def test_chromatin_files_have_both_strands_in_the_published_order(mirror):
    with tarfile.open(mirror / "deepsea.princeton.edu/media/code/deepsea_train_bundle.v0.9.tar.gz") as archive:
        content = {name: archive.extractfile(f"deepsea_train/{name}.mat").read() for name in ("train", "valid", "test")}
    with h5py.File(io.BytesIO(content["train"])) as file:
        assert file["trainxdata"].shape[:2] == (1000, 4) and file["traindata"].shape[0] == 919
    test = scipy.io.loadmat(io.BytesIO(content["test"]))
    sequences, labels = test["testxdata"], test["testdata"]
    half = len(sequences) // 2
    assert sequences.shape == (2 * half, 4, 1000) and labels.shape == (2 * half, 919)
    # Channels A G C T: reversing positions and exchanging A with T, G with C, is the other strand.
    assert (sequences[half:] == sequences[:half, [3, 2, 1, 0], ::-1]).all()
    assert (labels[half:] == labels[:half]).all()
    assert (labels.sum(0) == 0).any() and 0.001 < labels.mean() < 0.3
