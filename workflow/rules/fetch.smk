# The raw files: from the internet, from a mirror, or, in the embedded run, from a simulated mirror.


if RUN.simulate:

    rule simulate:
        output:
            sums=MIRROR_SUMS,
        log:
            f"{RESULTS}/logs/simulate.log",
        benchmark:
            f"{RESULTS}/benchmarks/simulate.tsv"
        localrule: True
        conda:
            CONDA
        threads: 1
        resources:
            mem_mb=2000,
            runtime=10,
            gpu=0,
        params:
            seed=RUN.simulate.seed,
            version=RUN.fingerprint(),
            folder=subpath(output.sums, parent=True),
        shell:
            "convnova --log {log} simulate --seed {params.seed} --out {params.folder}"


rule fetch:
    input:
        mirror=MIRROR_SUMS if RUN.simulate else [],
    output:
        file=f"{RAW}/{{source}}/{{name}}",
    log:
        f"{RESULTS}/logs/fetch/{{source}}/{{name}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/fetch/{{source}}/{{name}}.tsv"
    conda:
        CONDA
    threads: 1
    resources:
        mem_mb=500,
        runtime=by_attempt(240),
        gpu=0,
    params:
        config=CONFIG,
        entry=lambda w: RUN.fingerprint(RUN.sources[w.source].files[w.name], RUN.mirror),
    shell:
        "convnova --log {log} fetch --config {params.config} --source {wildcards.source} "
        "--file {wildcards.name} --out {output}"
