"""The workflow's form: lint, pins, its graph for every config, and what it refuses."""

import re
from pathlib import Path

import pytest
import yaml
import yte
from commands import ROOT, jobs, run, snakemake
from own_run import config_file
from snakemake.api import SnakemakeApi
from snakemake.rules import Rule
from snakemake.settings.types import ConfigSettings, OutputSettings, ResourceSettings


def test_the_workflow_is_lint_free_and_formatted():
    assert "good condition" in run("snakemake", "--lint", folder=ROOT)
    run("snakefmt", "--check", "Snakefile", "workflow", folder=ROOT)


@pytest.fixture(scope="module")
def rules() -> dict[str, Rule]:
    """Every rule by its name, as Snakemake has read it: with what a rule has from another one by `use rule`."""
    with SnakemakeApi(OutputSettings()) as api:
        settings = ConfigSettings(configfiles=[ROOT / "config/config.yaml"])
        flow = api.workflow(ResourceSettings(cores=1), config_settings=settings, snakefile=ROOT / "Snakefile")
        return {rule.name: rule for rule in flow._workflow.rules}


def test_every_rule_has_named_outputs_log_and_benchmark_and_calls_the_command_with_quoted_words(rules):
    steps = {name: rule for name, rule in rules.items() if name not in ("all", "config")}
    assert {"simulate", "fetch", "tokenize_genome", "pretrain", "finetune", "scores", "figures"} < steps.keys()
    assert rules["config"].is_run  # it writes what Snakemake has merged, which no command can know
    for name, rule in steps.items():
        words = "(?:--[a-z]+|[a-z-]+|{[a-z.]+:q}|{[a-z.]+:q}/{[a-z.]+:q})"
        assert re.fullmatch(rf"convnova --log {{log:q}}( {words})+", rule.shellcmd), name
        assert list(rule.output.keys()) and rule.conda_env, name
        step = name.removesuffix("_scores")  # `finetune` for the protocols that keep no weights
        assert f"/{step}" in rule.log[0] and f"/{step}" in rule.benchmark, name
        assert name == "simulate" or {"mem_mb", "runtime", "gpu"} <= rule.resources.keys(), name


@pytest.mark.parametrize("gpus", [0, 2])
@pytest.mark.parametrize(
    "name", ["slurm", "profiles/lsf", "profiles/kubernetes", "profiles/aws-batch", "profiles/google-batch"]
)
def test_every_profile_sets_what_its_engine_reads_for_rules_that_there_are(rules, name, gpus):
    text = re.sub(r"(?m)^  gpus: 1", f"  gpus: {gpus}", (ROOT / name / "config.yaml").read_text())
    profile = yte.process_yaml(text)
    needs, known = profile["set-resources"], set(rules)
    assert {"pretrain", "finetune"} <= needs.keys() | profile["set-threads"].keys() <= known
    assert (needs["pretrain"]["gpu"], needs["finetune"]["gpu"]) == (gpus, min(gpus, 1))
    asked = {
        "profiles/lsf": needs["pretrain"].get("lsf_extra"),
        "profiles/aws-batch": needs["pretrain"].get("_gpus"),
        "profiles/google-batch": needs["pretrain"].get("nvidia_gpu"),
    }
    assert asked.get(name) in ([None, 2, "'-gpu num=2'"] if gpus else [None, 0])
    assert profile["configfile"] == "config/paper.yaml" and profile["retries"] == 2


def test_no_job_asks_for_more_time_than_the_longest_however_often_it_was_tried(rules):
    text = (ROOT / "slurm/config.yaml").read_text()
    for name, value in {"longest_hours": 6, "pack": 5, "pretrain_hours": 30}.items():
        text = re.sub(rf"(?m)^  {name}: \d+", f"  {name}: {value}", text)
    profile = yte.process_yaml(text)
    submitted = rules.keys() - rules["all"].workflow._localrules
    assert profile["set-resources"].keys() == submitted and {"fetch", "audit", "cost"} < submitted
    together = {rule: profile["group-components"][group] for rule, group in profile["groups"].items()}
    for rule, needs in profile["set-resources"].items():
        minutes = [eval(needs["runtime"], {"attempt": attempt}) * together.get(rule, 1) for attempt in range(1, 6)]
        assert minutes[0] > 0 and minutes[-1] <= 360 and minutes == sorted(minutes), rule
        assert eval(needs["mem_mb"], {"attempt": 9}) == 60_000


