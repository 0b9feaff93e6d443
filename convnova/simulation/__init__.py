"""The embedded genome: a small genome planted by known rules, and a mirror of the real sources made from it."""

import os
from pathlib import Path

from convnova.data.readers import bend
from convnova.errors import ConvNovaError
from convnova.files import scratch_folder, sha256
from convnova.log import log
from convnova.simulation import file_formats, task_rows
from convnova.simulation.genome import Genome, make_genome
from convnova.simulation.variants import variants

BASENJI = "storage.googleapis.com/basenji_barnyard2"
NUCLEOTIDE_TRANSFORMER = (
    "huggingface.co/datasets/InstaDeepAI/nucleotide_transformer_downstream_tasks"
    "/resolve/9722b77543efe3c72dc19fa20f4524912aa6bf3b"
)
GENOMIC_BENCHMARKS = "zenodo.org/records/16605299/files"
BEND = "sid.erda.dk/share_redirect/f6hdp1zTzh/data/gene_finding"
DEEPSEA = "deepsea.princeton.edu/media/code"
TRAITGYM = "huggingface.co/datasets/songlab/TraitGym/resolve/349e9985be8f9be04d13dab52dbc9676bfd0683f"
CHECKSUMS = "SHA256SUMS"


def write_mirror(out: str | Path, seed: int) -> None:
    """Write a simulated genome and its data sets, laid out as the real sources are.

    The file of `https://HOST/PATH?QUERY` lies at `out/HOST/PATH`; `out/SHA256SUMS` lists them all in
    the form of sha256sum. The same seed gives the same bytes. The folder appears as a whole and
    replaces an earlier mirror.

    Raises:
        ConvNovaError: a folder with other files stands there.
    """
    out = Path(out)
    if out.is_dir() and any(out.iterdir()) and not (out / CHECKSUMS).is_file():
        raise ConvNovaError(f"{out}: expected no folder, an empty one or an earlier mirror, found other files")
    with scratch_folder(out) as temporary:
        folder = temporary / "new"
        _write_sources(folder, make_genome(seed), seed)
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        lines = [f"{sha256(path)}  {path.relative_to(folder).as_posix()}\n" for path in paths]
        (folder / CHECKSUMS).write_text("".join(lines))
        if out.exists():
            os.replace(out, temporary / "old")
        os.replace(folder, out)
    log(f"{out}: simulated genome and data sets of seed {seed} written")


def _write_sources(root: Path, genome: Genome, seed: int) -> None:
    for name in (BASENJI, GENOMIC_BENCHMARKS, BEND, DEEPSEA):
        (root / name).mkdir(parents=True)
    file_formats.write_genome(root / BASENJI / "hg38.ml.fa.gz", genome)
    lines = [f"{r.chromosome}\t{r.start}\t{r.end}\t{split}\n" for r, split in task_rows.intervals(genome, seed)]
    (root / BASENJI / "sequences_human.bed").write_text("".join(lines))
    for name in task_rows.NUCLEOTIDE_TRANSFORMER:
        file_formats.write_fna(root / NUCLEOTIDE_TRANSFORMER / name, task_rows.make_splits(name, genome, seed))
    for name, classes in task_rows.CLASSES.items():
        splits = task_rows.make_splits(name, genome, seed)
        file_formats.write_zip(root / GENOMIC_BENCHMARKS / f"{name}_v0.zip", splits, classes)
    rows = enumerate(task_rows.gene_finding(genome, seed))
    bend.write(root / BEND, ((*region[:3], f"ENST{number:011d}.1", *row) for number, (region, *row) in rows))
    file_formats.write_variants(root / TRAITGYM / "mendelian_traits_matched_9" / "test.parquet", variants(genome, seed))
    bundle = root / DEEPSEA / "deepsea_train_bundle.v0.9.tar.gz"
    file_formats.write_deepsea(bundle, task_rows.chromatin_bins(genome, seed))
