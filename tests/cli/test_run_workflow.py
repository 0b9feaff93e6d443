"""`convnova run`: the words that snakemake gets."""

from pathlib import Path

import pytest

from convnova.bundle import BUNDLE
from convnova.cli.main import main, parser
from convnova.cli.run import snakemake_words
from convnova.errors import ConvNovaError

SNAKEFILE = ["--snakefile", str(BUNDLE / "Snakefile")]
CONFIG, PROFILE = str(BUNDLE / "config/paper.yaml"), str(BUNDLE / "slurm")


@pytest.mark.parametrize(
    "words, expected",
    [
        ("--cores 2 -n", ["--cores", "2", "-n", *SNAKEFILE]),
        ("--configfile mine.yaml --config data=x", ["--configfile", "mine.yaml", "--config", "data=x", *SNAKEFILE]),
        ("--configfile config/paper.yaml", ["--configfile", "config/paper.yaml", *SNAKEFILE, "--configfile", CONFIG]),
        ("--profile slurm", ["--profile", PROFILE, *SNAKEFILE, "--configfile", CONFIG]),
        ("--profile=slurm --configfile my.yaml", [f"--profile={PROFILE}", "--configfile", "my.yaml", *SNAKEFILE]),
        ("--profile mine", ["--profile", "mine", *SNAKEFILE]),
        ("--cores 1 -- a/result", ["--cores", "1", *SNAKEFILE, "--", "a/result"]),
    ],
)  # fmt: skip
def test_the_words_of_a_user_stay_and_what_the_folder_lacks_is_the_packages(tmp_path, monkeypatch, words, expected):
    monkeypatch.chdir(tmp_path)
    for name in ("mine.yaml", "my.yaml"):
        Path(name).write_text("run: mine\n")
    options = parser().parse_args(["run", *words.split()])
    assert options.words == words.split() and snakemake_words(options.words) == expected


def test_a_profile_or_config_of_the_folder_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("slurm").mkdir()
    Path("slurm/config.yaml").write_text("configfile: config/paper.yaml\n")
    assert snakemake_words(["--profile", "slurm"]) == ["--profile", "slurm", *SNAKEFILE, "--configfile", CONFIG]
    Path("config").mkdir()
    Path("config/paper.yaml").touch()
    assert snakemake_words(["--profile", "slurm"]) == ["--profile", "slurm", *SNAKEFILE]


@pytest.mark.parametrize(
    "words, named",
    [
        (["missing.yaml"], "^missing.yaml: .*found nothing"), (["bad.yaml"], r"^bad.yaml: .*line 1, column \d"),
        (["good.yaml", "results/x/metrics.json"], "^results/x/metrics.json: .*after --$"),
    ],
)  # fmt: skip
def test_a_config_that_snakemake_would_stumble_over_is_a_line(tmp_path, monkeypatch, words, named):
    monkeypatch.chdir(tmp_path)
    Path("bad.yaml").write_text("run: [a\n")
    Path("good.yaml").write_text("run: a\n")
    with pytest.raises(ConvNovaError, match=named):
        snakemake_words(["--configfile", *words, "--cores", "1"])


def test_its_help_is_its_own(capsys):
    with pytest.raises(SystemExit):
        main(["run", "--help"])
    assert "--configfile FILE" in capsys.readouterr().out
