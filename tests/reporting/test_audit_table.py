"""The audits of a run as tables and sentences."""

import copy
import csv
import json

import pytest

from convnova.errors import ConvNovaError
from convnova.reporting.audit_table import audit_table, meaning, percent, read_audits
from convnova.reporting.render import layout, tsv
from convnova.reporting.table import Cell, Table


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
    ("overlap", "parts"),
    [
        ({"any": 0}, ["None of 1,000 test rows ", "unseen sequences"]),
        ({"any": 9}, ["9 of 1,000 test rows repeat", "(0.9%): too few", "by 0.0090 at most"]),
        ({"any": 10}, ["10 of 1,000", "(1.0%), so", "somewhat overstate"]),
        ({"any": 100}, ["(10%), so", "split overstate"]),
        ({"any": 50, "rows": 200}, ["50 of 200 test rows (drawn at random of 1,000) repeat", "(25%), so"]),
    ],
)  # fmt: skip
def test_the_sentence_on_overlaps(overlap, parts):
    (sentence,) = meaning(audited(**overlap))
    assert all(part in sentence for part in parts)


def test_further_sentences_are_on_what_there_is():
    audit = audited()
    audit["across"]["test in train"]["equal_other_label"] = 1
    audit["splits"]["test"] |= {"equal_other_label": 2, "all_N": 3, "classes": {"no": 400, "yes": 600}}
    audit["pretraining"], audit["skipped"] = SEEN, {"comment lines of a.bed": 1234}
    parts = [
        "1 of 1,000 test rows stand in train", "2 of 1,000 test rows stand twice", "3 of 1,000 test rows consist of N",
        "60% of the test labels are yes", "1,234 comment lines of a.bed", "500 of 1,000 test rows (50%) lie in",
    ]  # fmt: skip
    found = meaning(audit)[1:]
    assert len(found) == len(parts) and all(any(text.startswith(part) for text in found) for part in parts)
    audit["pretraining"] = SEEN | {"placed": 0, "read": 0}
    assert "None of the test rows was found" in meaning(audit)[-1] and "hg38" in meaning(audit)[-1]
    del audit["splits"]["test"]["classes"]
    audit["splits"]["test"]["labels"] = {"count": 919, "constant": 4, "least_median_largest": [0, 0.02, 0.4]}
    assert any(text.startswith("4 of 919 labels are the same") for text in meaning(audit))
    audit["splits"]["test"]["labels"]["constant"] = 0
    assert not any("919" in text for text in meaning(audit))


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
    known = {
        "task": ["one_two", "clean", "<many>"], "splits.train.rows": ["4000"] * 3, "splits.test.median": ["200"] * 3,
        "splits.test.classes": ["no=500; yes=500"] * 2 + [""], "splits.valid.rows": ["", "", "1000"],
        "splits.test.labels.least_median_largest": ["", "", "0.125; 0.25; 0.5"], "overlap.any": ["250", "0", "0"],
        "pretraining.read": ["500", "", ""], "meaning": [" ".join(meaning(audit)) for audit in three],
    }  # fmt: skip
    assert {key: [line[key] for line in lines] for key in known} == known


def rows_of(table: Table) -> list[dict[str, Cell]]:
    """The cells of each row by the heads over them."""
    read = layout(table)
    heads = [": ".join(filter(None, (head.group, head.text))) for head in read.heads]
    return [dict(zip(heads, row, strict=True)) for row in read.rows]


def test_the_table_for_reading(three):
    table = audit_table(three, simulated=True)
    assert table.full_caption.startswith("Simulated genome")
    assert table.summary.startswith("In 1 of 3 tasks ") and table.summary.endswith("most in mine/one_two, 25% of them.")
    assert table.notes[2] == f"other/<many>: {' '.join(meaning(three[2]))}"
    overlap, genome, rows = "test rows that overlap train: ", "test rows in pretraining: ", "test rows: "
    known = {
        "task": ["one_two", "clean", "<many>"], "suite": ["mine", "mine", "other"],
        overlap + "any": ["250 (25%)", "0", "0"], overlap + "near duplicates": ["200 (20%)", "0", "0"],
        overlap + "100 bases": ["230 (23%)", "0", "0"], genome + "in the genome": ["900 (90%)", "", ""],
        genome + "read": ["500 (50%)", "", ""], "rows: train": ["4,000"] * 3, "rows: valid": ["", "", "1,000"],
        "rows: test": ["1,000"] * 3, rows + "bases": ["100 to 300"] * 3,
        rows + "largest class": ["no: 50%", "no: 50%", "many labels"],
    }  # fmt: skip
    found = rows_of(table)
    assert {head: [row[head].text for row in found] for head in known} == known
    assert [found[0][head].value for head in (overlap + "any", rows + "bases")] == [0.25, 200]
    assert found[1][overlap + "any"].value == 0


def test_duplicates_are_counted_of_their_split():
    audit = audited()
    audit["across"]["test in train"] |= {"equal": 1, "reverse": 20, "equal_other_label": 3, "reverse_other_label": 4}
    audit["splits"]["train"] |= {"equal": 100, "reverse": 300}
    audit["splits"]["test"] |= {"equal": 10, "reverse": 20, "rows_with_N": 5, "all_N": 2}
    across, within, rows = "exact duplicates in train: ", "exact duplicates within a split: ", "test rows: "
    known = {
        across + "same strand": "1 (0.1%)", across + "other strand": "20 (2.0%)", across + "other label": "7 (0.7%)",
        within + "train": "400 (10%)", within + "test": "30 (3.0%)", rows + "with N": "5 (0.5%)",
        rows + "all N": "2 (0.2%)",
    }  # fmt: skip
    (row,) = rows_of(audit_table([audit], False))
    assert {head: row[head].text for head in known} == known


def test_what_is_no_audit_is_refused(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(audited()))
    assert read_audits([path]) == [audited()]
    known = {"{": "Expecting", '{"suite": "a"}': "other JSON", "[]": "found list", "": "No such"}
    for content, found in known.items():
        path.write_text(content) if content else path.unlink()
        with pytest.raises(ConvNovaError, match=f"a.json: .*{found}"):
            read_audits([path])
