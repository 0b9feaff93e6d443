"""Scores of variants: those of a plain loop, over everything that a VCF may hold."""

import gzip
import os
import re
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from saved_models import save_language_model, save_predictor

import convnova
from convnova.data.dna import encode
from convnova.errors import ConvNovaError
from convnova.inference import variants

CHROMOSOME = "".join(np.random.default_rng(7).choice(list("ACGT"), 1500))
SHORT = CHROMOSOME[700:730]
HEAD = """##fileformat=VCFv4.3
##INFO=<ID=DP,Number=1,Type=Integer,Description="Depth">
#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO
"""
WINDOW = 100
OPPOSITE = str.maketrans("ACGT", "TGCA")


def other(base: str, step: int = 1) -> str:
    return "ACGT"[("ACGT".index(base) + step) % 4]


def line(pos: int, ref: str | None = None, alt: str | None = None, chrom: str = "chr1", info: str = ".") -> str:
    ref = ref or CHROMOSOME[pos - 1]
    return f"{chrom}\t{pos}\t.\t{ref}\t{alt or other(ref[0])}\t.\t.\t{info}\n"


SCORED = [
    *(line(pos) for pos in (1, 2, 49, 50, 51, 52, 700, 1449, 1450, 1451, 1499, 1500)),
    line(300, alt=f"{other(CHROMOSOME[299])},{other(CHROMOSOME[299], 2)},{other(CHROMOSOME[299], 3)}"),
    line(400, CHROMOSOME[399:403], CHROMOSOME[399]), line(410, alt=CHROMOSOME[409] + "GATTACA"),
    line(420, CHROMOSOME[419:422], "GGG" if CHROMOSOME[419] != "G" else "CCC"),
    line(1500, alt=CHROMOSOME[1499] + "ACGTACG"),
    line(1498, CHROMOSOME[1497:1500], CHROMOSOME[1497]), line(1, alt="ACGTACGTA"), line(5, chrom="1"),
    line(3, SHORT[2], other(SHORT[2]), chrom="short"), line(30, SHORT[29], other(SHORT[29]) + "A", chrom="short"),
    line(700, CHROMOSOME[699].lower(), other(CHROMOSOME[699])),
]  # fmt: skip


@pytest.fixture(scope="module")
def fasta(tmp_path_factory):
    path = tmp_path_factory.mktemp("genome") / "g.fa"
    folded = "\n".join(CHROMOSOME[i : i + 60] for i in range(0, 1500, 60))
    path.write_text(f">chr1 made\n{folded}\n>short\n{SHORT}\n")
    return path


@pytest.fixture(params=["masked", "classes", "per_base"])
def model(request, tmp_path):
    if request.param == "masked":
        save_language_model(tmp_path)
    else:
        save_predictor(tmp_path, kind=request.param)
    return convnova.load(tmp_path)


def write(path, *lines: str):
    path.write_text(HEAD + "".join(lines))
    return path


