"""What a run makes, from its config alone: names and titles of tables and figures, and the path of every file.

Paths are relative to the root of the run. Imports nothing heavy: every job of the workflow reads the Snakefile, which
asks here.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from convnova.config.run import BASELINE_OF_VARIANTS, Job, RunConfig
from convnova.config.schema import files_of

TABLE_FORMATS = ("tsv", "md", "tex", "html")
FORMATS_OF = {
    "audit": ("tsv", "md", "html"), "cost": ("tsv", "md", "html"),
    "leaks": ("tsv", "md"), "search": ("tsv", "md"), "ablation": ("tsv", "md"),
}  # fmt: skip
"""Table to the formats it has, where it does not have all."""
FIGURE_FORMATS = ("pdf", "svg", "png")


class PaperTable(NamedTuple):
    """A published table, and how ours may be set beside it."""

    published: str
    """Its name in published.csv."""
    suite: str
    protocol: str
    f1: str
    """What that paper's F1 is."""


PAPER_TABLES = {
    "convnova_table_1": PaperTable("ConvNova Table 1", "nucleotide_transformer", "released", "f1_macro"),
    "convnova_table_2": PaperTable("ConvNova Table 2", "genomic_benchmarks", "released", "f1_macro"),
    "caduceus_table_1": PaperTable("Caduceus Table 1", "genomic_benchmarks", "cv", "f1_binary"),
    "caduceus_table_2": PaperTable("Caduceus Table 2", "nucleotide_transformer", "cv", "f1_binary"),
    "janusdna_table_1": PaperTable("JanusDNA Table 1", "genomic_benchmarks", "cv", "f1_binary"),
    "janusdna_table_2": PaperTable("JanusDNA Table 2", "nucleotide_transformer", "cv", "f1_binary"),
    "dnabert2_gue_table": PaperTable("DNABERT-2 GUE table", "gue", "heldout", "f1_macro"),
}
TEST_ROW_TABLE, TEST_ROW_TITLE = "test_rows", "Pairs of models over test rows"
"""The table that is made from predictions; the others are made from scores."""

ABLATION, ABLATION_TITLE = "ablation", "What moves the score"
"""The table and the figure of validation scores, where the config names a baseline."""

PREDICTED = "predicted"
"""The figure of tasks of numbers, which is made from predictions."""

IN_TRAINING_ROWS = ("classes", "regression")
"""Kinds of the tasks whose training rows make the genome `training_rows`, without what is like a held-out row."""


def extra_table_titles(config: RunConfig) -> dict[str, str]:
    """Every table of a run besides those of its suites: name to title, in the order in which they are shown."""
    if not config.suites:
        return {}
    titles = {"protocols": "Protocol against protocol"} if any(config.trainings()) else {}
    if len(config.models) > 1:
        titles["comparisons"] = "Pairs of models over tasks"
    for name, table in PAPER_TABLES.items():
        if table.protocol in config.protocols_on(table.suite):
            titles[name] = f"{table.published}, and ours by {table.protocol}"
    return titles


def tasks_of_kinds(config: RunConfig, *kinds: str) -> list[tuple[str, str]]:
    """Suite and name of the tasks of these kinds; default of every task."""
    return [
        (suite, task)
        for suite, content in config.suites.items()
        for task, spec in content.tasks.items()
        if not kinds or spec.kind in kinds
    ]


def test_row_tasks(config: RunConfig) -> list[tuple[str, str]]:
    """Suite and name of the tasks whose test rows models are compared on: those that two models are trained on."""
    compared = {suite for suite in config.suites if len(config.titles_on(suite)) > 1}
    tasks = tasks_of_kinds(config, "classes", "per_base", "regression")
    return [(suite, task) for suite, task in tasks if suite in compared]


def comparison_titles(config: RunConfig) -> dict[str, str]:
    """Every figure of all suites together: name to title."""
    titles = {"learning": "Scores of every epoch"} if any(config.trainings()) else {}
    if config.suites and len(config.models) > 1:
        differences = {"ranks": "Ranks of models over tasks", "differences": "Paired differences of models"}
        return {"overview": "Mean test scores of all tasks"} | differences | titles
    return titles


def figure_titles(config: RunConfig) -> dict[str, str]:
    """Every figure of a run: name to title."""
    others = {PREDICTED: "Predicted against measured"} if tasks_of_kinds(config, "regression") else {}
    others |= {"pretraining": "Pretraining"} if config.backbones() else {}
    ablation = {ABLATION: ABLATION_TITLE} if config.ablation else {}
    return config.suite_titles | ablation | comparison_titles(config) | others


def tokenized_genome(config: RunConfig, name: str | None = None) -> str:
    """The tokens of a genome; default the one that models are pretrained on."""
    return f"resources/{config.run}/genomes/{name or config.genome}/genome.safetensors"


def tokenized_task(config: RunConfig, suite: str, task: str) -> str:
    """The tokens and labels of a task.

    Args:
        config: the run.
        suite: one of its suites.
        task: a task of the suite.
    """
    return f"resources/{config.run}/tasks/{suite}/{task}.safetensors"


def genome_files(config: RunConfig, name: str) -> dict[str, str]:
    """FASTA and, where there is one, BED of a genome, by role."""
    genome = config.genomes[name]
    return {role: config.path_of(file, genome.source) for role, file in genome.files().items()}


def genome_options(config: RunConfig, name: str) -> list[str]:
    """The chromosomes of each split, and the number of intervals, as options of `convnova tokenize-genome`."""
    genome = config.genomes[name]
    splits = genome.model_dump(include={"train", "valid", "test"})
    words = [word for split, names in splits.items() for chromosome in names for word in (f"--{split}", chromosome)]
    rows = config.sources[genome.source].files[genome.bed].rows if genome.source and genome.bed else None
    return [*words, "--rows", str(rows)] if rows else words


