"""Scores that changed since they were written are refused, moved aside and named; nothing else is."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_up_scores import CONFIG, write_result

from convnova.errors import ConvNovaError
from convnova.evaluation.metrics_file import read_metrics, results_of
from convnova.files import damaged_moved_aside

JOB = next(iter(CONFIG.jobs()))


@pytest.fixture
def config(tmp_path):
    return CONFIG.rooted_at(tmp_path)


@pytest.mark.parametrize("epochs", [[], [{"epoch": 1, "score": float("-inf")}], [{"epoch": 1, "score": 0.1 + 0.2}]])
def test_scores_come_back_as_they_were_written(config, epochs):
    path = write_result(config, JOB, mcc=1 / 3, epochs=epochs) / "metrics.json"
    read = read_metrics(path)
    assert (read["mcc"], read["epochs"]) == (1 / 3, epochs)
    path.write_text(json.dumps(read))  # in another form, but the same scores
    assert read_metrics(path) == read


@pytest.mark.parametrize("file", ["metrics.json", "predictions.parquet"])
def test_what_a_flipped_bit_made_is_named_and_moved_aside(config, file, capsys, monkeypatch):
    """A score of 0.8123 that a bit turns into 0.9123 lies outside its own interval."""
    jobs = list(CONFIG.jobs())[:4]
    first, second, third, fourth = (write_result(config, job, mcc=0.8123, interval=[0.79, 0.83]) for job in jobs)
    (third / "metrics.json").unlink()
    for folder in (first, fourth):
        content = (folder / file).read_bytes()
        place = content.index(b"0.8123") + 2 if file == "metrics.json" else len(content) // 2
        (folder / file).write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    found = []
    monkeypatch.chdir(config.local_path(""))
    with pytest.raises(ConvNovaError) as error, damaged_moved_aside():
        found.extend(job for job, _ in results_of(config, jobs))
    assert found == [jobs[1]] and f"left out: {third}/metrics.json: missing" in capsys.readouterr().err
    for folder in (first, fourth):
        assert str(folder / file) in str(error.value) and str(folder / "metrics.json.damaged") in str(error.value)
        assert not (folder / "metrics.json").exists() and (folder / "metrics.json.damaged").exists()
    assert "\n" not in str(error.value)
    with pytest.raises(ConvNovaError, match="metrics.json: was damaged and moved to .*run the workflow again"):
        list(results_of(config, jobs))
    for job in (jobs[0], jobs[3]):
        write_result(config, job, mcc=0.8123)
    assert [job for job, _ in results_of(config, jobs)] == [jobs[0], jobs[1], jobs[3]]


@settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_no_change_of_a_file_of_scores_is_taken_for_scores(tmp_path, data):
    """Bits, bytes, brackets, numbers and lines that were not written are refused, or leave every value as it is."""
    path = (
        write_result(CONFIG.rooted_at(tmp_path), JOB, mcc=0.8123, epochs=[{"epoch": 1, "score": 0.5}]) / "metrics.json"
    )
    content, whole = path.read_bytes(), read_metrics(path)
    start = data.draw(st.integers(0, len(content)))
    end = data.draw(st.integers(start, min(len(content), start + 40)))
    junk = st.sampled_from([b"[" * 5000, b"9" * 5000, b"NaN", b"\x00", b"\xff", b'"', b"}", b"1e999", b'"mcc": 1,'])
    path.write_bytes(content[:start] + data.draw(st.one_of(st.binary(max_size=8), junk)) + content[end:])
    try:
        assert read_metrics(path) == whole
    except ConvNovaError as error:
        assert str(error).startswith(f"{path}: ") and "\n" not in str(error) and len(str(error)) < 500
