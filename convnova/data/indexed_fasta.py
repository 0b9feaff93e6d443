"""Random access to a genome: a FASTA on disk through its index, by pyfaidx, or a tokenized genome."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from convnova.data import dna
from convnova.data.genome import GENOME_FILE, read_genome
from convnova.data.unpack import GZIP_MAGIC
from convnova.errors import ConvNovaError
from convnova.files import atomic


class Chromosome:
    """One record of an indexed FASTA; a slice of it is read from the disk as tokens, uint8 (bases,)."""

    def __init__(self, record: Any, file: Path):
        self.record, self.file = record, file

    def __len__(self) -> int:
        return len(self.record)

    def __getitem__(self, part: slice) -> np.ndarray:
        letters = self.record[part]
        try:
            return dna.encode(letters)[0]
        except ValueError as error:
            place = f"{self.file} {self.record.name}:{part.start + 1}-{part.stop}"
            raise ConvNovaError(f"{place}: expected nucleotides; {error}; is it a protein sequence?") from error


def open_genome(path: str | Path) -> Mapping[str, Any]:
    """Open a genome without reading it.

    Args:
        path: a FASTA that is not compressed, whose index `<path>.fai` is made if it is missing or older; or the folder
            of a tokenized genome, which `convnova tokenize-genome` writes.

    Returns:
        Chromosome to an object with a length in bases, of which a slice is tokens, uint8 (bases,).

    Raises:
        ConvNovaError: no file, a compressed one, or one that is no FASTA.

    Example:
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     fasta = Path(folder, "genome.fa")
        ...     _ = fasta.write_text(">chr1 first\\nACGT\\nACGT\\n>chr2\\nNNA\\n")
        ...     genome = open_genome(fasta)
        ...     len(genome["chr1"]), genome["chr1"][2:6], len(genome["chr2"])
        (8, array([2, 3, 0, 1], dtype=uint8), 3)
    """
    path = Path(path)
    if Path(path, GENOME_FILE).is_file():
        return read_genome(path)
    if not path.is_file():
        found = "a folder without a tokenized genome" if path.is_dir() else "nothing"
        raise ConvNovaError(f"{path}: expected a FASTA or the folder of a tokenized genome, found {found}")
    with path.open("rb") as stream:
        if stream.read(2) == GZIP_MAGIC:
            advice = "unpack it with `gunzip`, or give the folder that `convnova tokenize-genome` made of it"
            raise ConvNovaError(f"{path}: expected a FASTA that is not compressed, found gzip; {advice}")
    import pyfaidx  # takes 0.1 s, which other readers of data need not wait for

    index = Path(f"{path}.fai")
    try:
        try:
            if not index.is_file() or index.stat().st_mtime < path.stat().st_mtime:
                with atomic(index) as temporary:
                    temporary.unlink()  # pyfaidx makes an index where none is, and would leave half of one if killed
                    pyfaidx.Faidx(str(path), indexname=str(temporary)).close()
            fasta = pyfaidx.Fasta(str(path), as_raw=True, indexname=str(index), build_index=False)
        except OSError:  # a folder that cannot be written: the index is needed only until it is read
            with tempfile.TemporaryDirectory() as folder:
                fasta = pyfaidx.Fasta(str(path), as_raw=True, indexname=f"{folder}/index.fai")
    except (pyfaidx.FastaIndexingError, ValueError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise ConvNovaError(f"{path}: expected FASTA records with lines of equal length: {reason}") from error
    return {name: Chromosome(fasta[name], path) for name in fasta.keys()}  # noqa: SIM118 - not a dictionary
