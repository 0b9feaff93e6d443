# Results: every run's scores in one table, then tables and figures, then one page of all. One form for all rules.
# (`use rule` takes over all of a rule except that it is local.)
PAIRED = outputs.test_row_tasks(RUN)


rule scores:
    input:
        config=CONFIG,
        metrics=outputs.finetuning_files(RUN, "metrics.json"),
    output:
        scores=f"{RESULTS}/tables/scores.tsv",
        provenance=f"{RESULTS}/tables/provenance.tsv",
    log:
        f"{RESULTS}/logs/scores.log",
    benchmark:
        f"{RESULTS}/benchmarks/scores.tsv"
    localrule: True
    conda:
        CONDA
    resources:
        **by_attempt(mb=1000, minutes=30),
    params:
        command=["tables", "scores"],
        published=lambda w, input: (["--published", input.published] if "published" in input.keys() else []),
        folder=subpath(output[0], ancestor=2),
        config=RUN.fingerprint(RUN),
    shell:
        "convnova --log {log:q} {params.command:q} --run {input.config:q} {params.published:q} --out {params.folder:q}"


use rule scores as comparisons with:
    input:
        config=CONFIG,
        scores=rules.scores.output,
        published=PUBLISHED,
    output:
        tables=report(outputs.tables(RUN), caption="../report/tables.rst", category="Tables"),
    log:
        f"{RESULTS}/logs/comparisons.log",
    benchmark:
        f"{RESULTS}/benchmarks/comparisons.tsv"
    localrule: True
    params:
        command=["tables", "comparisons"],


use rule scores as figures with:
    input:
        config=CONFIG,
        metrics=outputs.finetuning_files(RUN, "metrics.json"),
        scores=rules.scores.output,
        published=PUBLISHED,
        predictions=outputs.finetuning_files(
            RUN, "predictions.parquet", tasks=outputs.tasks_of_kinds(RUN, "regression")
        ),
        pretraining=[f"{RESULTS}/pretrain/{backbone}/log.csv" for backbone in RUN.backbones()],
    output:
        figures=report(outputs.figures(RUN), caption="../report/figures.rst", category="Figures"),
    log:
        f"{RESULTS}/logs/figures.log",
    benchmark:
        f"{RESULTS}/benchmarks/figures.tsv"
    localrule: True
    params:
        command=["figures"],


use rule scores as test_rows with:
    input:
        config=CONFIG,
        predictions=outputs.finetuning_files(RUN, "predictions.parquet", "metrics.json", tasks=PAIRED),
    output:
        tables=report(outputs.tables(RUN, "test_rows"), caption="../report/test_rows.rst", category="Tables"),
    log:
        f"{RESULTS}/logs/test_rows.log",
    benchmark:
        f"{RESULTS}/benchmarks/test_rows.tsv"
    resources:
        **by_attempt(mb=2000, minutes=60),
    params:
        command=["tables", "test_rows"],


use rule scores as ablation with:
    output:
        tables=report(outputs.tables(RUN, "ablation"), category="Ablation"),
    log:
        f"{RESULTS}/logs/ablation.log",
    benchmark:
        f"{RESULTS}/benchmarks/ablation.tsv"
    localrule: True
    params:
        command=["tables", "ablation"],


use rule scores as search with:
    output:
        tables=report(outputs.tables(RUN, "search"), category="Search"),
        recipes=list(outputs.recipes(RUN).values()),
    log:
        f"{RESULTS}/logs/search.log",
    benchmark:
        f"{RESULTS}/benchmarks/search.tsv"
    localrule: True
    params:
        command=["tables", "search"],


use rule scores as audit_table with:
    input:
        config=CONFIG,
        audits=outputs.audits(RUN),
    output:
        tables=report(outputs.tables(RUN, "audit"), caption="../report/audit.rst", category="Audit"),
    log:
        f"{RESULTS}/logs/audit_table.log",
    benchmark:
        f"{RESULTS}/benchmarks/audit_table.tsv"
    localrule: True
    params:
        command=["tables", "audit"],


use rule test_rows as leakage with:
    input:
        config=CONFIG,
        predictions=outputs.finetuning_files(RUN, "predictions.parquet"),
        datasets=[outputs.tokenized_task(RUN, *task) for task in outputs.tasks_of_kinds(RUN, "classes")],
    output:
        tables=report(outputs.tables(RUN, "leaks"), category="Audit"),
    log:
        f"{RESULTS}/logs/leakage.log",
    benchmark:
        f"{RESULTS}/benchmarks/leakage.tsv"
    resources:
        **by_attempt(mb=4000, minutes=60),
    params:
        command=["tables", "leakage"],


use rule scores as cost_table with:
    input:
        config=CONFIG,
        costs=outputs.costs(RUN),
        scores=rules.scores.output if RUN.suites else [],
    output:
        tables=report(outputs.tables(RUN, "cost"), caption="../report/cost.rst", category="Cost"),
        figures=report(outputs.figures(RUN, "cost"), caption="../report/cost.rst", category="Cost"),
    log:
        f"{RESULTS}/logs/cost_table.log",
    benchmark:
        f"{RESULTS}/benchmarks/cost_table.tsv"
    localrule: True
    params:
        command=["tables", "cost"],


use rule scores as report with:
    input:
        config=CONFIG,
        metrics=outputs.finetuning_files(RUN, "metrics.json"),
        pretrained=[
            f"{RESULTS}/pretrain/{backbone}/weights.{suffix}"
            for backbone in RUN.backbones()
            for suffix in ("safetensors", "json")
        ],
        scores=rules.scores.output,
        published=PUBLISHED,
        tables=[
            *rules.comparisons.output,
            *(rules.test_rows.output if PAIRED else []),
            *(rules.ablation.output if RUN.ablation else []),
        ],
        figures=rules.figures.output,
        audits=outputs.audits(RUN),
    output:
        page=report(f"{RESULTS}/report.html", caption="../report/report.rst", category="Report"),
    log:
        f"{RESULTS}/logs/report.log",
    benchmark:
        f"{RESULTS}/benchmarks/report.tsv"
    localrule: True
    params:
        command=["report"],
        folder=subpath(output.page, parent=True),
