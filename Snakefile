# From the raw genome to the comparison tables. What is run is said by a config:
#   snakemake --cores 8                                       config/config.yaml, the embedded run
#   snakemake --cores 8 --configfile config/paper.yaml        the paper
# Paths of results say what they are: snakemake results/.../metrics.json makes one number.
import shutil

from snakemake.utils import min_version

min_version("9.0")


report: "workflow/report/workflow.rst"


if not workflow.configfiles:

    configfile: "config/config.yaml"


include: "workflow/rules/common.smk"
include: "workflow/rules/fetch.smk"
include: "workflow/rules/tokenize.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/results.smk"
include: "workflow/rules/audit.smk"
include: "workflow/rules/cost.smk"


onstart:
    bring_up_to_date(rules.config.output.file)
    if workflow.executor_plugin.name == "slurm":
        check_slurm(workflow.dag)


# What `convnova finetune` keeps for the case that a job of several fine-tunings fails.
onsuccess:
    for kept in Path(RESULTS, "runs").glob("*/*/*/*/*/.finished"):
        shutil.rmtree(kept)


rule all:
    default_target: True
    input:
        # Nobody should choose among candidates by the tables of test scores.
        [] if RUN.search else [tables(), items(), figures()],
        [
            f"{RESULTS}/tables/audit.{form}"
            for form in ("tsv", "md", "html")
            if RUN.suites
        ],
        leaks(),
        study(),
        search(),
        f"{RESULTS}/report.html" if RUN.suites and not RUN.search else [],
        f"{RESULTS}/tables/cost.tsv" if RUN.cost else [],
    localrule: True
