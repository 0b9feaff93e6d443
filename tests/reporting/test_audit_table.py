"""The audits of a run as tables and sentences."""

import copy
import csv
import json

import pytest

from convnova.errors import ConvNovaError
from convnova.reporting.audit_table import audit_table, meaning, percent, read_audits
from convnova.reporting.render import layout, tsv


def audited(**near: int) -> dict:
    """Made-up numbers of a task with 1,000 test rows and no leak but `near`."""
    split = {
        "rows": 1000, "bases": 200_000, "shortest": 100, "median": 200.0, "longest": 300, "N": 0, "other_letters": 0,
        "rows_with_N": 0, "all_N": 0, "classes": {"no": 500, "yes": 500},
        "equal": 0, "reverse": 0, "equal_other_label": 0, "reverse_other_label": 0,
    }  # fmt: skip
    twins = dict.fromkeys(("equal", "reverse", "equal_other_label", "reverse_other_label"), 0)
    nothing = {"rows": 1000, "without_kmers": 0, "near_duplicates": 0, "nearly_contained": 0, "shared_run": 0, "any": 0}
    parts = {"splits": {"train": split | {"rows": 4000}, "test": split}, "across": {"test in train": twins}}
    parts |= {"read": {"train.csv": 4000, "test.csv": 1000}, "skipped": {}}
    return copy.deepcopy({"suite": "mine", "task": "one_two", "kind": "classes", **parts, "overlap": nothing | near})


SEEN = {"genome": "hg38", "by": "sequence", "rows": 1000, "placed": 900, "read": 500, "train": 500, "test": 200}


@pytest.mark.parametrize(
    ("overlap", "sentence"),
    [
        ({"any": 0}, "None of 1,000 test rows repeats or overlaps a train row: scores are about unseen sequences."),
        ({"any": 9}, "9 of 1,000 {0} (0.9%): too few to matter, they can change accuracy by 0.0090 at most."),
        ({"any": 10}, "10 of 1,000 {0} (1.0%), so scores on this split somewhat overstate {2}."),
        ({"any": 100}, "100 of 1,000 {0} (10%), so scores on this split overstate {2}."),
        ({"any": 50, "rows": 200}, "50 of 200 {1} (25%), so scores on this split overstate {2}."),
    ],
)
def test_the_sentence_on_overlaps(overlap, sentence):
    plain, drawn = (f"test rows{of} repeat or overlap train rows" for of in ("", " (drawn at random of 1,000)"))
    assert meaning(audited(**overlap)) == [sentence.format(plain, drawn, "how well a model does on unseen sequences")]


def test_further_sentences():
    audit = audited()
    audit["across"]["test in train"]["equal_other_label"] = 1
    audit["splits"]["test"] |= {"equal_other_label": 2, "all_N": 3, "classes": {"no": 400, "yes": 600}}
    audit["pretraining"], audit["skipped"] = SEEN, {"comment lines of a.bed": 1234}
    assert meaning(audit)[1:] == [
        "1 of 1,000 test rows stand in train as well, with another label.",
        "2 of 1,000 test rows stand twice in test with different labels.",
        "3 of 1,000 test rows consist of N alone: a model can know no more of them.",
        "60% of the test labels are yes: always answering that is as often right.",
        "1,234 comment lines of a.bed were passed over.",
        "500 of 1,000 test rows (50%) lie in what pretraining reads: a pretrained model has seen their bases, "
        "though no label.",
    ]
    audit["pretraining"] = SEEN | {"placed": 0, "read": 0}
    assert meaning(audit)[-1] == "None of the test rows was found in the pretraining genome (hg38)."
    del audit["splits"]["test"]["classes"]
    audit["splits"]["test"]["labels"] = {"count": 919, "constant": 4, "least_median_largest": [0, 0.02, 0.4]}
    assert "4 of 919 labels are the same in all test rows and give no AUROC." in meaning(audit)


def test_percent():
    shares = [0, 1e-9, 0.001, 0.029, 0.0996, 0.31, 0.89, 0.9973, 0.99999, 1]
    assert [percent(share) for share in shares] == [
        "0%", "<0.1%", "0.1%", "2.9%", "10.0%", "31%", "89%", "99.7%", ">99.9%", "100%",
    ]  # fmt: skip


