"""Commands that use a model: the numbers of the Python API and of the pipeline, in files of every form."""

import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread
from safetensors import safe_open
from safetensors.torch import save_file
from saved_models import save_language_model, save_predictor

import convnova
from convnova.cli.main import main
from convnova.files import seal

FINETUNED = "results/small/runs/nucleotide_transformer/H3/{}/heldout/seed=1"
MODEL, PRETRAINED = FINETUNED.format("convnova"), "results/small/pretrain/convnova"
TEST = "resources/small/raw/nucleotide_transformer/H3/test.fna"
CHROMOSOME = "".join(np.random.default_rng(3).choice(list("ACGT"), 300))
READERS = {"parquet": pd.read_parquet, "csv": pd.read_csv, "tsv": lambda path: pd.read_csv(path, sep="\t")}


def run(*words: object) -> int:
    return main(["--quiet", *map(str, words), "--threads", "1"])


def other(base: str, step: int = 1) -> str:
    return "ACGT"[("ACGT".index(base) + step) % 4]


@pytest.fixture
def folder(finished, tmp_path, monkeypatch):
    """A folder with a genome, variants and sequences, beside the finished run."""
    monkeypatch.chdir(tmp_path)
    for name in ("results", "resources"):
        Path(name).symlink_to(finished / name)
    Path("g.fa").write_text(f">chr1\n{CHROMOSOME}\n")
    Path("two.fa").write_text(f">one\n{CHROMOSOME[:50]}\n>two\n{CHROMOSOME[60:130]}\n")
    Path("two.bed").write_text("chr1\t0\t50\tone\nchr1\t60\t130\ttwo\n")
    lines = [f"chr1\t{pos}\t.\t{CHROMOSOME[pos - 1]}\t{other(CHROMOSOME[pos - 1])}" for pos in (1, 20, 300)]
    lines += [
        f"chr1\t30\t.\t{CHROMOSOME[29]}\t{other(CHROMOSOME[29])},{other(CHROMOSOME[29], 2)}",
        "chr1\t40\t.\tA\t<DEL>", f"chr1\t50\t.\t{other(CHROMOSOME[49])}\t{CHROMOSOME[49]}", "chr1\t301\t.\tA\tC",
    ]  # fmt: skip
    head = "##fileformat=VCFv4.3\n##contig=<ID=chr1,length=300>\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
    Path("v.vcf").write_text(head + "".join(f"{line}\t.\t.\t.\n" for line in lines))
    for name, text in {
        "protein.fa": ">p\nMKVLE\n",
        "empty.fa": "",
        "empty.vcf": "",
        "long.fa": f">l\n{'A' * 501}\n",
    }.items():
        Path(name).write_text(text)
    return tmp_path


@pytest.mark.parametrize("ending", READERS)
@pytest.mark.parametrize("model", ["convnova", "cnn"])
def test_predict_gives_the_predictions_of_the_pipeline(folder, model, ending):
    assert run("predict", FINETUNED.format(model), TEST, "--out", f"new/p.{ending}") == 0
    written = pd.read_parquet(f"{FINETUNED.format(model)}/predictions.parquet")
    table = READERS[ending](f"new/p.{ending}")
    np.testing.assert_allclose(table[["0", "1"]], np.stack(written["score"]), atol=1e-6)
    assert table["name"].tolist()[:2] == ["0|0", "1|1"]


def test_embed_gives_what_the_api_gives(folder):
    names, model = ["one", "two"], convnova.load(MODEL)
    for source, options in (("two.fa", []), ("two.bed", ["--genome", "g.fa"])):
        assert run("embed", MODEL, source, *options, "--out", "e.parquet") == 0
        table = pd.read_parquet("e.parquet")
        assert table["name"].tolist() == names and (table.dtypes.iloc[1:] == np.float32).all()
        np.testing.assert_array_equal(table.iloc[:, 1:], model.embed("two.fa"))
    assert run("embed", MODEL, "two.fa", "--per-base", "--out", "b.tsv") == 0
    table = READERS["tsv"]("b.tsv")
    assert table["position"].tolist() == [*range(50), *range(70)]
    for name, embedding in zip(names, model.embed("two.fa", per_base=True), strict=True):
        np.testing.assert_allclose(table[table["name"] == name].iloc[:, 2:], embedding, rtol=1e-6)


