# What the other files share: the resolved config, and which files belong to which name.
import os
import sys
from pathlib import Path
from typing import get_args

from convnova.config.load import load, save
from convnova.errors import nearest
from convnova.config.run import Job
from convnova.config.schema import Protocol, files_of
from convnova.errors import ConvNovaError
from convnova.files import read_yaml
from convnova.runs.outputs import ITEMS, figure_titles, test_row_tasks, extra_table_titles

CATALOGUE = Path(os.path.relpath(workflow.basedir)) / "config"
FILES = [os.path.relpath(path) for path in workflow.configfiles]
try:
    # Snakemake has read these files, and of a key that is there twice it keeps the last.
    for file in FILES if workflow.is_main_process else []:
        read_yaml(file)
    RUN = load(config, FILES, CATALOGUE)
    if workflow.is_main_process:
        from convnova.runs.validate import check_files, validate

        validate(RUN, FILES)
        # Files of one's own may be in a storage, of which Snakemake says what is missing.
        if RUN.simulate or not workflow.storage_settings.default_storage_provider:
            check_files(RUN, FILES)
except ConvNovaError as error:
    sys.exit(f"config: {error}")

RESULTS = f"results/{RUN.run}"
TOKENIZED = f"resources/{RUN.run}"
RAW = RUN.raw
MIRROR = f"{TOKENIZED}/mirror"
# Every job reads the resolved config; what a job's numbers depend on is among its params, so its age does not matter.
CONFIG = ancient(f"{RESULTS}/config.yaml")
PUBLISHED = local(f"{CATALOGUE}/published.csv")
CONDA = "../../envs/convnova.yaml"


wildcard_constraints:
    suite="[^/]+",
    task="[^/]+",
    model="[^/]+",
    protocol="[^/]+",
    seed=r"\d+",
    backbone="[^/]+",
    genome="[^/]+",
    source="[^/]+",
    length=r"\d+",


def bring_up_to_date(file):
    """Write the config anew if it is there already.

    A job makes it, but only once. Of what depends on a job that runs again, by files whose age does not matter,
    Snakemake does not ask whether it has reasons of its own to run again, such as other settings.
    """
    stored = getattr(file, "storage_object", None)
    if stored.exists() if stored else Path(file).is_file():
        save(RUN, file)
        if stored:
            stored.store_object()


def named(what, name, known):
    """The name, if it is known; the end otherwise, with the nearest one: it comes from the path that was asked for."""
    if name not in known:
        sys.exit(f"{what} {name!r}: {nearest(name, list(known))}")
    return name


def task_of(wildcards):
    """The suite and the task that the wildcards name."""
    suite = RUN.suites[named("suite", wildcards.suite, RUN.suites)]
    return (
        suite,
        suite.tasks[named(f"task of {wildcards.suite}", wildcards.task, suite.tasks)],
    )


def genome_files(wildcards):
    """FASTA and, where there is one, BED of a genome."""
    genome = RUN.genomes[named("genome", wildcards.genome, RUN.genomes)]
    names = {"fasta": genome.fasta, "bed": genome.bed}
    return {
        role: RUN.path_of(name, genome.source) for role, name in names.items() if name
    }


def genome_options(wildcards):
    """Chromosomes of each split, as options of the command."""
    genome = RUN.genomes[wildcards.genome]
    splits = {"train": genome.train, "valid": genome.valid, "test": genome.test}
    return [
        word
        for split, names in splits.items()
        for name in names
        for word in (f"--{split}", name)
    ]


def task_files(wildcards):
    """The files of a task by their role, and the genome that its intervals point into."""
    suite, task = task_of(wildcards)
    files = task.files()
    known = RUN.sources[suite.source].files if suite.source else []
    found = {
        role: [RUN.path_of(file, suite.source) for file in files_of(name, known)]
        for role, name in files.items()
    }
    if suite.genome:
        found["genome"] = f"{TOKENIZED}/genomes/{suite.genome}/genome.safetensors"
    return found


def task_words(wildcards, input):
    """The files of a task as words of the command: role=path of a file or a folder."""
    suite, task = task_of(wildcards)
    files = task.files()
    known = RUN.sources[suite.source].files if suite.source else []
    words = {}
    for role, name in files.items():
        if role in input.keys():
            files_in = files_of(name, known)
            words[role] = (
                input[role][0].removesuffix(files_in[0]) + name if files_in else name
            )
    if "genome" in input.keys():
        words["genome"] = input.genome
    return [f"{role}={path}" for role, path in words.items()]


