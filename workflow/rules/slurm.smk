# Before the first submission: would Slurm take every job, and is anything of an earlier run left there?


def slurm_requests():
    """Rule and options of `sbatch` of every job at its last attempt, which asks for most."""
    from convnova.runs.slurm import sbatch_options

    needed = [job for job in workflow.dag.needrun_jobs() if not job.is_local]
    for job in dict.fromkeys(workflow.dag.get_job_group(job) or job for job in needed):
        job.attempt = job.restart_times + 1
        yield min(job.rules), sbatch_options(job.resources, job.threads)
        job.attempt = 1


def check_names():
    """Exit where a job is given a file whose name a shell on the cluster would not read as it is."""
    from convnova.runs.slurm import check_names

    try:
        check_names([str(Path.cwd()), *(str(file) for job in workflow.dag.needrun_jobs() for file in job.input)])
    except ConvNovaError as error:
        sys.exit(str(error))


def check_slurm():
    """Exit where Slurm would not take a job, and end what an earlier run left there."""
    from convnova.runs.slurm import check_slurm

    try:
        check_slurm(slurm_requests(), Path.cwd(), RUN.run)
    except ConvNovaError as error:
        sys.exit(str(error))


def watch_slurm():
    """Wait for a controller that is away: the plugin would say nothing, or count submissions as failed jobs."""
    import snakemake_executor_plugin_slurm as plugin
    from convnova.runs.slurm import Controller

    controller, query, submit = Controller(), plugin.query_job_status, plugin.Executor.run_job

    async def query_and_note(command, logger):
        found = await query(command, logger)
        controller.note(found[0] is not None)
        return found

    def submit_when_it_answers(executor, job):
        controller.wait()
        submit(executor, job)

    plugin.query_job_status, plugin.Executor.run_job = query_and_note, submit_when_it_answers
    # Once the controller has not answered, the plugin would ask sacct, which without accounting never answers.
    if workflow.executor_settings.status_command == "squeue":
        plugin.is_query_tool_available = lambda name: False
