"""The embedded run, shortened, through the snakemake command."""

import pytest
import yaml
from commands import FORMS, ROOT, config_file, snakemake


@pytest.mark.slow
def test_the_embedded_run_with_fewer_models_seeds_and_epochs(tmp_path):
    """All four suites from simulated downloads to tables; the whole of it is what `make run` does."""
    content = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    small = {"settings": {"width": 4, "blocks": 2}, "suites": {}}
    content |= {"run": "small", "seeds": [1], "protocols": ["released"], "models": {"convnova": small}}
    content["pretrain"] |= {"epochs": 1, "windows": 32}
    content["finetune"] = {"epochs": 1, "batch_size": 16}
    snakemake(tmp_path, "--cores", "2", "--configfile", config_file(tmp_path, **content))
    for suite in ("nucleotide_transformer", "genomic_benchmarks", "gene_finding", "chromatin_profile"):
        for form in FORMS:
            assert "simulated" in (tmp_path / f"results/small/tables/{suite}.{form}").read_text()
        assert (tmp_path / f"results/small/figures/{suite}.png").stat().st_size > 5000
    assert "Nothing to be done" in snakemake(tmp_path, "-n", "--configfile", str(tmp_path / "mine.yaml"))
