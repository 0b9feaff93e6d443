# Results: every run's scores in one table, then tables and figures a suite, then one page of all.


rule aggregate:
    input:
        config=CONFIG,
        metrics=results("metrics.json"),
    output:
        scores=f"{RESULTS}/tables/scores.tsv",
        provenance=f"{RESULTS}/tables/provenance.tsv",
    log:
        f"{RESULTS}/logs/aggregate.log",
    benchmark:
        f"{RESULTS}/benchmarks/aggregate.tsv"
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
    shell:
        "convnova --log {log} aggregate --config {input.config} --out {output.scores}"


rule tables:
    input:
        config=CONFIG,
        scores=f"{RESULTS}/tables/scores.tsv",
        provenance=f"{RESULTS}/tables/provenance.tsv",
        published=PUBLISHED,
    output:
        tables=report(
            tables(),
            caption="../report/tables.rst",
            category="Tables",
        ),
    log:
        f"{RESULTS}/logs/tables.log",
    benchmark:
        f"{RESULTS}/benchmarks/tables.tsv"
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
        folder=subpath(input.scores, parent=True),
    shell:
        "convnova --log {log} tables --config {input.config} --scores {input.scores} "
        "--published {input.published} --out {params.folder}"


rule items:
    input:
        config=CONFIG,
        predictions=item_predictions(),
    output:
        tsv=f"{RESULTS}/tables/{ITEMS}.tsv",
        md=f"{RESULTS}/tables/{ITEMS}.md",
        tex=f"{RESULTS}/tables/{ITEMS}.tex",
        html=report(
            f"{RESULTS}/tables/{ITEMS}.html",
            caption="../report/items.rst",
            category="Tables",
        ),
    log:
        f"{RESULTS}/logs/items.log",
    benchmark:
        f"{RESULTS}/benchmarks/items.tsv"
    conda:
        CONDA
    threads: 1
    resources:
        mem_mb=by_attempt(2000),
        runtime=by_attempt(60),
        gpu=0,
    params:
        version=RUN.fingerprint(),
        folder=subpath(output.tsv, parent=True),
    shell:
        "convnova --log {log} items --config {input.config} --out {params.folder}"


rule figures:
    input:
        config=CONFIG,
        metrics=results("metrics.json"),
        scores=f"{RESULTS}/tables/scores.tsv",
        published=PUBLISHED,
        pretraining=[
            f"{RESULTS}/pretrain/{backbone}/log.csv" for backbone in RUN.backbones()
        ],
    output:
        figures=report(
            figures(),
            caption="../report/figures.rst",
            category="Figures",
        ),
    log:
        f"{RESULTS}/logs/figures.log",
    benchmark:
        f"{RESULTS}/benchmarks/figures.tsv"
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
        folder=subpath(output[0], parent=True),
    shell:
        "convnova --log {log} figures --config {input.config} --scores {input.scores} "
        "--published {input.published} --out {params.folder}"


rule study:
    input:
        config=CONFIG,
        metrics=results("metrics.json"),
    output:
        tsv=f"{RESULTS}/tables/study.tsv",
        md=report(f"{RESULTS}/tables/study.md", category="Study"),
        pdf=f"{RESULTS}/figures/study.pdf",
        svg=f"{RESULTS}/figures/study.svg",
        png=report(f"{RESULTS}/figures/study.png", category="Study"),
    log:
        f"{RESULTS}/logs/study.log",
    benchmark:
        f"{RESULTS}/benchmarks/study.tsv"
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
        tables=subpath(output.tsv, parent=True),
        figures=subpath(output.png, parent=True),
    shell:
        "convnova --log {log} study --config {input.config} --tables {params.tables} --figures {params.figures}"


rule search:
    input:
        config=CONFIG,
        metrics=results("metrics.json"),
    output:
        tsv=f"{RESULTS}/tables/search.tsv",
        md=report(f"{RESULTS}/tables/search.md", category="Search"),
        recipes=search_recipes(),
    log:
        f"{RESULTS}/logs/search.log",
    benchmark:
        f"{RESULTS}/benchmarks/search.tsv"
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
        folder=subpath(output.tsv, ancestor=2),
    shell:
        "convnova --log {log} search --config {input.config} --out {params.folder}"


rule report:
    input:
        config=CONFIG,
        metrics=results("metrics.json"),
        pretrained=[
            f"{RESULTS}/pretrain/{backbone}/weights.{form}"
            for backbone in RUN.backbones()
            for form in ("safetensors", "json")
        ],
        scores=f"{RESULTS}/tables/scores.tsv",
        provenance=f"{RESULTS}/tables/provenance.tsv",
        published=PUBLISHED,
        tables=tables(),
        test_items=items(),
        figures=figures(),
        audits=audits(),
    output:
        page=report(
            f"{RESULTS}/report.html",
            caption="../report/report.rst",
            category="Report",
        ),
    log:
        f"{RESULTS}/logs/report.log",
    benchmark:
        f"{RESULTS}/benchmarks/report.tsv"
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
    shell:
        "convnova --log {log} report --config {input.config} --published {input.published} --out {output}"
