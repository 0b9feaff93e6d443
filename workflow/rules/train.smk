# Training: one pretraining a backbone, one fine-tuning a task, model, protocol and seed.


rule pretrain:
    input:
        config=CONFIG,
        genome=f"{TOKENIZED}/genomes/{RUN.genome}/genome.safetensors",
        intervals=f"{TOKENIZED}/genomes/{RUN.genome}/intervals.tsv",
    output:
        weights=f"{RESULTS}/pretrain/{{backbone}}/weights.safetensors",
        about=f"{RESULTS}/pretrain/{{backbone}}/weights.json",
        history=f"{RESULTS}/pretrain/{{backbone}}/log.csv",
    log:
        f"{RESULTS}/logs/pretrain/{{backbone}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/pretrain/{{backbone}}.tsv"
    priority: 10
    conda:
        CONDA
    threads: 1
    resources:
        mem_mb=by_attempt(4000),
        runtime=by_attempt(720),
        gpu=1,
    params:
        settings=lambda w: RUN.pretraining_fingerprint(
            named("pretraining", w.backbone, RUN.backbones())
        ),
        genome=subpath(input.genome, parent=True),
        folder=subpath(output.weights, parent=True),
    shell:
        "convnova --log {log} pretrain --config {input.config} --backbone {wildcards.backbone} "
        "--genome {params.genome} --out {params.folder} --threads {threads} --processes {resources.gpu}"


rule finetune:
    input:
        unpack(job_inputs),
        config=CONFIG,
    output:
        metrics=f"{RESULTS}/runs/{{suite}}/{{task}}/{{model}}/{{protocol}}/seed={{seed}}/metrics.json",
        predictions=f"{RESULTS}/runs/{{suite}}/{{task}}/{{model}}/{{protocol}}/seed={{seed}}/predictions.parquet",
        history=f"{RESULTS}/runs/{{suite}}/{{task}}/{{model}}/{{protocol}}/seed={{seed}}/log.csv",
    log:
        f"{RESULTS}/logs/finetune/{{suite}}/{{task}}/{{model}}/{{protocol}}/seed={{seed}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/finetune/{{suite}}/{{task}}/{{model}}/{{protocol}}/seed={{seed}}.tsv"
    conda:
        CONDA
    threads: 1
    resources:
        mem_mb=by_attempt(4000),
        runtime=by_attempt(120),
        gpu=1,
    params:
        settings=lambda w: RUN.job_fingerprint(job_of(w)),
        weights=lambda w, input: (
            ["--weights", input.weights] if "weights" in input.keys() else []
        ),
        folder=subpath(output.metrics, parent=True),
    shell:
        "convnova --log {log} finetune --config {input.config} "
        "--job {wildcards.suite}/{wildcards.task}/{wildcards.model}/{wildcards.protocol}/seed={wildcards.seed} "
        "--dataset {input.dataset} {params.weights} --out {params.folder} --threads {threads}"