@pytest.mark.parametrize(
    "names, expected",
    [
        (
            "config",
            {"finetune": 60, "finetune_scores": 12, "score_task": 2, "simulate": 1, "fetch": 16, "test_rows": 1},
        ),
        ("paper", {"finetune": 2240, "pretrain": 9, "tokenize_task": 28}),
        ("paper every_model", {"finetune": 3920, "pretrain": 10, "tokenize_task": 28}),
        ("yeast", {"finetune": 264, "fetch": 22, "pretrain": 1, "leakage": 1}),
        ("ablation_models ablations", {"finetune": 285, "pretrain": 1, "ablation": 1}),
        ("ablation_models paper_ablations", {"finetune": 19 * 26 * 3, "pretrain": 2, "ablation": 1}),
        ("dilation_grid", {"finetune": 16 * 3, "search": 1}),
        ("as_released", {"finetune_scores": 4 * 26 * 5, "pretrain": 2, "tokenize_task": 26}),
        ("search", {"finetune": 1944, "search": 1, "tokenize_task": 18}),
        ("cost", {"cost": 45, "cost_table": 1}),
        ("traitgym", {"score_task": 16, "pretrain": 3, "tokenize_task": 4}),
    ],
)
def test_the_whole_graph_is_built(tmp_path, names, expected):
    files = [str(ROOT / f"config/{name}.yaml") for name in names.split()]
    counts = jobs(snakemake(tmp_path, "-n", "--configfile", *files))
    assert counts == counts | expected
    assert not (tmp_path / "results").exists()


def test_the_profile_for_slurm_verbatim_builds_the_graph_of_the_paper(tmp_path):
    """In a folder of links, so that nothing is left in the repository."""
    for name in ("Snakefile", "workflow", "config", "profiles", "slurm", "envs"):
        (tmp_path / name).symlink_to(ROOT / name)
    counts = jobs(run("snakemake", "-n", "--profile", "slurm", folder=tmp_path))
    assert (counts["finetune"], counts["pretrain"], counts["fetch"]) == (2240, 9, 49)


@pytest.mark.parametrize(
    "names, expected",
    [
        ("yeast_local", {"finetune": 120, "pretrain": 1, "tokenize_genome": 2, "tokenize_task": 5, "leakage": 1}),
        ("yeast_search", {"finetune": 32, "search": 1, "tokenize_task": 2}),
        ("yeast_study", {"finetune": 96, "pretrain": 3, "tokenize_genome": 1, "tokenize_task": 2, "ablation": 1}),
        ("gue_local", {"finetune": 9 * 4 * 3, "tokenize_task": 9, "leakage": 1}),
        ("rivals", {"finetune": 2 * 7 * 3, "tokenize_task": 2}),
        ("rivals_softmax", {"finetune": 2 * 3, "tokenize_task": 1}),
        ("ablation_models gue_ablations", {"finetune": 18 * 3 * 3, "tokenize_task": 3, "ablation": 1}),
        ("gue_search", {"finetune": 3 * 9, "tokenize_task": 3, "ablation": 1}),
    ],
)
def test_the_runs_on_files_of_ones_own(tmp_path, names, expected):
    """The graph needs the files' names alone; one that is missing is named with its key."""
    *_, last = configs = [ROOT / f"config/{name}.yaml" for name in names.split()]
    content = last.read_text()
    for path in re.findall(r"[\w./-]+\.gz", content):
        (tmp_path / "files" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "files" / path).touch()
    words = ("--configfile", *map(str, configs), "--config", "data=files")
    counts = jobs(snakemake(tmp_path, "-n", *words))
    assert counts == counts | expected and "fetch" not in counts


def test_gue_whole_is_fetched(tmp_path):
    counts = jobs(snakemake(tmp_path, "-n", "--configfile", str(ROOT / "config/gue.yaml")))
    assert (counts["finetune"], counts["tokenize_task"], counts["fetch"]) == (28 * 8 * 3, 28, 28 * 3)
    assert (counts["training_rows"], counts["tokenize_genome"], counts["pretrain"]) == (
        1,
        1,
        1,
    ) and counts["leakage"] == 1


