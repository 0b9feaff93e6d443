"""Every file that a run makes or reads, by its path from the folder of the run: what the workflow asks for."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from convnova.config.schema import files_of
from convnova.runs.outputs import TEST_ROW_TABLE, extra_table_titles, figure_titles, test_row_tasks

if TYPE_CHECKING:
    from convnova.config.run import Job, RunConfig

TABLE_FORMATS = ("tsv", "md", "tex", "html")
FIGURE_FORMATS = ("pdf", "svg", "png")


def tokenized_genome(config: "RunConfig", name: str | None = None) -> str:
    """The tokens of a genome; default the one that models are pretrained on."""
    return f"resources/{config.run}/genomes/{name or config.genome}/genome.safetensors"


def tokenized_task(config: "RunConfig", suite: str, task: str) -> str:
    """The tokens and labels of a task."""
    return f"resources/{config.run}/tasks/{suite}/{task}.safetensors"


def genome_files(config: "RunConfig", name: str) -> dict[str, str]:
    """FASTA and, where there is one, BED of a genome, by role."""
    genome = config.genomes[name]
    files = {"fasta": genome.fasta, "bed": genome.bed}
    return {role: config.path_of(file, genome.source) for role, file in files.items() if file}


def genome_options(config: "RunConfig", name: str) -> list[str]:
    """The chromosomes of each split of a genome, as options of `convnova tokenize-genome`."""
    genome = config.genomes[name]
    splits = {"train": genome.train, "valid": genome.valid, "test": genome.test}
    return [word for split, names in splits.items() for chromosome in names for word in (f"--{split}", chromosome)]


def task_files(config: "RunConfig", suite: str, task: str) -> dict[str, list[str] | str]:
    """The files of a task by role, and the tokenized genome that its intervals point into."""
    source = config.suites[suite].source
    available = config.sources[source].files if source else []
    files: dict[str, list[str] | str] = {
        role: [config.path_of(file, source) for file in files_of(name, available)]
        for role, name in config.suites[suite].tasks[task].files().items()
    }
    genome = config.suites[suite].genome
    return files | {"genome": tokenized_genome(config, genome)} if genome else files


def task_words(config: "RunConfig", suite: str, task: str, paths: Mapping[str, Sequence[str]]) -> list[str]:
    """The files of a task as words of `convnova tokenize-task`: role=path of a file or of a folder.

    Args:
        paths: role to paths of its files as they lie on this machine, in the order of `task_files`; roles that are not
            in it are left out.
    """
    source = config.suites[suite].source
    available = config.sources[source].files if source else []
    words = []
    for role, name in config.suites[suite].tasks[task].files().items():
        if role in paths:
            files = files_of(name, available)
            # A name that ends in a slash stands for a folder: the first path without what lies below the folder.
            words.append(f"{role}={paths[role][0].removesuffix(files[0]) + name if files else name}")
    return words + ([f"genome={paths['genome']}"] if "genome" in paths else [])


def weights_of(config: "RunConfig", job: "Job") -> dict[str, str]:
    """The pretrained weights that a fine-tuning starts from, and the JSON beside them; none if it starts from none."""
    if not config.models[job.model].pretrained:
        return {}
    folder = f"results/{config.run}/pretrain/{config.backbone(job.model, job.suite)}"
    return {"weights": f"{folder}/weights.safetensors", "about": f"{folder}/weights.json"}


def pretraining_files(config: "RunConfig", *names: str) -> list[str]:
    """These files of every pretraining."""
    return [f"results/{config.run}/pretrain/{backbone}/{name}" for backbone in config.backbones() for name in names]


def finetuning_files(config: "RunConfig", *names: str) -> list[str]:
    """These files of every fine-tuning."""
    return [f"{job.folder(config.run)}/{name}" for job in config.jobs() for name in names]


def tables(config: "RunConfig", *names: str, formats: Sequence[str] = TABLE_FORMATS) -> list[str]:
    """These tables in every format; default those that are made from scores."""
    names = names or (*config.suites, *extra_table_titles(config))
    return [f"results/{config.run}/tables/{name}.{suffix}" for name in names for suffix in formats]


def figures(config: "RunConfig", *names: str) -> list[str]:
    """These figures in every format; default all that are made from scores."""
    names = names or tuple(figure_titles(config))
    return [f"results/{config.run}/figures/{name}.{suffix}" for name in names for suffix in FIGURE_FORMATS]


def test_row_tables(config: "RunConfig") -> list[str]:
    """The table of pairs of models over test rows, where there are pairs."""
    return tables(config, TEST_ROW_TABLE) if test_row_tasks(config) else []


def test_row_inputs(config: "RunConfig") -> list[str]:
    """The predictions and scores that the table of test rows is made from."""
    tasks = test_row_tasks(config)
    jobs = [job for job in config.jobs() if (job.suite, job.task) in tasks]
    return [f"{job.folder(config.run)}/{name}" for job in jobs for name in ("predictions.parquet", "metrics.json")]


def audits(config: "RunConfig") -> list[str]:
    """The audit of every task."""
    return [
        f"results/{config.run}/audit/{suite}/{task}.json"
        for suite, part in config.suites.items()
        for task in part.tasks
    ]


def costs(config: "RunConfig") -> list[str]:
    """The measured cost of every model at every length."""
    lengths = config.cost.lengths if config.cost else []
    return [f"results/{config.run}/cost/{model}/{length}.json" for model in config.models for length in lengths]


def class_tasks(config: "RunConfig") -> list[tuple[str, str]]:
    """Suite and task of those that predict a class a sequence: their rows can be looked for in the genome."""
    return [
        (suite, task)
        for suite, part in config.suites.items()
        for task, content in part.tasks.items()
        if content.kind == "classes"
    ]


def recipes(config: "RunConfig") -> list[str]:
    """What a search finds: a recipe for each task and model."""
    models = config.search.models if config.search else []
    return [
        f"results/{config.run}/recipes/{suite}/{task}/{model}.yaml"
        for suite, part in config.suites.items()
        for task in part.tasks
        for model in models
    ]


def final_files(config: "RunConfig") -> list[str]:
    """Everything that a whole run ends with."""
    if not config.suites:
        return tables(config, "cost", formats=("tsv",)) if config.cost else []
    wanted = tables(config, "audit", formats=("tsv", "md", "html"))
    if config.search:  # nobody should choose among candidates by tables of test scores
        wanted += tables(config, "search", formats=("tsv", "md"))
    else:
        wanted += [*tables(config), *test_row_tables(config), *figures(config), f"results/{config.run}/report.html"]
    if config.genome and not config.simulate and class_tasks(config):
        wanted += tables(config, "leaks", formats=("tsv",))
    if config.ablation:
        wanted += [*tables(config, "study", formats=("tsv", "md")), *figures(config, "study")]
    if config.cost:
        wanted += tables(config, "cost", formats=("tsv",))
    return wanted