def _files_by_role(config: RunConfig, suite: str, task: str) -> dict[str, list[str]]:
    """The names of a task's files, as their source or the user names them."""
    source = config.suites[suite].source
    files = config.suites[suite].tasks[task].files().items()
    return {role: files_of(name, config.sources[source].files) if source else [name] for role, name in files}


def task_files(config: RunConfig, suite: str, task: str) -> dict[str, list[str] | str]:
    """The files that a tokenized task is made from.

    Args:
        config: the run.
        suite: one of its suites.
        task: a task of the suite.

    Returns:
        Role to the paths of its files; under `genome` the tokenized genome that the task's intervals point into.
    """
    content, files = config.suites[suite], _files_by_role(config, suite, task)
    paths: dict[str, list[str] | str] = {
        role: [config.path_of(name, content.source) for name in names] for role, names in files.items()
    }
    return paths | ({"genome": tokenized_genome(config, content.genome)} if content.genome else {})


def task_words(config: RunConfig, suite: str, task: str, paths: Mapping[str, Sequence[str]]) -> list[str]:
    """The files of a task as words of `convnova tokenize-task`: role=path of a file or of a folder.

    Args:
        config: the run.
        suite: one of its suites.
        task: a task of the suite.
        paths: role to paths of its files as they lie on this machine, in the order of `task_files`; roles that are not
            in it are left out.
    """
    names, words = config.suites[suite].tasks[task].files(), []
    for role, files in _files_by_role(config, suite, task).items():
        if role in paths:
            # A name that ends in a slash stands for a folder: the first path without what lies below the folder.
            path = paths[role][0].removesuffix(files[0]) + names[role] if files else names[role]
            words.append(f"{role}={path}")
    return words + ([f"genome={paths['genome']}"] if "genome" in paths else [])


def weights_of(config: RunConfig, job: Job) -> dict[str, str]:
    """The weights that a fine-tuning starts from, or variants are scored by, and the JSON beside them; none if none."""
    if tuned := config.fine_tuning_of(job):
        folder = tuned.folder(config.run)
    elif config.models[job.model].pretrained:
        folder = f"results/{config.run}/pretrain/{config.backbone(job.model, job.suite)}"
    else:
        return {}
    return {"weights": f"{folder}/weights.safetensors", "about": f"{folder}/weights.json"}


def finetuning_files(config: RunConfig, *names: str, tasks: list[tuple[str, str]] | None = None) -> list[str]:
    """These files of every fine-tuning; with `tasks`, of those on these suites and tasks alone."""
    jobs = [job for job in config.jobs() if tasks is None or job[:2] in tasks]
    return [f"{job.folder(config.run)}/{name}" for job in jobs for name in names]


def kept_weights(config: RunConfig) -> list[str]:
    """The weights of every fine-tuning that keeps them."""
    jobs = [job for job in config.trainings() if job.protocol in config.keep_weights]
    return [f"{job.folder(config.run)}/weights.safetensors" for job in jobs]


def tables(config: RunConfig, *names: str) -> list[str]:
    """These tables in every format that they have; default those that are made from scores."""
    names = names or (*config.suites, *extra_table_titles(config))
    folder = f"results/{config.run}/tables"
    return [f"{folder}/{name}.{suffix}" for name in names for suffix in FORMATS_OF.get(name, TABLE_FORMATS)]


def figures(config: RunConfig, *names: str) -> list[str]:
    """These figures in every format; default all that are made from scores."""
    names = names or tuple(figure_titles(config))
    return [f"results/{config.run}/figures/{name}.{suffix}" for name in names for suffix in FIGURE_FORMATS]


def audits(config: RunConfig) -> list[str]:
    """The audit of every task."""
    return [f"results/{config.run}/audit/{suite}/{task}.json" for suite, task in tasks_of_kinds(config)]


def costs(config: RunConfig) -> list[str]:
    """The measured cost of every network at every length."""
    networks = [name for name, model in config.models.items() if model.architecture != BASELINE_OF_VARIANTS]
    lengths = config.cost.lengths if config.cost else []
    return [f"results/{config.run}/cost/{model}/{length}.json" for model in networks for length in lengths]


def recipes(config: RunConfig) -> dict[tuple[str, str, str], str]:
    """What a search finds: (suite, task, model) to a recipe, for each model and task that it is trained on."""
    trained, search = {job[:3] for job in config.trainings()}, config.search
    models = {model: next(iter(search.candidates(model))) for model in search.models} if search else {}
    places = [
        (*task, model)
        for task in tasks_of_kinds(config)
        for model, candidate in models.items()
        if (*task, candidate) in trained
    ]
    return {place: f"results/{config.run}/recipes/{'/'.join(place)}.yaml" for place in places}


def final_files(config: RunConfig) -> list[str]:
    """Everything that a whole run ends with."""
    if not config.suites:
        return tables(config, "cost") if config.cost else []
    wanted = ["audit"]
    if config.search:  # nobody should choose among candidates by tables of test scores
        wanted.append("search")
    if not config.simulate and tasks_of_kinds(config, "classes"):
        wanted.append("leaks")
    if config.ablation:
        wanted.append(ABLATION)
    if config.cost:
        wanted.append("cost")
    files = [*tables(config, *wanted), *kept_weights(config)]
    if config.search:
        return files
    paired = tables(config, TEST_ROW_TABLE) if test_row_tasks(config) else []
    return [*files, *tables(config), *paired, *figures(config), f"results/{config.run}/report.html"]
