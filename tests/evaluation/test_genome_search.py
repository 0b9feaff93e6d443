"""Where rows lie in a genome, against plain strings."""

import csv
import gzip
import itertools
import shutil
from pathlib import Path

import numpy as np
import pytest
from dna_strings import exact_places, mutated, opposite, random_rows, sequences, yeast

from convnova.data.dna import encode
from convnova.errors import ConvNovaError
from convnova.evaluation.leakage import kmer_index
from convnova.evaluation.leakage.genome_search import Hit, search, stated_positions


@pytest.mark.parametrize("seed", range(3))
def test_rows_are_found_at_every_place_and_on_both_strands(seed, monkeypatch):
    monkeypatch.setattr(kmer_index, "PIECE", 40)
    rng = np.random.default_rng(seed)
    first, second, repeat = random_rows(rng, 2, 3000, 3000) + random_rows(rng, 1, 120, 120)
    genome = {"a": first + repeat + "N" * 500 + second[:500], "b": repeat + second + opposite(repeat), "c": "ACGT"}
    cuts = [("a", 0, 200), ("b", 0, 90), ("a", 2900, 3120), ("b", 3140, 3240), ("b", 200, 1500), ("a", 3700, 3800)]
    rows = [genome[name][start:end] for name, start, end in cuts]
    rows += [opposite(text) for text in rows] + random_rows(rng, 5, 40, 300) + ["A" * 50]
    expected = exact_places(rows, genome)
    assert len(expected) > 20
    assert sorted(search(sequences(rows), {name: encode(text)[0] for name, text in genome.items()})) == sorted(expected)


def test_a_changed_base_is_forgiven_and_an_n_run_is_not_poly_a():
    (text,) = random_rows(np.random.default_rng(1), 1, 400, 400)
    genome = {"a": encode("N" * 300 + text)[0]}
    changed = text[100:110] + opposite(text[110]) + text[111:300]
    assert search(sequences([text[100:300], changed]), genome) == [Hit(0, "a", 400, 600), Hit(1, "a", 400, 600)]
    assert search(sequences(["A" * 100, "N" * 100, text[:32], text[100:180] + "ACGT" * 25]), genome) == []
    assert search(sequences(["ACGT"]), genome) == []


def test_stated_positions(tmp_path):
    (tmp_path / "test.bed").write_text("1\t5\t20\tyes\nchr2\t0\t10\tno\n")
    hits = stated_positions("bed", {"test": tmp_path / "test.bed"}, {"chr1": 30, "chr2": 10})
    assert hits == [Hit(0, "chr1", 5, 20), Hit(1, "chr2", 0, 10)]
    lines = ["chromosome start end transcript_id split", "chr1 1 9 x train", "chr1 3 8 y test", "chr1 4 9 z test", ""]
    (tmp_path / "genes.bed").write_text("\n".join(lines).replace(" ", "\t"))
    files = {"intervals": tmp_path / "genes.bed", "labels": tmp_path / "genes.hdf5"}
    assert stated_positions("bend", files, {"chr1": 30}) == [Hit(0, "chr1", 3, 8), Hit(1, "chr1", 4, 9)]
    for split, label in itertools.product(("train", "test"), ("negative", "positive")):
        path = tmp_path / "sets" / split / f"{label}.csv.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        line = f"id,region,start,end,strand\n0,chr1,{len(split)},{len(label)},-\n"
        path.write_bytes(gzip.compress(line.encode()))
    archive = shutil.make_archive(str(tmp_path / "sets"), "zip", tmp_path, "sets")
    for path in (tmp_path / "sets", Path(archive)):
        hits = stated_positions("genomic_benchmarks", {"intervals": path}, {"chr1": 30})
        assert hits == [Hit(0, "chr1", 4, 8), Hit(1, "chr1", 4, 8)]
    assert stated_positions("genomic_benchmarks", {"archive": tmp_path / "sets.zip"}, {"chr1": 30}) is None
    assert stated_positions("csv", {"train": tmp_path, "test": tmp_path}, {"chr1": 30}) is None
    with pytest.raises(ConvNovaError, match="test.bed line 2: .*'chr2'"):
        stated_positions("bed", {"test": tmp_path / "test.bed"}, {"chr1": 30})


def test_real_histone_sequences_in_the_real_yeast_genome(shared):
    with gzip.open(shared / "data/gue_emp_yeast_histone/H3/test.csv.gz", "rt") as table:
        rows = [line["sequence"] for line in csv.DictReader(table)]
    chromosomes = yeast(shared)
    expected = exact_places(rows, chromosomes)
    found = set(search(sequences(rows), {name: encode(bases)[0] for name, bases in chromosomes.items()}))
    assert len({hit.row for hit in expected}) > 0.96 * len(rows)
    assert expected <= found
    for row, chrom, start, end in found - expected:  # two of the anchors are there on one of the strands
        last, strands = end - start - 32, (chromosomes[chrom][start:end], opposite(chromosomes[chrom][start:end]))
        anchors = [[rows[row].startswith(text[at : at + 32], at) for at in (0, last // 2, last)] for text in strands]
        assert max(map(sum, anchors)) >= 2


def test_mutated_rows_are_found_unless_two_anchors_are_hit():
    rng = np.random.default_rng(2)
    (text,) = random_rows(rng, 1, 20_000, 20_000)
    rows = [mutated(rng, text[start : start + 400], 0.01) for start in range(0, 19_000, 100)]
    placed = {place.row: place.start for place in search(sequences(rows), {"a": encode(text)[0]})}
    for row, changed in enumerate(rows):
        kept = [changed[a : a + 32] == text[row * 100 + a : row * 100 + a + 32] for a in (0, 184, 368)]
        assert placed.get(row) == (row * 100 if sum(kept) > 1 else None)
    assert 100 < len(placed) < len(rows)
