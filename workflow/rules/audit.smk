# Audit: what is in every task's splits, and which test rows occur in training or pretraining data.


rule audit:
    input:
        unpack(lambda w: task_files(w) if task_of(w)[0].genome == RUN.genome else {}),
        config=CONFIG,
        dataset=f"{TOKENIZED}/tasks/{{suite}}/{{task}}.safetensors",
        pretraining=[
            f"{TOKENIZED}/genomes/{RUN.genome}/{name}"
            for name in ("genome.safetensors", "intervals.tsv")
            if RUN.backbones()
        ],
    output:
        audit=f"{RESULTS}/audit/{{suite}}/{{task}}.json",
    log:
        f"{RESULTS}/logs/audit/{{suite}}/{{task}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/audit/{{suite}}/{{task}}.tsv"
    conda:
        CONDA
    threads: 1
    resources:
        mem_mb=by_attempt(4000),
        runtime=by_attempt(60),
        gpu=0,
    params:
        files=task_words,
        genome=lambda w, input: (
            ["--genome", Path(input.pretraining[0]).parent]
            if input.pretraining
            else []
        ),
        settings=RUN.fingerprint(RUN.pretrain.coverage, RUN.pretrain.length),
    shell:
        "convnova --log {log} audit --config {input.config} --task {wildcards.suite}/{wildcards.task} "
        "--dataset {input.dataset} {params.genome} --out {output} {params.files}"


rule audit_tables:
    input:
        config=CONFIG,
        audits=audits(),
    output:
        tsv=f"{RESULTS}/tables/audit.tsv",
        md=f"{RESULTS}/tables/audit.md",
        html=report(
            f"{RESULTS}/tables/audit.html",
            caption="../report/audit.rst",
            category="Audit",
        ),
    log:
        f"{RESULTS}/logs/audit_tables.log",
    benchmark:
        f"{RESULTS}/benchmarks/audit_tables.tsv"
    localrule: True
    conda:
        CONDA
    threads: 1
    resources:
        mem_mb=by_attempt(500),
        runtime=5,
        gpu=0,
    params:
        version=RUN.fingerprint(),
        folder=subpath(output.tsv, parent=True),
    shell:
        "convnova --log {log} audit-tables --config {input.config} --out {params.folder} {input.audits}"


rule leaks:
    input:
        config=CONFIG,
        predictions=results("predictions.parquet"),
        datasets=[f"{TOKENIZED}/tasks/{name}.safetensors" for name in tasks_of_classes()],
        genome=f"{TOKENIZED}/genomes/{RUN.genome}/genome.safetensors",
    output:
        tsv=f"{RESULTS}/tables/leaks.tsv",
        md=report(f"{RESULTS}/tables/leaks.md", category="Audit"),
    log:
        f"{RESULTS}/logs/leaks.log",
    benchmark:
        f"{RESULTS}/benchmarks/leaks.tsv"
    conda:
        CONDA
    threads: 1
    resources:
        mem_mb=by_attempt(4000),
        runtime=by_attempt(60),
        gpu=0,
    params:
        version=RUN.fingerprint(),
        genome=subpath(input.genome, parent=True),
        datasets=lambda w, input: [
            f"{name}={path}" for name, path in zip(tasks_of_classes(), input.datasets)
        ],
        folder=subpath(output.tsv, parent=True),
    shell:
        "convnova --log {log} leaks --config {input.config} --genome {params.genome} "
        "--out {params.folder} {params.datasets}"
