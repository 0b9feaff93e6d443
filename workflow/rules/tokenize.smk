# The genome and the tasks as tokens, in the one form that training reads.


rule tokenize_genome:
    input:
        unpack(lambda w: outputs.genome_files(RUN, named("genome", w.genome, RUN.genomes))),
    output:
        genome=f"{RESOURCES}/genomes/{{genome}}/genome.safetensors",
        intervals=f"{RESOURCES}/genomes/{{genome}}/intervals.tsv",
    log:
        f"{RESULTS}/logs/tokenize_genome/{{genome}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/tokenize_genome/{{genome}}.tsv"
    conda:
        CONDA
    threads: 2
    resources:
        **by_attempt(mb=2000, minutes=60),
    params:
        bed=lambda w, input: ["--bed", input.bed] if "bed" in input.keys() else [],
        chromosomes=lambda w: outputs.genome_options(RUN, w.genome),
        version=RUN.fingerprint(),
        folder=subpath(output.genome, parent=True),
    shell:
        "convnova --log {log:q} tokenize-genome --fasta {input.fasta:q} {params.bed:q} "
        "{params.chromosomes:q} --out {params.folder:q}"


rule tokenize_task:
    input:
        unpack(task_files),
        config=CONFIG,
    output:
        dataset=f"{RESOURCES}/tasks/{{suite}}/{{task}}.safetensors",
    log:
        f"{RESULTS}/logs/tokenize_task/{{suite}}/{{task}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/tokenize_task/{{suite}}/{{task}}.tsv"
    conda:
        CONDA
    resources:
        **by_attempt(mb=4000, minutes=60),
    params:
        files=task_words,
        task=lambda w: RUN.fingerprint(RUN.suites[w.suite].tasks[w.task].dataset_fields()),
    shell:
        "convnova --log {log:q} tokenize-task --config {input.config:q} "
        "--task {wildcards.suite:q}/{wildcards.task:q} --out {output.dataset:q} {params.files:q}"


rule training_rows:
    input:
        config=CONFIG,
        datasets=[outputs.tokenized_task(RUN, *task) for task in outputs.tasks_of_kinds(RUN, *outputs.IN_TRAINING_ROWS)],
    output:
        fasta=f"{RESOURCES}/{TRAINING_ROWS}.fa",
        bed=f"{RESOURCES}/{TRAINING_ROWS}.bed",
    log:
        f"{RESULTS}/logs/training_rows.log",
    benchmark:
        f"{RESULTS}/benchmarks/training_rows.tsv"
    conda:
        CONDA
    resources:
        **by_attempt(mb=4000, minutes=60),
    params:
        version=RUN.fingerprint(),
    shell:
        "convnova --log {log:q} training-rows --config {input.config:q} --out {output.fasta:q}"