def test_yeast_with_the_split_of_gue(tmp_path):
    content = yaml.safe_load((ROOT / "config/yeast.yaml").read_text())
    content["suites"] = {"gue": content["suites"].pop("nucleotide_transformer"), **content["suites"]}
    counts = jobs(snakemake(tmp_path, "-n", "--configfile", config_file(tmp_path, **content)))
    assert (counts["finetune"], counts["tokenize_task"], counts["fetch"]) == (264, 11, 3 * 10 + 2)


def test_a_task_of_a_folder_of_intervals_fetches_each_file_and_the_genome(tmp_path):
    suites = {"genomic_benchmarks_intervals": ["human_nontata_promoters"], "gue": ["H3"]}
    path = config_file(tmp_path, models=["cnn"], suites=suites)
    printed = snakemake(tmp_path, "-n", "-p", "--workflow-profile", "none", "--configfile", path)
    assert jobs(printed)["fetch"] == 5 + 2 + 3
    source = "resources/raw/genomic_benchmarks/intervals/human_nontata_promoters/"
    assert f" intervals={source} genome=resources/mine/genomes/hg38/genome.safetensors" in printed
    assert f" {source}train/negative.csv.gz, " in printed


def test_a_wrong_config_is_refused_before_any_job_starts(tmp_path):
    path = config_file(tmp_path, models=["cnn"], suites={"nucleotide_transformer": ["H3"]}, sedes=[1])
    printed = snakemake(tmp_path, "--cores", "1", "--configfile", path, code=1)
    (line,) = (line for line in printed.splitlines() if "unknown key" in line)
    assert re.search("mine.yaml: sedes.*'seeds'", line) and "Traceback" not in printed
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != ".snakemake") == ["mine.yaml"]


def test_a_key_that_a_config_has_twice_is_refused_though_snakemake_takes_the_last(tmp_path):
    path = Path(config_file(tmp_path, models=["cnn"], suites={"nucleotide_transformer": ["H3"]}, seeds=[1]))
    path.write_text(path.read_text() + "seeds: [2]\n")
    printed = snakemake(tmp_path, "-n", "--configfile", str(path), code=1)
    assert re.search("mine.yaml line 8: .*'seeds'", printed) and "Traceback" not in printed


@pytest.mark.parametrize(
    "path, named",
    [
        ("runs/nucleotide_transformer/H33/cnn/heldout/seed=1/metrics.json", "'H33': did you mean 'H3'?"),
        ("runs/nucleotide_transformer/H3/cn/heldout/seed=1/metrics.json", "model 'cn': did you mean 'cnn'?"),
        ("runs/nucleotide_transformer/H3/cnn/heldot/seed=1/metrics.json", "protocol 'heldot': did you mean 'heldout'?"),
        ("audit/nucleotid_transformer/H3.json", ": did you mean 'nucleotide_transformer'?"),
        ("pretrain/convnva/weights.safetensors", "pretraining 'convnva': did you mean 'convnova'?"),
        ("cost/cn/512.json", "model 'cn': did you mean 'cnn'?"),
    ],
)
def test_a_path_with_a_wrong_name_is_refused_with_the_nearest_right_one(tmp_path, path, named):
    models, suites = ["convnova", "cnn"], {"nucleotide_transformer": ["H3"]}
    config = config_file(tmp_path, run="x", genome="hg38", models=models, suites=suites, cost={})
    printed = snakemake(tmp_path, "-n", f"results/x/{path}", "--configfile", config, code=1)
    assert printed.splitlines()[-1].endswith(named) and "Traceback" not in printed


def test_held_out_rows_of_numbers_are_kept_from_pretraining_too(tmp_path):
    """`genome: training_rows` reads every task of sequences."""
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).touch()
    files = {"train": "a.csv", "test": "b.csv"}
    suites = {
        "names": {"format": "csv", "tasks": {"one": files}},
        "numbers": {"format": "csv", "tasks": {"two": files | {"kind": "regression"}}},
    }
    config = tmp_path / "mine.yaml"
    config.write_text(yaml.safe_dump({"run": "x", "genome": "training_rows", "models": ["convnova"], "suites": suites}))
    printed = snakemake(tmp_path, "-n", "--configfile", str(config), "-p")
    command = printed[printed.index("rule training_rows") :]
    inputs = re.search(r"input: (.*)", command)[1]
    assert "tasks/names/one.safetensors" in inputs and "tasks/numbers/two.safetensors" in inputs