def job_of(wildcards):
    """The fine-tuning that the wildcards name."""
    task_of(wildcards)
    return Job(
        wildcards.suite,
        wildcards.task,
        named("model", wildcards.model, RUN.models),
        named("protocol", wildcards.protocol, get_args(Protocol)),
        int(wildcards.seed),
    )


def job_inputs(wildcards):
    """The shard of a fine-tuning's task, and the weights it starts from, if any."""
    job = job_of(wildcards)
    dataset = {"dataset": f"{TOKENIZED}/tasks/{job.suite}/{job.task}.safetensors"}
    if not RUN.is_pretrained(job):
        return dataset
    folder = f"{RESULTS}/pretrain/{RUN.backbone(job.model, job.suite)}"
    return dataset | {
        "weights": f"{folder}/weights.safetensors",
        "about": f"{folder}/weights.json",
    }


def results(*names):
    """These files of every fine-tuning."""
    return [f"{RUN.folder(job)}/{name}" for job in RUN.jobs() for name in names]


def tables():
    """Every table of the run."""
    forms = ("tsv", "md", "tex", "html")
    names = [*RUN.suites, *extra_table_titles(RUN)]
    return [f"{RESULTS}/tables/{name}.{form}" for name in names for form in forms]


def items():
    """The table of pairs of models over test rows."""
    forms = ("tsv", "md", "tex", "html")
    return [f"{RESULTS}/tables/{ITEMS}.{form}" for form in forms if test_row_tasks(RUN)]


def item_predictions():
    """The predictions and scores that the table of test rows is made from."""
    tasks = test_row_tasks(RUN)
    return [
        f"{RUN.folder(job)}/{name}"
        for job in RUN.jobs()
        for name in ("predictions.parquet", "metrics.json")
        if (job.suite, job.task) in tasks
    ]


def figures():
    """Every figure of the run."""
    return [
        f"{RESULTS}/figures/{name}.{form}"
        for name in figure_titles(RUN)
        for form in ("pdf", "svg", "png")
    ]


def audits():
    """The audit of every task of the run."""
    return [
        f"{RESULTS}/audit/{suite}/{task}.json"
        for suite, content in RUN.suites.items()
        for task in content.tasks
    ]


def slurm_requests(dag):
    """Rule and options of `sbatch` of every job at its last attempt, which asks for most."""
    from convnova.runs.slurm import sbatch_options

    needed = [job for job in dag.needrun_jobs() if not job.is_local]
    for job in dict.fromkeys(dag.get_job_group(job) or job for job in needed):
        job.attempt = job.restart_times + 1
        yield min(job.rules), sbatch_options(job.resources, job.threads)
        job.attempt = 1


def check_slurm(dag):
    """Stop before the first submission where Slurm would not take a job, and end what an earlier run left there."""
    import snakemake_executor_plugin_slurm as plugin
    from convnova.runs import slurm

    # Once the controller has not answered, the plugin would ask sacct, which without accounting never answers.
    if workflow.executor_settings.status_command == "squeue":
        plugin.is_query_tool_available = lambda name: False
    try:
        slurm.check_slurm(slurm_requests(dag), Path.cwd())
    except ConvNovaError as error:
        sys.exit(str(error))


def costs():
    """Every model and length whose cost is measured, as model/length."""
    return [
        f"{model}/{length}"
        for model in RUN.models
        for length in (RUN.cost.lengths if RUN.cost else [])
    ]


def tasks_of_classes():
    """Tasks that predict a class a sequence, which can be looked for in the genome."""
    return [
        f"{suite}/{task}"
        for suite, content in RUN.suites.items()
        for task, spec in content.tasks.items()
        if spec.kind == "classes"
    ]


def leaks():
    """The table of leaks, where rows may lie in a real genome."""
    wanted = RUN.genome and not RUN.simulate and tasks_of_classes()
    return [f"{RESULTS}/tables/leaks.tsv"] if wanted else []


def study():
    """The table and figure of a study."""
    tables = [f"{RESULTS}/tables/study.{form}" for form in ("tsv", "md")]
    figures = [f"{RESULTS}/figures/study.{form}" for form in ("pdf", "svg", "png")]
    return tables + figures if RUN.ablation else []


def search():
    """The grid of a search."""
    return (
        [f"{RESULTS}/tables/search.{form}" for form in ("tsv", "md")]
        if RUN.search
        else []
    )


def search_recipes():
    """What a search finds: a recipe for each task and model."""
    models = RUN.search.models if RUN.search else []
    return [
        f"{RESULTS}/recipes/{suite}/{task}/{model}.yaml"
        for suite, content in RUN.suites.items()
        for task in content.tasks
        for model in models
    ]


def by_attempt(amount):
    """A resource that doubles with every attempt."""
    return lambda wildcards, attempt: amount * 2 ** (attempt - 1)