def plain(model, chrom: str, start: int, ref: str, alt: str, strands: str) -> list[float]:
    """One window, one strand at a time, by strings: what the definition says."""
    sequence = SHORT if chrom == "short" else CHROMOSOME
    begin = max(0, min(start - WINDOW // 2, len(sequence) - WINDOW))
    results = []
    for strand in ("forward", "reverse")[: 1 if strands == "forward" else 2]:
        values = []
        for allele in (ref, alt):
            left = sequence[begin:start]
            text = left + allele + sequence[start + len(ref) :]
            surplus = max(0, len(left) + max(len(ref), len(alt)) - WINDOW)  # both begin at the same base
            text, left = text[surplus:], left[surplus:]
            text, places = text[:WINDOW], list(range(len(left), len(left) + len(allele)))
            if strand == "reverse":
                text, places = text[::-1].translate(OPPOSITE), [len(text) - 1 - place for place in places]
            tokens = torch.from_numpy(encode(text)[0]).long()
            with torch.inference_mode():
                if model.network.kind == "masked":
                    masked = tokens.clone()
                    masked[places] = 4
                    logits = model.network.module(masked[None])[0]
                    values.append([sum(float(logits[p, :4].log_softmax(-1)[tokens[p]]) for p in places)])
                else:
                    logits = model.network.module(tokens[None])[0]
                    values.append((logits[places[0]] if model.network.kind == "per_base" else logits).tolist())
        results.append(np.subtract(values[1], values[0]))
    return np.mean(results, 0)


@pytest.mark.parametrize("strands", ["forward", "both"])
def test_scores_are_those_of_a_plain_loop(model, fasta, tmp_path, strands):
    if model.network.kind == "per_base" and strands == "both":
        pytest.skip("bases have labels on one strand")
    table = model.score_variants(write(tmp_path / "v.vcf", *SCORED), fasta, window=WINDOW, strands=strands)
    assert len(table) == len(SCORED) + 2 and not table["skipped"].any()
    for row in table.itertuples(index=False):
        chrom = "short" if row.chrom == "short" else "chr1"
        expected = plain(model, chrom, row.pos - 1, row.ref.upper(), row.alt, strands)
        np.testing.assert_allclose(row[5:-1], expected, atol=1e-5)
    assert np.abs(table.iloc[:, 5]).min() > 1e-7, "each variant does something"


def test_what_is_not_scored_is_counted_and_named(model, fasta, tmp_path, capsys):
    wrong = line(700, other(CHROMOSOME[699]), "N" if CHROMOSOME[699] == "N" else CHROMOSOME[699])
    lines = [
        line(10), wrong, line(10, alt="<DEL>"), line(10, alt="*"), line(10, alt="."), line(10, alt="G]chr1:77]"),
        line(1501, "A", "C"), line(0, "A", "C"), line(10, chrom="chr9"), line(1400, CHROMOSOME[1399:1451], "A"),
        line(1499, CHROMOSOME[1498:] + "A", "T"),
    ]  # fmt: skip
    table = model.score_variants(write(tmp_path / "v.vcf", *lines), fasta, window=WINDOW)
    reasons = ["", "reference", *["letters"] * 4, *["position"] * 3, "length", "position"]
    assert table["skipped"].tolist() == reasons
    assert table.iloc[:, 5].isna().tolist() == [reason != "" for reason in reasons]
    printed = capsys.readouterr().err
    assert f"v.vcf line 5: expected REF {CHROMOSOME[699]}" in printed and "1 of 11 alleles are scored" in printed
    assert "4 for an allele" in printed and "4 for a place" in printed and "1 for a REF" in printed
    for refused in (wrong, line(1501, "A", "C")):
        with pytest.raises(ConvNovaError, match="v.vcf line 5: expected"):
            model.score_variants(
                write(tmp_path / "v.vcf", line(10), refused), fasta, strict=True, out=tmp_path / "o.vcf"
            )
        assert not (tmp_path / "o.vcf").exists()


@pytest.mark.parametrize("packed", [False, True])
def test_the_vcf_comes_back_with_declared_fields(fasta, tmp_path, packed):
    """Read by another parser, where it is there: every field of the lines is declared, and nothing else is changed."""
    save_predictor(tmp_path, classes=("no", "yes or so", "maybe"))
    model, path, out = convnova.load(tmp_path), tmp_path / "v.vcf", tmp_path / "out.vcf"
    write(
        path,
        line(10, info="DP=3"),
        line(20, alt=f"{other(CHROMOSOME[19])},<DEL>"),
        line(30, other(CHROMOSOME[29]), "T"),
    )
    table = model.score_variants(path, fasta)
    if packed:
        path.write_bytes(gzip.compress(path.read_bytes()))
    assert model.score_variants(path, fasta, out=out) is None
    header = [text for text in out.read_text().splitlines() if text.startswith("#")]
    declared = {re.match(r"##INFO=<ID=([^,]+),Number=A", text)[1] for text in header if "Number=A" in text}
    assert declared == {"CONVNOVA_no", "CONVNOVA_yes_or_so", "CONVNOVA_maybe", "CONVNOVA_SKIPPED"}
    assert "window=100" in next(text for text in header if text.startswith("##convnova=")) and header[-1].startswith(
        "#CHROM"
    )
    first, second, third = (text.split("\t") for text in out.read_text().splitlines() if not text.startswith("#"))
    info = dict(part.split("=") for part in first[7].split(";"))
    assert info.keys() == {"DP", *declared} - {"CONVNOVA_SKIPPED"}
    assert float(info["CONVNOVA_yes_or_so"]) == pytest.approx(table["yes or so"][0], rel=1e-5)
    info = dict(part.split("=") for part in second[7].split(";"))
    assert info["CONVNOVA_no"].endswith(",.") and info["CONVNOVA_SKIPPED"] == ".,letters"
    assert (
        third[7].endswith("CONVNOVA_SKIPPED=reference")
        and third[:5] == line(30, other(CHROMOSOME[29]), "T").split("\t")[:5]
    )
    model.score_variants(out, fasta, out=tmp_path / "again.vcf")
    again = (tmp_path / "again.vcf").read_text()
    assert again.replace(str(out), str(path)) == out.read_text() or again.count("##convnova=") == 2
    assert again.count("##INFO=<ID=CONVNOVA_no,") == 1 and again.count("CONVNOVA_no=") == 3
    pysam = pytest.importorskip("pysam", reason="the package pysam is not installed")
    with pysam.VariantFile(str(out)) as file:
        assert [record.info["CONVNOVA_maybe"][0] for record in file][0] == pytest.approx(table["maybe"][0], rel=1e-5)


def test_classes_of_alike_names_have_fields_of_their_own_and_an_earlier_reason_goes(fasta, tmp_path):
    save_predictor(tmp_path, classes=("CD4+", "CD4-", 'B "1"'))
    model, out = convnova.load(tmp_path), tmp_path / "out.vcf"
    text = HEAD + line(10, info="CONVNOVA_SKIPPED=length;DIS=Sj\xf6gren")
    (tmp_path / "v.vcf").write_bytes(text.encode("latin-1"))
    model.score_variants(tmp_path / "v.vcf", fasta, out=out)
    (scored,) = (row for row in out.read_bytes().splitlines() if not row.startswith(b"#"))
    assert scored.count(b"CONVNOVA_") == 3 and b"CONVNOVA_CD4__0=" in scored and b"CONVNOVA_CD4__1=" in scored
    assert b"SKIPPED" not in scored and b"Sj\xf6gren" in scored
    assert b"Logit of B _1_ of ALT" in out.read_bytes()


def test_memory_does_not_grow_with_the_variants(fasta, tmp_path, monkeypatch):
    monkeypatch.setattr(variants, "LINES", 256)
    save_language_model(tmp_path)
    model, peaks = convnova.load(tmp_path), []
    for count in (1_000, 3_000):
        path = tmp_path / "v.vcf"
        path.write_text(HEAD + "".join(line(pos % 1400 + 1) for pos in range(count)))
        tracemalloc.start()
        model.score_variants(path, fasta, window=8, out=tmp_path / "o.vcf")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert (tmp_path / "o.vcf").read_text().count("CONVNOVA_LLR=") == count
    assert peaks[1] < 1.1 * peaks[0]


def test_a_tokenized_genome_gives_the_same(model, fasta, tmp_path):
    from convnova.data.genome import tokenize_genome

    filler = "".join(f">filler{number}\n{CHROMOSOME[:100]}\n" for number in range(20))
    (tmp_path / "more.fa").write_text(fasta.read_text() + filler)
    tokenize_genome(tmp_path / "more.fa", tmp_path / "tokens")
    path = write(tmp_path / "v.vcf", *SCORED)
    one, two = (model.score_variants(path, genome, window=WINDOW) for genome in (fasta, tmp_path / "tokens"))
    assert one.equals(two)


def test_a_window_that_the_model_cannot_read_is_refused(fasta, tmp_path):
    save_predictor(tmp_path, "hyenadna", {"width": 8, "layers": 1, "length": 60})
    model, path = convnova.load(tmp_path), write(tmp_path / "v.vcf", line(10))
    assert len(model.score_variants(path, fasta)) == 1
    for window in (61, 1):
        with pytest.raises(ConvNovaError, match=f"window = {window}: expected 2 to 60"):
            model.score_variants(path, fasta, window=window)


PEAKS = """
import sys
from pathlib import Path
import convnova
from convnova.training.devices import keep_freed_memory, peak_resident
keep_freed_memory()
model = convnova.load(sys.argv[1])
for count in (40, 240):
    lines = [f"chr1\\t{place}\\t.\\tA\\tC\\t.\\t.\\t." for place in range(1000, 1000 + count)]
    Path("v.vcf").write_text(sys.argv[2] + "\\n".join([*lines, ""]))
    model.score_variants("v.vcf", "genome.fa", 1024, out="scored.vcf")
    print(peak_resident())
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_variants(tmp_path, monkeypatch):
    """Six times as many variants, whose windows have 200 MB of features more, in a process of its own."""
    monkeypatch.chdir(tmp_path)
    save_predictor(tmp_path / "model", "convnova", {"width": 128, "kernel": 9})
    Path("genome.fa").write_text(">chr1\n" + "A" * 5000 + "\n")
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", PEAKS, str(tmp_path / "model"), HEAD]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    first, second = map(int, done.stdout.split())
    assert second - first < 40e6
