# Shards: the genome and the tasks as tokens, in the one form that training reads.


rule genome_shard:
    input:
        unpack(genome_files),
    output:
        genome=f"{SHARDS}/genomes/{{genome}}/genome.safetensors",
        intervals=f"{SHARDS}/genomes/{{genome}}/intervals.tsv",
    log:
        f"{RESULTS}/logs/genome_shard/{{genome}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/genome_shard/{{genome}}.tsv"
    conda:
        CONDA
    threads: 2
    resources:
        mem_mb=by_attempt(2000),
        runtime=by_attempt(60),
        gpu=0,
    params:
        bed=lambda w, input: ["--bed", input.bed] if "bed" in input.keys() else [],
        chromosomes=genome_options,
        version=RUN.fingerprint(),
        folder=subpath(output.genome, parent=True),
    shell:
        "convnova --log {log} shard-genome --fasta {input.fasta} {params.bed} "
        "{params.chromosomes} --out {params.folder}"


rule task_shard:
    input:
        unpack(task_files),
        config=CONFIG,
    output:
        shard=f"{SHARDS}/tasks/{{suite}}/{{task}}.safetensors",
    log:
        f"{RESULTS}/logs/task_shard/{{suite}}/{{task}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/task_shard/{{suite}}/{{task}}.tsv"
    conda:
        CONDA
    threads: 1
    resources:
        mem_mb=by_attempt(4000),
        runtime=by_attempt(60),
        gpu=0,
    params:
        files=task_words,
        task=lambda w: RUN.fingerprint(RUN.suites[w.suite].tasks[w.task].shard_fields()),
    shell:
        "convnova --log {log} shard-task --config {input.config} --task {wildcards.suite}/{wildcards.task} "
        "--out {output} {params.files}"
