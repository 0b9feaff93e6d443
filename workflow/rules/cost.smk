# Cost: every model at every length of the config's `cost`, one process each, and what came of it side by side.


rule cost:
    input:
        config=CONFIG,
    output:
        cost=f"{RESULTS}/cost/{{model}}/{{length}}.json",
    log:
        f"{RESULTS}/logs/cost/{{model}}/{{length}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/cost/{{model}}/{{length}}.tsv"
    conda:
        CONDA
    threads: workflow.resource_settings.cores or 1
    resources:
        mem_mb=by_attempt(8000),
        runtime=by_attempt(120),
        gpu=1,
    params:
        settings=lambda w: RUN.fingerprint(
            RUN.models[named("model", w.model, RUN.models)], int(w.length)
        ),
    shell:
        "convnova --log {log} cost --config {input.config} --model {wildcards.model} --length {wildcards.length} "
        "--out {output} --threads {threads}"


rule cost_tables:
    input:
        config=CONFIG,
        costs=[f"{RESULTS}/cost/{name}.json" for name in costs()],
        scores=f"{RESULTS}/tables/scores.tsv" if RUN.suites else [],
    output:
        tsv=f"{RESULTS}/tables/cost.tsv",
        md=f"{RESULTS}/tables/cost.md",
        html=report(
            f"{RESULTS}/tables/cost.html",
            caption="../report/cost.rst",
            category="Cost",
        ),
        pdf=f"{RESULTS}/figures/cost.pdf",
        svg=f"{RESULTS}/figures/cost.svg",
        png=report(
            f"{RESULTS}/figures/cost.png",
            caption="../report/cost.rst",
            category="Cost",
        ),
    log:
        f"{RESULTS}/logs/cost_tables.log",
    benchmark:
        f"{RESULTS}/benchmarks/cost_tables.tsv"
    localrule: True
    conda:
        CONDA
    threads: 1
    resources:
        mem_mb=by_attempt(1000),
        runtime=30,
        gpu=0,
    params:
        version=RUN.fingerprint(),
        scores=lambda w, input: ["--scores", input.scores] if RUN.suites else [],
        tables=subpath(output.tsv, parent=True),
        figures=subpath(output.pdf, parent=True),
    shell:
        "convnova --log {log} cost-tables --config {input.config} {params.scores} --tables {params.tables} "
        "--figures {params.figures} {input.costs}"
