"""The command line: every command by hand, exit codes, logs, and what a wrong name gets."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from small_run import CATALOGUE, RUN, SHARD, WEIGHTS, convnova

from convnova import __version__
from convnova.cli.main import main, parser
from convnova.config.load import load_config, save
from convnova.config.run import Job
from convnova.errors import ConvNovaError
from convnova.files import sha256
from convnova.log import log

CONFIG = "results/small/config.yaml"
JOB = Job("nucleotide_transformer", "H3", "convnova", "heldout", 1)
GENOME = "resources/small/genomes/hg38"

HOLDS = """
import time
from convnova.files import held
with held("again"):
    print("held", flush=True)
    time.sleep(60)
"""


READS = """
import sys
opened = {}
sys.addaudithook(lambda event, args: event == "open" and opened.update({str(args[0]): args[1]}))
from convnova.cli.main import main
code = main(sys.argv[1:])
print("opened", *(path for path, mode in opened.items() if mode in ("r", "rb")), sep="\\n")
sys.exit(code)
"""


def raises(error: BaseException):
    """A step in place of a command's own."""

    def step(*arguments: object, **options: object) -> None:
        raise error

    return step


@pytest.mark.parametrize("words", [["--help"], []])
def test_help_names_every_command_once_and_what_it_does(capsys, words):
    if words:
        with pytest.raises(SystemExit) as ended:
            main(words)
        assert ended.value.code == 0
    else:
        assert main(words) == 0
    commands = parser()._subparsers._group_actions[0].choices
    text = capsys.readouterr().out
    assert {"fetch", "pretrain", "finetune", "tables", "explain"} < commands.keys()
    assert all(len(re.findall(rf"^  {name}\s+[a-z]", text, re.MULTILINE)) == 1 for name in commands)
    assert max(map(len, text.splitlines())) <= 80
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"convnova {__version__}\n"


def test_a_mistyped_command_gets_the_nearest(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["statsu"])
    err = capsys.readouterr().err
    assert ended.value.code == 2 and err.count("\n") == 1 and "'statsu'" in err and "'status'" in err


def test_a_shell_completes_commands(capsys):
    assert main(["--completion", "bash"]) == 0
    assert "tokenize-genome" in capsys.readouterr().out


def test_a_reader_that_wants_no_more_is_no_error():
    command = f"{sys.executable} -m convnova.cli.main recipes --run config/paper.yaml | head -n 1"
    done = subprocess.run(command, shell=True, cwd=CATALOGUE.parent, capture_output=True, text=True)
    assert done.stdout.count("\n") == 1 and done.stderr == ""


def test_quiet_keeps_errors_alone(tmp_path, capsys):
    (tmp_path / "a.fa").write_text(f">a\n{'ACGT' * 500}\n")
    genome = ["tokenize-genome", "--fasta", str(tmp_path / "a.fa"), "--out", str(tmp_path)]
    assert main(["--quiet", *genome]) == 0 and capsys.readouterr().err == ""
    assert main(genome) == 0 and capsys.readouterr().err != ""
    assert main(["--quiet", "explain", "nowhere"]) == 1
    assert capsys.readouterr().err.startswith("convnova explain: error: nowhere")