def test_options_of_the_model_reach_it(folder):
    for option, value in (("precision", "float32"), ("precision", "bfloat16"), ("device", "cpu")):
        assert run("embed", MODEL, "two.fa", f"--{option}", value, "--out", "e.parquet") == 0
        expected = convnova.load(MODEL, **{option: value}).embed("two.fa")
        np.testing.assert_array_equal(pd.read_parquet("e.parquet").iloc[:, 1:], expected)


def test_a_model_of_bases_gets_a_row_a_base(folder):
    save_predictor(folder / "bases", kind="per_base")
    assert run("predict", "bases", "two.fa", "--out", "p.csv") == 0
    table, expected = pd.read_csv("p.csv"), convnova.load("bases").predict("two.fa")
    assert table["position"].tolist() == [*range(50), *range(70)] and table["name"].nunique() == 2
    classes = np.concatenate(expected["predicted"].tolist())
    assert table["predicted"].tolist() == [("no", "yes", "maybe")[number] for number in classes]


def test_a_class_may_have_the_name_of_a_column(folder):
    save_predictor(folder / "named", classes=("name", "other"))
    assert run("predict", "named", "two.fa", "--out", "p.parquet") == 0
    assert pd.read_parquet("p.parquet").columns.tolist() == ["name", "name.1", "other"]


@pytest.mark.parametrize("model", [MODEL, PRETRAINED])
@pytest.mark.parametrize("strands", ["forward", "both"])
def test_score_variants_writes_the_vcf_back_or_a_table(folder, model, strands):
    pysam = pytest.importorskip("pysam")
    options = ("--genome", "g.fa", "--strands", strands, "--window", 64)
    expected = convnova.load(model).score_variants("v.vcf", "g.fa", window=64, strands=strands)
    assert expected["skipped"].tolist() == [""] * 5 + ["letters", "reference", "position"]
    assert run("score-variants", model, "v.vcf", *options, "--out", "s.tsv") == 0
    table = READERS["tsv"]("s.tsv")
    np.testing.assert_allclose(table.iloc[:, 5:-1], expected.iloc[:, 5:-1], rtol=1e-5)
    assert table["skipped"].fillna("").tolist() == expected["skipped"].tolist()
    for out in ("s.vcf", "s.vcf.gz"):
        assert run("score-variants", model, "v.vcf", *options, "--out", out) == 0
        with pysam.VariantFile(out) as file:
            records = list(file)
            keys = {key for key in file.header.info if key.startswith("CONVNOVA_")}
        for key in keys - {"CONVNOVA_SKIPPED"}:
            found = [value for record in records[:4] for value in record.info[key]]
            column = key.removeprefix("CONVNOVA_")
            np.testing.assert_allclose(found, expected[column][:5], rtol=1e-4, atol=1e-6)
        assert [record.info["CONVNOVA_SKIPPED"] for record in records[4:]] == [
            ("letters",),
            ("reference",),
            ("position",),
        ]


def test_a_packed_vcf_can_be_indexed(folder):
    pysam = pytest.importorskip("pysam")
    text = Path("v.vcf").read_text().splitlines(keepends=True)
    Path("v.vcf").write_text("".join(sorted(text, key=lambda line: int(line.split("\t")[1]) if line[0] != "#" else -1)))
    assert run("score-variants", MODEL, "v.vcf", "--genome", "g.fa", "--out", "s.vcf.gz") == 0
    pysam.tabix_index("s.vcf.gz", preset="vcf")
    with pysam.TabixFile("s.vcf.gz") as file:
        assert [line.split("\t")[1] for line in file.fetch("chr1", 28, 31)] == ["30"]


def test_mutagenesis_writes_tables_and_pictures(folder):
    options = ("--start", 5, "--end", 30, "--target", "1", "--strands", "both")
    outs = [f"m.{ending}" for ending in (*READERS, "png", "svg", "pdf")]
    assert run("mutagenesis", MODEL, "two.fa", "--name", "two", *options, "--out", *outs) == 0
    sequence = CHROMOSOME[60:130]
    expected = convnova.load(MODEL).mutagenesis(sequence, start=5, end=30, target="1", strands="both")
    for ending, read in READERS.items():
        table = read(f"m.{ending}")
        np.testing.assert_allclose(table[list("ACGT")], expected.values, rtol=1e-6)
        assert "".join(table["base"]) == sequence[5:30] and table["position"].tolist() == [*range(5, 30)]
    assert imread("m.png").std() > 0.05
    assert ET.parse("m.svg").getroot().tag.endswith("svg") and Path("m.pdf").read_bytes().startswith(b"%PDF-")


