# Audit: the rows of every task's splits, and which test rows occur in training or pretraining data.


rule audit:
    input:
        unpack(lambda w: task_files(w) if RUN.suites[task_of(w)[0]].genome == RUN.genome else {}),
        config=CONFIG,
        dataset=f"{RESOURCES}/tasks/{{suite}}/{{task}}.safetensors",
        pretraining=[f"{GENOME}/{name}" for name in ("genome.safetensors", "intervals.tsv") if RUN.backbones()],
    output:
        audit=f"{RESULTS}/audit/{{suite}}/{{task}}.json",
    log:
        f"{RESULTS}/logs/audit/{{suite}}/{{task}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/audit/{{suite}}/{{task}}.tsv"
    conda:
        CONDA
    resources:
        **by_attempt(mb=4000, minutes=60),
    params:
        files=task_words,
        genome=lambda w, input: (["--genome", str(Path(input.pretraining[0]).parent)] if input.pretraining else []),
        settings=RUN.fingerprint(*(RUN.pretraining(model) for model, _ in RUN.backbones().values())),
    shell:
        "convnova --log {log:q} audit --config {input.config:q} --task {wildcards.suite:q}/{wildcards.task:q} "
        "--dataset {input.dataset:q} {params.genome:q} --out {output.audit:q} {params.files:q}"
