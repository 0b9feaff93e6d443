# The workflow is workflow/Snakefile; with this file `snakemake` finds it from the root of the repository.
include: "workflow/Snakefile"


workflow.default_target = "all"  # which `include` does not take over
