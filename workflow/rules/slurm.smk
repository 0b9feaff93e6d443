# Before the first submission: would Slurm take every job, and is anything of an earlier run left there?


def slurm_request(job):
    """What a job asks Slurm for at its last attempt."""
    from convnova.runs.slurm import Request

    filled_in = workflow.resource_settings.overwrite_resources
    own = any("slurm_partition" in filled_in.get(rule, {}) for rule in job.rules)
    job.attempt = job.restart_times + 1
    names = ("slurm_partition", "slurm_account", "gpu", "gpu_model")
    asked = [
        job.resources.get(name) or missing
        for name, missing in zip(names, ("", "", 0, ""))
    ]
    amounts = (job.threads, job.resources.mem_mb, job.resources.runtime)
    job.attempt = 1
    return Request(
        min(job.rules), *asked, *amounts, "gpu_partition" if own else "partition"
    )


def check_slurm():
    """Stop before the first submission where Slurm would not take a job, and end what an earlier run left there."""
    import snakemake_executor_plugin_slurm as plugin
    from convnova.runs.slurm import cancel_left_over, check

    # Once the controller has not answered, the plugin would ask sacct, which without accounting never answers.
    if workflow.executor_settings.status_command == "squeue":
        plugin.is_query_tool_available = lambda name: False
    dag = workflow.dag
    needed = [job for job in dag.needrun_jobs() if not job.is_local]
    jobs = dict.fromkeys(dag.get_job_group(job) or job for job in needed)
    try:
        check(map(slurm_request, jobs))
        cancel_left_over(Path.cwd())
    except ConvNovaError as error:
        sys.exit(str(error))
