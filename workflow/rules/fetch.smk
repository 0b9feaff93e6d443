# The resolved config; and the raw files, from the internet, a mirror, or, in the embedded run, a simulated mirror.


rule config:
    output:
        file=f"{RESULTS}/config.yaml",
    log:
        f"{RESULTS}/logs/config.log",
    benchmark:
        f"{RESULTS}/benchmarks/config.tsv"
    localrule: True
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
        params:
            seed=RUN.simulate.seed,
            version=RUN.fingerprint(),
        shell:
            "convnova --log {log:q} simulate --seed {params.seed:q} --out {output.mirror:q}"


rule fetch:
    input:
        config=CONFIG,
        mirror=MIRROR if RUN.simulate else [],
    output:
        file=RUN.path_of("{name}", "{source}"),
    log:
        f"{RESULTS}/logs/fetch/{{source}}/{{name}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/fetch/{{source}}/{{name}}.tsv"
    conda:
        CONDA
    resources:
        **by_attempt(mb=500, minutes=240),
    params:
        entry=lambda w: RUN.fingerprint(RUN.sources[w.source].files[w.name], RUN.sources[w.source].urls(w.name)),
    shell:
        "convnova --log {log:q} fetch --config {input.config:q} --source {wildcards.source:q} "
        "--file {wildcards.name:q} --out {output.file:q}"
