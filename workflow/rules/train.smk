# Training: one pretraining a backbone; one fine-tuning a task, model, protocol and seed; the cost of each model.


rule pretrain:
    input:
        config=CONFIG,
        genome=f"{GENOME}/genome.safetensors",
        intervals=f"{GENOME}/intervals.tsv",
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
    resources:
        **by_attempt(mb=4000, minutes=720, gpu=1),
    params:
        settings=lambda w: RUN.pretraining_fingerprint(named("pretraining", w.backbone, RUN.backbones())),
        genome=subpath(input.genome, parent=True),
        folder=subpath(output.weights, parent=True),
    shell:
        "convnova --log {log:q} pretrain --config {input.config:q} --backbone {wildcards.backbone:q} "
        "--genome {params.genome:q} --out {params.folder:q} --threads {threads:q} --processes {resources.gpu:q}"


rule finetune:
    input:
        unpack(lambda w: outputs.weights_of(RUN, job_of(w))),
        config=CONFIG,
        dataset=f"{RESOURCES}/tasks/{{suite}}/{{task}}.safetensors",
    output:
        metrics=f"{FINETUNING}/metrics.json",
        predictions=f"{FINETUNING}/predictions.parquet",
        history=f"{FINETUNING}/log.csv",
        weights=f"{FINETUNING}/weights.safetensors",
        about=f"{FINETUNING}/weights.json",
    log:
        FINETUNING.replace(f"{RESULTS}/runs", f"{RESULTS}/logs/finetune") + ".log",
    benchmark:
        FINETUNING.replace(f"{RESULTS}/runs", f"{RESULTS}/benchmarks/finetune") + ".tsv"
    wildcard_constraints:
        suite=f"(?!({VARIANTS})/)[^/]+",
        protocol="|".join(RUN.keep_weights) or "(?!)",
    conda:
        CONDA
    resources:
        **by_attempt(mb=4000, minutes=120, gpu=1),
    params:
        settings=lambda w: RUN.job_fingerprint(job_of(w)),
        job=lambda w: job_of(w).name,
        weights=lambda w, input: (["--weights", input.weights] if "weights" in input.keys() else []),
        folder=subpath(output.metrics, parent=True),
    shell:
        "convnova --log {log:q} finetune --config {input.config:q} --job {params.job:q} "
        "--dataset {input.dataset:q} {params.weights:q} --out {params.folder:q} --threads {threads:q}"


# The protocols whose weights the config does not keep.
use rule finetune as finetune_scores with:
    output:
        metrics=f"{FINETUNING}/metrics.json",
        predictions=f"{FINETUNING}/predictions.parquet",
        history=f"{FINETUNING}/log.csv",
    wildcard_constraints:
        suite=f"(?!({VARIANTS})/)[^/]+",
        protocol=f"(?!({'|'.join(RUN.keep_weights)})/)[^/]+",


# A task of variants is scored by a model that is trained already.
rule score_task:
    input:
        unpack(lambda w: outputs.weights_of(RUN, job_of(w))),
        config=CONFIG,
        dataset=f"{RESOURCES}/tasks/{{suite}}/{{task}}.safetensors",
        genome=lambda w: outputs.tokenized_genome(RUN, RUN.suites[w.suite].genome),
    output:
        metrics=f"{FINETUNING}/metrics.json",
        predictions=f"{FINETUNING}/predictions.parquet",
    log:
        FINETUNING.replace(f"{RESULTS}/runs", f"{RESULTS}/logs/score_task") + ".log",
    benchmark:
        FINETUNING.replace(f"{RESULTS}/runs", f"{RESULTS}/benchmarks/score_task") + ".tsv"
    wildcard_constraints:
        suite=VARIANTS,
    conda:
        CONDA
    resources:
        **by_attempt(mb=4000, minutes=120, gpu=1),
    params:
        settings=lambda w: RUN.job_fingerprint(job_of(w)),
        job=lambda w: job_of(w).name,
        weights=lambda w, input: (["--weights", input.weights] if "weights" in input.keys() else []),
        genome=subpath(input.genome, parent=True),
        folder=subpath(output.metrics, parent=True),
    shell:
        "convnova --log {log:q} score-task --config {input.config:q} --job {params.job:q} --dataset {input.dataset:q} "
        "--genome {params.genome:q} {params.weights:q} --out {params.folder:q} --threads {threads:q}"


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
        **by_attempt(mb=8000, minutes=120, gpu=1),
    params:
        settings=lambda w: RUN.fingerprint(RUN.models[named("model", w.model, RUN.models)], int(w.length)),
    shell:
        "convnova --log {log:q} cost --config {input.config:q} --model {wildcards.model:q} "
        "--length {wildcards.length:q} --out {output.cost:q} --threads {threads:q}"