@pytest.mark.parametrize("step", ["explain", "finetune", "tokenize-task"])
def test_verbose_names_every_file_that_is_read_the_precision_and_the_time(small, step):
    """What is read is known from Python itself, whose audit hook sees every file that is opened."""
    files = [f"{role}=resources/small/raw/nucleotide_transformer/H3/{role}.fna" for role in ("train", "test")]
    words = {
        "explain": [f"{JOB.folder('small')}/metrics.json"],
        "finetune": ["--job", JOB.name, "--dataset", SHARD, "--weights", WEIGHTS, "--threads", "1", "--out", "again"],
        "tokenize-task": ["--task", "nucleotide_transformer/H3", "--out", "a.st", *files],
    }[step]
    words += [] if step == "explain" else ["--config", CONFIG]
    done = subprocess.run([sys.executable, "-c", READS, "--verbose", step, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    opened = [path.removeprefix(f"{Path.cwd()}/") for path in done.stdout.split("opened\n")[1].splitlines()]
    read = {path for path in opened if path.startswith(("results/", "resources/"))}
    assert len(read) > 2 and {path for path in read if f"{path}: " not in done.stderr} == set()
    assert re.search(rf" {step}: [\d.]+ s, [\d,]+ MB of memory at most\n$", done.stderr)
    if step == "finetune":
        assert re.search(r" torch \S+ with 1 threads, imported in [\d.]+ s\n", done.stderr)
        chosen = json.loads(Path("again/metrics.json").read_text())["provenance"]["precision"]
        assert f" precision auto: {chosen}, for bfloat16 is " in done.stderr
        assert " again/metrics.json: written\n" in done.stderr


def test_the_installed_command_is_this_one():
    words = [str(Path(sys.executable).with_name("convnova")), "explain", "nowhere"]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 1 and done.stdout == "" and done.stderr.count("\n") == 1
    assert "error: nowhere: expected a result" in done.stderr


@pytest.mark.parametrize(
    "error, code, line",
    [
        (ConvNovaError("too few rows"), 1, "error: too few rows"),
        (OSError(28, "No space left", "x"), 1, "error: [Errno 28] No space left: 'x'"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (RuntimeError("out of\nmemory"), None, "error: RuntimeError: out of memory"),
    ],
)
def test_how_a_step_ends_is_the_last_line_of_its_log(tmp_path, monkeypatch, capsys, error, code, line):
    """A mistake of the user's is one line on standard error too; one of the program's own a traceback."""
    monkeypatch.setattr("convnova.simulation.write_mirror", raises(error))
    path = tmp_path / "logs/simulate.log"
    words = ["--log", str(path), "simulate", "--out", str(tmp_path / "mirror")]
    if code is None:
        with pytest.raises(RuntimeError):
            main(words)
    else:
        assert main(words) == code
    assert path.read_text().splitlines()[-1].split(" ", 1)[1] == line
    assert capsys.readouterr().err == (f"convnova simulate: {line}\n" if code == 1 else "")
    if code == 1:
        assert main(words[2:]) == 1 and capsys.readouterr().err == f"convnova simulate: {line}\n"


@pytest.mark.parametrize("broken", ["/dev/full", "file/x.log"], ids=["full", "not to be made"])
@pytest.mark.parametrize("error", [None, ConvNovaError("too few rows"), RuntimeError("mistake")])
def test_a_log_that_cannot_be_written_is_one_line(tmp_path, monkeypatch, capsys, broken, error):
    """The step's own mistake is the line, if it has come to one."""

    def step(**options: object) -> None:
        if error:
            raise error
        log("begun")

    monkeypatch.setattr("convnova.simulation.write_mirror", step)
    (tmp_path / "file").touch()
    words = ["--log", str(tmp_path / broken), "simulate", "--out", str(tmp_path / "mirror")]
    if isinstance(error, RuntimeError) and broken == "/dev/full":
        with pytest.raises(RuntimeError, match="mistake"):
            main(words)
        return
    assert main(words) == 1
    (line,) = capsys.readouterr().err.splitlines()
    named = "too few rows" if error and broken == "/dev/full" else broken.removesuffix("/x.log")
    assert line.startswith("convnova simulate: error: ") and named in line


def test_every_process_of_a_training_has_its_log(tmp_path, monkeypatch):
    monkeypatch.setattr("convnova.simulation.write_mirror", lambda seed, out: None)
    monkeypatch.setenv("RANK", "2")
    assert main(["--log", str(tmp_path / "a.log"), "simulate", "--out", "x"]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["a.rank2.log"]


def test_a_config_is_printed_or_written_with_its_defaults_and_a_wrong_one_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text(yaml.safe_dump(RUN))
    words = ["config", "--run", "mine.yaml", "--catalogue", str(CATALOGUE)]
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert yaml.safe_load(printed)["models"]["cnn"]["architecture"] == "cnn"
    assert main([*words, "--out", "resolved.yaml"]) == 0 and Path("resolved.yaml").read_text() == printed
    Path("mine.yaml").write_text(yaml.safe_dump(RUN | {"models": {"cnn": {"settings": {"embeding": 8}}}}))
    assert main(words) == 1
    assert re.search("error: mine.yaml: models.cnn.settings.embeding = 8.*'embedding'", capsys.readouterr().err)


def test_sources_says_what_would_be_fetched_and_what_is_there(tmp_path, capsys):
    url = "https://example.org/a"
    files = {"x/a.gz": {"urls": [url], "size": 5}, "b.gz": {"urls": [url]}}
    about = {"title": "T", "homepage": url, "citation": "C"}
    (tmp_path / "sources.yaml").write_text(json.dumps({"s": {**about, "licence": "L", "files": files}}))
    (tmp_path / "s" / "x").mkdir(parents=True)
    (tmp_path / "s" / "x" / "a.gz").write_bytes(b"12345")
    assert main(["sources", "--registry", str(tmp_path / "sources.yaml"), "--raw", str(tmp_path)]) == 0
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["source", "file", "size", "present", "url", "licence"],
        ["s", "x/a.gz", "5", "True", url, "L"],
        ["s", "b.gz", "False", url, "L"],
    ]
    assert main(["sources", "--registry", str(tmp_path / "sources.yaml"), "--raw", str(tmp_path), "--json"]) == 0
    assert [(row["size"], row["present"]) for row in json.loads(capsys.readouterr().out)] == [(5, True), (None, False)]


@pytest.mark.parametrize(
    "words, named",
    [
        (f"fetch --config {CONFIG} --source hg39 --file x --out out", "no 'hg39' .*'hg38'"),
        (f"fetch --config {CONFIG} --source hg38 --file hg38.fa --out out", "no 'hg38.fa' .*'hg38.ml.fa.gz'"),
        (f"tokenize-task --config {CONFIG} --task nucleotide_transformer/H3 --out out tran=x", r"role of .*'tran'"),
        (f"tokenize-task --config {CONFIG} --task nucleotide_transformer/H3 --out out train", r"role of .*'train'"),
        (f"tokenize-task --config {CONFIG} --task H3 --out out train=x", "no task 'H3'; expected SUITE/TASK"),
        (f"audit --config {CONFIG} --task nucleotide_transformer/H4 --dataset {SHARD} --out out", "no task .*H4"),
        (f"audit --config {CONFIG} --task nucleotide_transformer/H3 --dataset none.st --out out", "none.st: expected"),
        (f"pretrain --config {CONFIG} --backbone convnva --genome {GENOME} --out out", "'convnva': .*'convnova'"),
        (f"finetune --config {CONFIG} --job {JOB.name}1 --dataset {SHARD} --out out", f"is not in .*'{JOB.name}'"),
        (f"finetune --config {CONFIG} --job {JOB.name} --dataset {SHARD} --out out", "expected pretrained weights"),
        (f"cost --config {CONFIG} --model cn --length 64 --out out", "model 'cn': did you mean 'cnn'"),
        (f"recipes --run {CONFIG} --model cn", "did you mean 'cnn'"),
        (f"recipes --run {CONFIG} --task gue/H3", "nucleotide_transformer/H3"),
        ("status --run smal", "smal: .*'small'"),
        ("tables --run nowhere.yaml scores", "nowhere.yaml: expected the name of a run"),
    ],
)
def test_a_wrong_name_is_one_line_that_says_the_right_ones_and_leaves_nothing(small, capsys, words, named):
    assert convnova(*words.split()) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and re.search(f"error: .*{named}", err), err
    assert not Path("out").exists()


@pytest.mark.parametrize("words", ["status", "recipes", "plan", "config", "report", "tables scores", "figures"])
def test_a_run_is_named_by_one_option_which_the_old_one_tells(capsys, words):
    with pytest.raises(SystemExit) as ended:
        main([*words.split(), "--config", "mine.yaml"])
    assert ended.value.code == 2 and "--run NAME_OR_FILE" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    "words", ["predict m s.fa --threads 0", "plan --run x --cores -1", "score-variants m v --window x"]
)
def test_a_number_that_is_none_is_refused(capsys, words):
    with pytest.raises(SystemExit) as ended:
        main(words.split())
    assert ended.value.code == 2 and "expected a whole number of 1 or more" in capsys.readouterr().err


def test_steps_by_hand_make_the_files_of_the_run_again(small):
    """Each command from the files that are there, into a folder beside; what has no times in it is the same."""
    with_config = ("--config", CONFIG)
    of_task = (*with_config, "--task", "nucleotide_transformer/H3")
    raw = "resources/small/raw"
    splits = [f"{split}={raw}/nucleotide_transformer/H3/{split}.fna" for split in ("train", "test")]
    genome = ["--fasta", f"{raw}/hg38/hg38.ml.fa.gz", "--bed", f"{raw}/hg38/sequences_human.bed"]
    fetch = ("--source", "hg38", "--file", "hg38.ml.fa.gz")
    training = ("--threads", "1", "--out")
    for words in (
        ("fetch", *with_config, *fetch, "--out", "again/hg38.ml.fa.gz"),
        ("tokenize-genome", *genome, "--out", "again"),
        ("tokenize-task", *of_task, "--out", "again/H3.safetensors", *splits),
        ("audit", *of_task, "--dataset", SHARD, "--genome", GENOME, "--out", "again/H3.json"),
        ("pretrain", *with_config, "--backbone", "convnova", "--genome", GENOME, *training, "again/pretrain"),
        ("finetune", *with_config, "--job", JOB.name, "--dataset", SHARD, "--weights", WEIGHTS, *training, "again"),
        ("tables", "--run", "small", "scores", "comparisons", "test_rows", "--out", "again"),
        ("recipes", "--run", "small", "--out", "again/recipes"),
    ):
        published = ("--published", str(CATALOGUE / "published.csv")) if words[0] == "tables" else ()
        assert convnova(*words, *published) == 0, words
    run = "results/small"
    for path, again in {
        f"{raw}/hg38/hg38.ml.fa.gz": "hg38.ml.fa.gz", SHARD: "H3.safetensors", WEIGHTS: "pretrain/weights.safetensors",
        f"{GENOME}/genome.safetensors": "genome.safetensors", f"{GENOME}/intervals.tsv": "intervals.tsv",
        f"{run}/audit/nucleotide_transformer/H3.json": "H3.json",
        f"{JOB.folder('small')}/predictions.parquet": "predictions.parquet",
        **{f"{run}/tables/{name}.md": f"tables/{name}.md" for name in ("nucleotide_transformer", "test_rows")},
    }.items():  # fmt: skip
        assert sha256(path) == sha256(f"again/{again}"), again
    assert len(list(Path("again/recipes").rglob("*.yaml"))) == 2
    assert not list(Path("again").rglob(".*.tmp"))


def test_a_whole_genome_gets_its_splits_by_chromosomes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("three.fa").write_text("".join(f">{name}\n{'ACGT' * 50}\n" for name in "abc"))
    assert main(["tokenize-genome", "--fasta", "three.fa", "--valid", "b", "--test", "a", "--out", "by_name"]) == 0
    text = Path("by_name/intervals.tsv").read_text()
    for name, split in (("a", "test"), ("b", "valid"), ("c", "train")):
        assert re.search(rf"^{name}\t.*{split}", text, re.MULTILINE)


def test_rows_that_are_not_as_many_as_published_are_taken_only_if_one_says_so(small, capsys):
    config = load_config(CONFIG)
    config.suites["nucleotide_transformer"].tasks["H3"].counts["train"] = 65
    save(config, "counted.yaml")
    raw = "resources/small/raw/nucleotide_transformer/H3"
    words = ["tokenize-task", "--config", "counted.yaml", "--task", "nucleotide_transformer/H3", "--out", "out.st"]
    files = [f"train={raw}/train.fna", f"test={raw}/test.fna"]
    assert convnova(*words, *files) == 1 and "65" in capsys.readouterr().err and not Path("out.st").exists()
    assert convnova(*words, "--accept-counts", *files) == 0 and Path("out.st").exists()


@pytest.mark.parametrize("step", ["pretrain", "finetune"])
def test_a_second_training_in_one_folder_says_who_has_it(small, capsys, step):
    words = {
        "pretrain": ["--backbone", "convnova", "--genome", GENOME],
        "finetune": ["--job", JOB.name, "--dataset", SHARD, "--weights", WEIGHTS],
    }
    command = [step, "--config", CONFIG, *words[step], "--threads", "1", "--out", "again"]
    with subprocess.Popen([sys.executable, "-c", HOLDS], stdout=subprocess.PIPE, text=True) as other:
        other.stdout.readline()
        try:
            assert convnova(*command) == 1
            assert re.search(rf"again: .*process {other.pid} on \w+", capsys.readouterr().err)
            assert [path.name for path in Path("again").iterdir()] == [".lock"]
        finally:
            other.kill()
    assert convnova(*command) == 0
    assert ".lock" not in [path.name for path in Path("again").iterdir()]


def test_results_are_printed(small, capsys):
    assert convnova("status") == 0 and "9 of 9 results are in" in capsys.readouterr().out
    assert convnova("explain", f"{JOB.folder('small')}/metrics.json") == 0
    assert capsys.readouterr().out.startswith(f"{JOB.folder('small')}/metrics.json\nSimulated genome: ")
    assert convnova("recipes", "--run", "small", "--model", "cnn") == 0
    assert "\nweight_decay " in capsys.readouterr().out
