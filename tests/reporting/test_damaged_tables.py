"""Whatever a table or a JSON of results holds: rows, or one line that names the file. What no reader foresaw fails."""

import json
from datetime import date

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_up_scores import CONFIG, GOLDEN, MADE
from test_audit_table import audited
from test_cost_table import cost

from convnova.errors import ConvNovaError
from convnova.evaluation.prediction_file import read_predictions
from convnova.reporting.audit_table import audit_table, read_audits
from convnova.reporting.cost_table import cost_table, read_costs
from convnova.reporting.figures import write_pretraining
from convnova.reporting.paired_test_rows import COLUMNS, COUNTS, TEXTS, pair_table, read_test_rows
from convnova.reporting.published import read_published
from convnova.reporting.scores import read_scores
from convnova.runs.provenance_table import provenance_frame, provenance_sentence, read_provenance

WORDS = [
    b"\t", b"\n", b"\r\n", b"\n\n", b'"', b'"a', b",", b"nan", b"inf", b"-1", b"1e999", b"9" * 5000, b"1_0", b"0x1f",
    b"true", b"null", b"[" * 5000, b"{}", b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", "ü\u2028".encode(), b"x" * 200_000,
]  # fmt: skip


def tsv_of(columns: list[str], *rows: dict, separator: str = "\t") -> bytes:
    lines = [separator.join(columns), *(separator.join(str(row.get(name, "")) for name in columns) for row in rows)]
    return ("\n".join(lines) + "\n").encode()


PAIR = dict.fromkeys(COLUMNS, 0.5) | dict.fromkeys(COUNTS, 2) | dict.fromkeys(TEXTS, "x")
PAIR |= {"a": "convnova", "b": "cnn", "metric": "mcc"}
READERS = {
    "scores.tsv": ((GOLDEN / "scores.tsv").read_bytes(), read_scores),
    "published.csv": ((GOLDEN / "published.csv").read_bytes(), read_published),
    "test_rows.tsv": (tsv_of(COLUMNS, PAIR, PAIR), lambda path: pair_table(read_test_rows(path), CONFIG)),
    "provenance.tsv": (
        provenance_frame({job: MADE for job in list(CONFIG.jobs())[:2]}).to_csv(sep="\t", index=False).encode(),
        lambda path: provenance_sentence(CONFIG, read_provenance(path)),
    ),
    "log.csv": (
        b"step,split,loss,bases\n1,train,1.3,100\n2,train,1.2,200\n2,valid,1.2,200\n",
        lambda path: write_pretraining({"a": path}, False, path.parent / "figure"),
    ),
    "audit.json": (json.dumps(audited(any=3)).encode(), lambda path: audit_table(read_audits([path]), False)),
    "cost.json": (
        json.dumps(cost("a", 32, flops_per_base=2.5)).encode(),
        lambda path: cost_table(read_costs([path]), False),
    ),
}


@pytest.mark.parametrize("name", READERS)
@settings(max_examples=60, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_damaged_table_is_rows_or_one_line(name, tmp_path, monkeypatch, data):
    content, read = READERS[name]
    monkeypatch.setattr("convnova.reporting.figures.save", lambda figure, stem: [])
    start = data.draw(st.integers(0, len(content)))
    end = data.draw(st.integers(start, min(len(content), start + 30)) | st.just(len(content)))
    path = tmp_path / name
    path.write_bytes(content[:start] + data.draw(st.sampled_from(WORDS) | st.binary(max_size=4)) + content[end:])
    try:
        read(path)
    except ConvNovaError as error:
        assert str(path) in str(error) and "\n" not in str(error) and len(str(error)) < 2200


@pytest.mark.parametrize(
    ("before", "after", "named"),
    [
        ("H3\tH3", 'H3\t"H3', "line 2"), ("\t0.8\t", "\t8\t", "line 2: .*8"), ("false", "False", "line 2: .*False"),
        ("\t1\tmcc", "\t1.5\tmcc", "line 2: .*whole number as seed.*1.5"), ("\t1\tmcc", "\t-1\tmcc", "seed.*'-1'"),
        ("score\t", "task\t", "columns .*twice"), ("\n", "\n\n", "line 2"), ("0.8", "0,8", "line 2: .*number as score"),
    ],
)  # fmt: skip
def test_scores_that_were_changed_by_hand_are_refused_by_their_line(tmp_path, before, after, named):
    text = (GOLDEN / "scores.tsv").read_text()
    assert before in text
    (tmp_path / "scores.tsv").write_text(text.replace(before, after, 1))
    with pytest.raises(ConvNovaError, match=f"scores.tsv: .*{named}"):
        read_scores(tmp_path / "scores.tsv")


CLASSES = {"row": [0, 1], "label": [0, 1], "score": [[0.5, 0.5], [0.25, 0.75]]}
BASES = {"row": [0, 1], "label": [[0], [1, 0]], "predicted": [[0], [1, 1]]}


@pytest.mark.parametrize(
    ("columns", "changes"),
    [
        (CLASSES, {"row": [], "label": [], "score": []}), (CLASSES, {"row": [0, None]}),
        (CLASSES, {"label": ["a", "b"]}),
        (CLASSES, {"label": [0, None]}), (CLASSES, {"label": [{"a": 1}] * 2}), (CLASSES, {"score": [[0.5], [0.5, 1]]}),
        (CLASSES, {"score": [0.5, 0.5]}), (CLASSES, {"score": [["a"], ["b"]]}), (CLASSES, {"score": [[0.5], None]}),
        (CLASSES, {"row": [0.5, 1]}), (CLASSES, {"row": [[0], [1]]}), (CLASSES, {"row": [date(2020, 1, 1)] * 2}),
        (BASES, {"predicted": [[0], [1]]}), (BASES, {"predicted": [[0.5], [1, 1]]}), (BASES, {"label": [0, 1]}),
        (BASES, {"predicted": None}), (CLASSES, {"label": None}), (CLASSES, {"row": None}),
    ],
)  # fmt: skip
def test_parquet_of_other_columns_or_types_is_no_file_of_predictions(tmp_path, columns, changes):
    for content in (columns, columns | changes):
        table = pyarrow.table({name: values for name, values in content.items() if values is not None})
        pyarrow.parquet.write_table(table, tmp_path / "p.parquet")
        if content is columns:
            assert read_predictions(tmp_path / "p.parquet").rows.tolist() == [0, 1]
    with pytest.raises(ConvNovaError, match=r"p\.parquet: expected predictions") as error:
        read_predictions(tmp_path / "p.parquet")
    assert "\n" not in str(error.value)
