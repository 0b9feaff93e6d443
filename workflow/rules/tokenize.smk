# Shards: the genome and the tasks as tokens, in the one form that training reads.


rule tokenize_genome:
    input:
        unpack(genome_files),
    output:
        genome=f"{TOKENIZED}/genomes/{{genome}}/genome.safetensors",
        intervals=f"{TOKENIZED}/genomes/{{genome}}/intervals.tsv",
    log:
        f"{RESULTS}/logs/tokenize_genome/{{genome}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/tokenize_genome/{{genome}}.tsv"
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
        "convnova --log {log} tokenize-genome --fasta {input.fasta} {params.bed} "
        "{params.chromosomes} --out {params.folder}"


rule tokenize_task:
    input:
        unpack(task_files),
        config=CONFIG,
    output:
        dataset=f"{TOKENIZED}/tasks/{{suite}}/{{task}}.safetensors",
    log:
        f"{RESULTS}/logs/tokenize_task/{{suite}}/{{task}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/tokenize_task/{{suite}}/{{task}}.tsv"
    conda:
        CONDA
    threads: 1
    resources:
        mem_mb=by_attempt(4000),
        runtime=by_attempt(60),
        gpu=0,
    params:
        files=task_words,
        task=lambda w: RUN.fingerprint(RUN.suites[w.suite].tasks[w.task].dataset_fields()),
    shell:
        "convnova --log {log} tokenize-task --config {input.config} --task {wildcards.suite}/{wildcards.task} "
        "--out {output} {params.files}"
