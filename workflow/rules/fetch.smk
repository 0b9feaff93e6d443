# The resolved config; and the raw files from the internet, from a mirror, or, in the embedded run, from a simulated one.


rule config:
    output:
        file=f"{RESULTS}/config.yaml",
    log:
        f"{RESULTS}/logs/config.log",
    benchmark:
        f"{RESULTS}/benchmarks/config.tsv"
    localrule: True
    threads: 1
    resources:
        mem_mb=500,
        runtime=5,
        gpu=0,
    run:
        save(RUN, output.file)


if RUN.simulate:

    rule simulate:
        output:
            mirror=directory(MIRROR),
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
        shell:
            "convnova --log {log} simulate --seed {params.seed} --out {output.mirror}"


rule fetch:
    input:
        config=CONFIG,
        mirror=MIRROR if RUN.simulate else [],
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
        entry=lambda w: RUN.fingerprint(RUN.sources[w.source].files[w.name], RUN.mirror),
    shell:
        "convnova --log {log} fetch --config {input.config} --source {wildcards.source} "
        "--file {wildcards.name} --out {output}"
