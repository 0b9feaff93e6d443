"""A signal ends a block that may be interrupted, at once, and nothing else."""

import os
import signal

import pytest

from convnova.training.signals import Stopped, catch_signals


def test_a_signal_interrupts_only_the_block_that_allows_it():
    handler = signal.getsignal(signal.SIGTERM)
    with catch_signals() as state:
        with state.interruptible():
            pass
        os.kill(os.getpid(), signal.SIGTERM)  # after the block: noted, as in the middle of an update of the weights
        assert state.received
        entered = False
        with pytest.raises(Stopped), state.interruptible():  # a signal that came before ends the next one
            entered = True
        assert not entered
    with catch_signals() as state, pytest.raises(Stopped), state.interruptible():
        os.kill(os.getpid(), signal.SIGUSR1)
        signal.pause()
    assert signal.getsignal(signal.SIGTERM) is handler
