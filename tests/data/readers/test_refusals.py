"""Files that a reader refuses: what the message names. Short it is, whatever the file holds."""

import pytest
from reading import GENOME, refuse, save


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("csv", "seq,label\nACGT,1\n", "'sequence' in the header, found seq, label; is 'seq'"),
        ("csv", "sequence,labels\nACGT,1\n", "'label' in the header, found sequence, labels; is 'labels'"),
        ("csv", "", "'sequence' in the header, found an empty file"),
        ("csv", "sequence,label\nACGT,1\nACGT\n", "line 3: .*2 columns in the header, 1 here"),
        ("csv", "sequence,label\nACGT,1\n,1\n", "row 2: expected a sequence"),
        ("csv", "sequence,label\nACGT,1\nACGT, \n", "train row 2: expected a label"),
        ("csv", "sequence,label\nACGT,1\nAC,0\nMLEK,1\n", "row 3: .*'L' at position 2"),
        ("csv", 'sequence,label\nACGT,1\n"ACGT,1\nAC",1\nGG,0\n', "line 3: .*quotes"),
        ("csv", 'sequence,label\nACGT,1\nACGT,"a\nb"\n', "line 3: .*quotes"),
        ("csv", 'sequence,label\nACGT,"1"0\n', "line 2: .*quotes"),
        ("csv", "sequence,label,label\nACGT,1,0\n", "one column 'label'"),
        ("csv", f"sequence,label\nACGT,1\nACGT,{'x' * 20_000}\n", "row 2: expected a label of .*20,000 letters"),
        ("csv", "sequence,label\nACGT,1\nACGT,\ufffd\n", "row 2: expected a label"),
        ("csv", "sequence,label\nACGT,a\x00b\n", "row 1: expected a label"),
        ("csv", f"{'x' * 3_000},label\nACGT,1\n", "column 'sequence'"),
        ("fasta", f">{'a' * 3_000_000}|1\nACGT\n", "train: .*headers.*3,000,002 letters in line 1"),
        ("fasta", ">a|b\tc\nACGT\n", "row 1: expected a label"),
        ("fasta", ">a|1\nACGT\n>b\nACGT\n", "row 2: .*'>name|label', found '>b'"),
        ("fasta", ">a|\nACGT\n", "row 1: .*'>name|label', found '>a|'"),
        ("fasta", ">a|1\nACGT\n>b|1\nMLEK\n", "row 2: expected nucleotides"),
        ("fasta", ">a|1\n>b|1\nACGT\n", "found none for 'a|1' in line 1"),
        ("bed", "chr1\t0\t4\n", "line 1: .*label, found 'chr1 0 4'"),
        ("bed", "chrom\tstart\tend\tname\nchr1\t0\t4\tx\n", "line 2: .*label.* under chrom, start"),
        ("bed", "chr1\t0\t4\ta\nchr1\t0\t17\ta\n", "line 2: .*within chr1, which has 16 bases"),
        ("bed", "chr1\t0\t4\ta\t0\tx\n", "line 1: expected a strand.*'x'"),
        ("bed", f"chr1\t0\t{'9' * 5_000}\ta\n", "line 1: expected chromosome, start and end"),
        ("bed", "chr1\t0\t\u0664\ta\n", "line 1: expected chromosome, start and end"),
        ("bed", f"{'x' * 100_000}\t0\t4\ta\n", "line 1: expected a chromosome of the genome"),
        ("bed", "chr1\t0\t4\ta\nchr1\t0\t4\tachr1\t4\t8\ta\n", "line 2: .*as many columns.*found 7 after 4"),
        ("bed", f"chr1\t0\t4\t{'a' * 101}\n", "line 1: expected a label"),
        ("genomic_benchmarks", "0,chr1,0,4,+\n1,chr1,4,17,+\n", "train/a.csv.gz line 3.*within chr1, which has 16"),
        ("genomic_benchmarks", '0,chr1,0,4,"\n1,chr1,4,8,"\n', "line 2: .*quotes"),
        ("genomic_benchmarks", "0,chr7,0,4,+\n", "line 2: expected a chromosome of the genome, found 'chr7'"),
        ("genomic_benchmarks", "0,chr1,0,4,?\n", "line 2: expected a strand"),
        ("genomic_benchmarks", "0,chr1,0,4\n", "line 2: expected a table: 5 columns in the header, 4 here"),
    ],
)
def test_wrong_text(tmp_path, name, text, message):
    if name == "genomic_benchmarks":
        save(tmp_path / "train/a.csv.gz", "id,region,start,end,strand\n" + text)
        files = {"intervals": tmp_path}
    else:
        files = {"train": save(tmp_path / "train", text)}
    refuse(message, name, files, GENOME)