def test_a_checkpoint_of_the_authors_code_comes_with_its_settings(folder, shared):
    with safe_open(shared / "golden" / "mlm_k9_ffn.safetensors", "pt") as file:
        settings = json.loads(file.metadata()["config"])
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dictionary
    del settings["n_parameters"]
    weights = {key.replace("weights.", "model."): value for key, value in tensors.items() if key.startswith("weights.")}
    save_file(weights, "theirs.safetensors")
    Path("theirs.yaml").write_text(json.dumps(settings))
    assert run("embed", "theirs.safetensors", "two.fa", "--settings", "theirs.yaml", "--out", "e.parquet") == 0
    expected = convnova.load("theirs.safetensors", settings).embed("two.fa")
    np.testing.assert_array_equal(pd.read_parquet("e.parquet").iloc[:, 1:], expected)


@pytest.mark.parametrize(
    "words, named",
    [
        (f"embed {MODEL.replace('heldout', 'released')} two.fa --out new/a.csv", f"found none; .*{MODEL}"),
        ("embed nowhere two.fa --out new/a.csv", "nowhere: expected weights"),
        (f"embed {MODEL} ACGTACGT --out new/a.csv", "ACGTACGT: expected a file of sequences.*FASTA"),
        (f"embed {MODEL} protein.fa --out new/a.csv", "protein.fa row 1: .*protein"),
        (f"predict {MODEL} empty.fa --out new/a.csv", "empty.fa: .*empty"),
        (f"embed {MODEL} two.bed --out new/a.csv", "two.bed: expected a genome .*`genome`"),
        (f"embed {MODEL} two.fa --out new/a.xlsx", r"a.xlsx: expected a name that ends in .parquet, .csv, .tsv"),
        (f"embed {MODEL} two.fa --out g.fa/a.csv", "g.fa/a.csv: expected a file that can be written"),
        (f"embed {MODEL} two.fa --device cuda --out new/a.csv", "expected a GPU"),
        (f"predict {PRETRAINED} two.fa --out new/a.csv", "expected a fine-tuned model"),
        ("embed hyena long.fa --out new/a.csv", "at most 500 bases.* 501"),
        ("predict unfit two.fa --out new/a.csv", "expected a class an output, found 3 outputs and the classes a, b;"),
        (f"score-variants {MODEL} empty.vcf --genome g.fa --out new/a.vcf", "empty.vcf: expected variants"),
        (f"score-variants {MODEL} v.vcf --genome g.fa --strict --out new/a.vcf", "v.vcf line 9: expected REF"),
        (f"score-variants {MODEL} v.vcf --genome none.fa --out new/a.vcf", "none.fa: expected a FASTA"),
        (f"score-variants {MODEL} v.vcf --genome g.fa --window 1 --out new/a.vcf", "window = 1: expected 2"),
        (f"score-variants {MODEL} two.fa --genome g.fa --out new/a.vcf", "two.fa line 1: expected a VCF"),
        (f"mutagenesis {MODEL} two.fa --out new/a.png", "expected one sequence, found 2; .*: one, two$"),
        (f"mutagenesis {MODEL} two.fa --name on --out new/a.png", "with the name 'on', found 0; .*: one, two$"),
        (f"mutagenesis {MODEL} two.fa --name one --target 7 --out new/a.png", "target '7': expected one of 0, 1"),
        (f"mutagenesis {MODEL} two.fa --name one --start 90 --out new/a.png", "expected a part of the sequence of 50"),
        (f"mutagenesis {MODEL} two.fa --name one --out new/a.png new/b.gif", "b.gif: expected a name .*pdf"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_and_leaves_nothing(folder, capsys, monkeypatch, words, named):
    if " cuda " in words:
        monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    save_language_model(folder / "hyena", "hyenadna", {"width": 8, "layers": 1, "length": 500})
    save_predictor(folder / "unfit")
    about = json.loads(Path("unfit/weights.json").read_text())
    Path("unfit/weights.json").write_text(json.dumps(seal(about | {"classes": ["a", "b"]})))
    assert run(*words.split()) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and re.search(f"error: .*{named}", err.strip()), err
    assert not [path for path in Path("new").rglob("*") if path.is_file()]


def test_what_is_not_scored_is_counted_and_listed(folder, capsys):
    assert main(["score-variants", MODEL, "v.vcf", "--genome", "g.fa", "--out", "s.vcf", "--threads", "1"]) == 0
    err = capsys.readouterr().err
    assert "5 of 8 alleles are scored" in err and "v.vcf line 9: expected REF" in err and "'<DEL>'" in err