@pytest.fixture
def three() -> list[dict]:
    """One with leaks, one without, one with many labels and a validation split."""
    leaking = audited(any=250, near_duplicates=200, shared_run=230) | {"pretraining": SEEN}
    many = audited() | {"suite": "other", "task": "<many>"}
    many["splits"]["valid"] = copy.deepcopy(many["splits"]["test"])
    for split in many["splits"].values():
        del split["classes"]
        split["labels"] = {"count": 2, "constant": 0, "least_median_largest": [0.125, 0.25, 0.5]}
    return [leaking, audited() | {"task": "clean"}, many]


def test_every_number_is_in_the_tsv(three):
    lines = list(csv.DictReader(tsv(audit_table(three, False)).splitlines(), delimiter="\t"))
    assert [line["task"] for line in lines] == ["one_two", "clean", "<many>"]
    first, second, third = lines
    assert first["splits.train.rows"] == "4000" and first["splits.test.median"] == "200"
    assert first["splits.test.classes"] == "no=500; yes=500" and third["splits.test.classes"] == ""
    assert third["splits.valid.rows"] == "1000" and first["splits.valid.rows"] == ""
    assert third["splits.test.labels.least_median_largest"] == "0.125; 0.25; 0.5"
    assert (first["overlap.any"], first["pretraining.read"], second["pretraining.read"]) == ("250", "500", "")
    assert first["meaning"] == " ".join(meaning(three[0]))
    assert None not in first and None not in first.values()


def test_the_table_for_reading(three):
    table = audit_table(three, simulated=True)
    assert table.full_caption.startswith("Simulated genome")
    assert table.summary == "In 1 of 3 tasks test rows repeat or overlap train rows; most in mine/one_two, 25% of them."
    assert table.notes[2] == f"other/<many>: {' '.join(meaning(three[2]))}"
    read = layout(table)
    heads = [(head.group, head.text) for head in read.heads]
    first, second, third = (dict(zip(heads, row, strict=True)) for row in read.rows)
    assert (first["", "task"].text, first["", "suite"].text) == ("one_two", "mine")
    overlap = "test rows that overlap train"
    assert (first[overlap, "any"].text, first[overlap, "any"].value) == ("250 (25%)", 0.25)
    assert first[overlap, "near duplicates"].text == "200 (20%)" and first[overlap, "100 bases"].text == "230 (23%)"
    assert (second[overlap, "any"].text, second[overlap, "any"].value) == ("0", 0)
    genome = "test rows in pretraining"
    assert (first[genome, "in the genome"].text, first[genome, "read"].text) == ("900 (90%)", "500 (50%)")
    assert second[genome, "read"].text == ""
    assert [first["rows", name].text for name in ("train", "valid", "test")] == ["4,000", "", "1,000"]
    assert third["rows", "valid"].text == "1,000"
    assert (first["test rows", "bases"].text, first["test rows", "bases"].value) == ("100 to 300", 200)
    assert first["test rows", "largest class"].text == "no: 50%"
    assert third["test rows", "largest class"].text == "many labels"


def test_duplicates_are_counted_of_their_split():
    audit = audited()
    audit["across"]["test in train"] |= {"equal": 1, "reverse": 20, "equal_other_label": 3, "reverse_other_label": 4}
    audit["splits"]["train"] |= {"equal": 100, "reverse": 300}
    audit["splits"]["test"] |= {"equal": 10, "reverse": 20, "rows_with_N": 5, "all_N": 2}
    read = layout(audit_table([audit], False))
    row = {(head.group, head.text): cell.text for head, cell in zip(read.heads, read.rows[0], strict=True)}
    across = [row["exact duplicates in train", head] for head in ("same strand", "other strand", "other label")]
    assert across == ["1 (0.1%)", "20 (2.0%)", "7 (0.7%)"]
    within = [row["exact duplicates within a split", name] for name in ("train", "test")]
    assert within == ["400 (10%)", "30 (3.0%)"]
    assert (row["test rows", "with N"], row["test rows", "all N"]) == ("5 (0.5%)", "2 (0.2%)")


def test_what_is_no_audit_is_refused(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(audited()))
    assert read_audits([path]) == [audited()]
    for content, found in (
        ("{", "Expecting"),
        ('{"suite": "a"}', "other JSON"),
        ("[]", "found list"),
        (None, "No such"),
    ):
        path.write_text(content) if content else path.unlink()
        with pytest.raises(ConvNovaError, match=f"a.json: .*{found}"):
            read_audits([path])
