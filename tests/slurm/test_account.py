"""Accounts on a cluster that keeps some; only one cluster runs at a time."""

import cluster
import pytest

from convnova.errors import ConvNovaError
from convnova.runs.slurm import check_slurm


@pytest.mark.slow
def test_an_account_that_one_may_not_use_is_one_line_that_says_which_key_to_set(tmp_path):
    """A job without one gets the user's default account, as long as accounting knows the user."""
    if why := cluster.missing(accounting=True):
        pytest.skip(why)
    with cluster.running(tmp_path, nodes=1, accounting=True) as slurm:
        check_slurm([("pretrain", {"account": "lab"}), ("finetune", {})], tmp_path, "run")
        for account in ("lap", ""):
            with pytest.raises(ConvNovaError, match="Invalid account.*slurm/config.yaml"):
                check_slurm([("finetune", {"account": account} if account else {})], tmp_path, "run")
            slurm.ask("sacctmgr", "-i", "delete", "user", "root")
