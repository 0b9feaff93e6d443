"""An executor for tests that gives every job an empty folder, as a cluster without a shared file system does.

What a job needs comes to it as by the plugins for Kubernetes, AWS Batch and Google Batch: the sources and the files
that its rule names through the storage, and nothing else.
"""

import subprocess
import tempfile
from collections.abc import AsyncGenerator
from pathlib import Path

from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor
from snakemake_interface_executor_plugins.jobs import JobExecutorInterface
from snakemake_interface_executor_plugins.settings import CommonSettings

common_settings = CommonSettings(
    non_local_exec=True, implies_no_shared_fs=True, job_deploy_sources=True, auto_deploy_default_storage_provider=False
)


class Executor(RemoteExecutor):
    """Jobs are processes of this machine."""

    def run_job(self, job: JobExecutorInterface) -> None:
        """Start one."""
        folder = Path(tempfile.mkdtemp(prefix=f"{job.name}-"))
        with (folder / "printed").open("w") as printed:
            process = subprocess.Popen(
                ["sh", "-c", self.format_job_exec(job)], cwd=folder, stdout=printed, stderr=subprocess.STDOUT
            )
        aux = {"process": process, "printed": folder / "printed"}
        self.report_job_submission(SubmittedJobInfo(job=job, external_jobid=folder.name, aux=aux))

    async def check_active_jobs(self, active_jobs: list[SubmittedJobInfo]) -> AsyncGenerator[SubmittedJobInfo, None]:
        """Report those that have ended."""
        for info in active_jobs:
            code = info.aux["process"].poll()
            if code is None:
                yield info
            elif code == 0:
                self.report_job_success(info)
            else:
                self.report_job_error(info, msg=info.aux["printed"].read_text())

    def cancel_jobs(self, active_jobs: list[SubmittedJobInfo]) -> None:
        """End all."""
        for info in active_jobs:
            info.aux["process"].kill()
