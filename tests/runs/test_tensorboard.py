"""Logs of trainings as event files, read back by TensorBoard itself."""

import sys

import pytest
from small_run import CATALOGUE, RUN

from convnova.cli.main import main
from convnova.config.load import load, save
from convnova.errors import ConvNovaError
from convnova.runs.tensorboard import write_events

LOG = """step,epoch,split,loss,lr,bases,seconds,bases_per_second,memory_mb
1,0.5,train,0.75,0.001,400,0.5,800,120
2,1,train,0.5,0.0005,800,1,800,121
2,1,valid,,0.0005,800,1,800,121
4,2,valid,0.25,0.0001,1600,2,800,121
"""


@pytest.mark.parametrize("run", ["mine", "results/mine/config.yaml", "{}/results/mine/config.yaml"])
def test_every_number_becomes_a_scalar_at_its_step(tmp_path, monkeypatch, run):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "results/mine/pretrain/convnova"
    folder.mkdir(parents=True)
    (folder / "log.csv").write_text(LOG)
    save(load(RUN | {"run": "mine"}, [], CATALOGUE), tmp_path / "results/mine/config.yaml")
    assert main(["tensorboard", "--run", run.format(tmp_path), "--out", "events"]) == 0
    events = accumulator.EventAccumulator(str(tmp_path / "events/results/mine/pretrain/convnova")).Reload()
    read = {
        tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]
    }  # fmt: skip
    assert read["loss/train"] == [(1, 0.75), (2, 0.5)] and read["loss/valid"] == [(4, 0.25)]
    assert read["bases_per_second"] == [(1, 800), (2, 800)] and read["memory_mb"] == [(1, 120), (2, 121)]
    assert set(read) == {"loss/train", "loss/valid", "lr", "bases_per_second", "memory_mb"}


def test_what_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["tensorboard", "--run", "mine", "--out", "events"]) == 1
    assert "error: mine: expected a config file or the name of a run" in capsys.readouterr().err
    pytest.importorskip("tensorboard")
    with pytest.raises(ConvNovaError, match="expected the log.csv of a training, found none"):
        write_events(tmp_path, tmp_path)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ConvNovaError, match=r"pip install -c constraints.txt -e '.\[tensorboard\]'"):
        write_events(tmp_path, tmp_path)
