# The raw files: from the internet, from a mirror, or, in the embedded run, from a simulated mirror.


rule config:
    output:
        CONFIG,
    params:
        written=json.dumps(WRITTEN, sort_keys=True),
    log:
        f"{RESULTS}/logs/config.log",
    benchmark:
        f"{RESULTS}/benchmarks/config.tsv"
    threads: 1
    resources:
        mem_mb=500,
        runtime=5,
        gpu=0,
    conda:
        CONDA
    localrule: True
    shell:
        "convnova --log {log} config --json {params.written:q} --out {output}"


if RUN.simulate:

    rule simulate:
        output:
            MIRROR_SUMS,
        params:
            seed=RUN.simulate.seed,
            version=RUN.fingerprint(),
            folder=subpath(output[0], parent=True),
        log:
            f"{RESULTS}/logs/simulate.log",
        benchmark:
            f"{RESULTS}/benchmarks/simulate.tsv"
        threads: 1
        resources:
            mem_mb=2000,
            runtime=10,
            gpu=0,
        conda:
            CONDA
        shell:
            "convnova --log {log} simulate --seed {params.seed} --out {params.folder}"


rule fetch:
    input:
        config=ancient(CONFIG),
        mirror=MIRROR_SUMS if RUN.simulate else [],
    output:
        RAW + "/{source}/{name}",
    params:
        entry=lambda w: RUN.fingerprint(RUN.sources[w.source].files[w.name], RUN.mirror),
    log:
        f"{RESULTS}/logs/fetch/{{source}}/{{name}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/fetch/{{source}}/{{name}}.tsv"
    threads: 1
    resources:
        mem_mb=500,
        runtime=by_attempt(240),
        gpu=0,
    retries: 2
    conda:
        CONDA
    shell:
        "convnova --log {log} fetch --config {input.config} --source {wildcards.source} "
        "--file {wildcards.name} --out {output}"
