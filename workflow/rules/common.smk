# What the other files share: the resolved config, folders, and the names that wildcards stand for.
import os
import sys
from pathlib import Path
from typing import get_args

from convnova.config.load import load, save
from convnova.config.run import Job
from convnova.config.schema import Protocol
from convnova.errors import ConvNovaError, nearest
from convnova.files import read_yaml
from convnova.runs import targets

RULES = workflow.current_basedir.get_path_or_uri(secret_free=True)
CATALOGUE = Path(os.path.relpath(f"{RULES}/../../config"))
FILES = [os.path.relpath(path) for path in workflow.configfiles]
try:
    # Snakemake has read these files, and of a key that is there twice it keeps the last.
    for file in FILES if workflow.is_main_process else []:
        read_yaml(file)
    RUN = load(config, FILES, CATALOGUE)
    if workflow.is_main_process:
        from convnova.runs.validate import check_files, validate

        validate(RUN, FILES)
        # Where the user's files are in a storage, Snakemake itself says what is missing.
        if RUN.simulate or not workflow.storage_settings.default_storage_provider:
            check_files(RUN, FILES)
except ConvNovaError as error:
    sys.exit(f"config: {error}")

RESULTS = f"results/{RUN.run}"
RESOURCES = f"resources/{RUN.run}"
MIRROR = f"{RESOURCES}/mirror"
GENOME = f"{RESOURCES}/genomes/{RUN.genome}"
FINETUNING = f"{RESULTS}/runs/{{suite}}/{{task}}/{{model}}/{{protocol}}/seed={{seed}}"
# Every job reads the resolved config. What its numbers depend on is among its params, so the file's age does not count.
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


def update_config(file):
    """Write the resolved config anew if it is there already: its job runs only once.

    Snakemake does not ask whether jobs have reasons to run again, such as other settings, where they depend on a job
    that runs again by files whose age does not count.
    """
    stored = getattr(file, "storage_object", None)
    if stored.exists() if stored else Path(file).is_file():
        save(RUN, file)
        if stored:
            stored.store_object()


def named(kind, name, known):
    """The name, if it is known. Otherwise exit with the nearest one: it comes from a path that a user asked for."""
    if name not in known:
        sys.exit(f"{kind} {name!r}: {nearest(name, list(known))}")
    return name


def task_of(wildcards):
    """The names of the suite and the task."""
    suite = named("suite", wildcards.suite, RUN.suites)
    return suite, named(f"task of {suite}", wildcards.task, RUN.suites[suite].tasks)


def task_files(wildcards):
    """The files of a task by role."""
    return targets.task_files(RUN, *task_of(wildcards))


def task_words(wildcards, input):
    """The files of a task as words of the command."""
    return targets.task_words(RUN, *task_of(wildcards), dict(input.items()))


def job_of(wildcards):
    """The fine-tuning that the wildcards name."""
<<<<<<< HEAD
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
=======
    model = named("model", wildcards.model, RUN.models)
    protocol = named("protocol", wildcards.protocol, get_args(Protocol))
    return Job(*task_of(wildcards), model, protocol, int(wildcards.seed))
>>>>>>> 8e388d3 (wip workflow)


def by_attempt(amount):
    """A resource that doubles with every attempt."""
    return lambda wildcards, attempt: amount * 2 ** (attempt - 1)
