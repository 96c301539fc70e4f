"""What goes wrong in one of two processes that train together."""

import os
import signal
from typing import Any

import torch

from vapsr_arch.pipeline.registration import register

register()
from vapsr_arch.models.vapsr_model import VapSRModel  # noqa: E402


def die_in_third_call(rank: int, name: str) -> None:
    """Lets the process of a rank end in a method's third call, as `kill -9` does."""
    function, calls = getattr(VapSRModel, name), []

    def dying(model: VapSRModel, *arguments: Any) -> Any:
        calls.append(True)
        if len(calls) == 3 and os.environ['RANK'] == str(rank):
            os.kill(os.getpid(), signal.SIGKILL)
        return function(model, *arguments)

    setattr(VapSRModel, name, dying)


def spoil_rank_1_and_keep_weights() -> None:
    """Spoils what rank 1 trains on in iterations 4 and 5; each process saves its weights after every iteration."""
    step = VapSRModel.optimize_parameters

    def optimize_parameters(model: VapSRModel, current_iter: int) -> None:
        if current_iter in (4, 5) and os.environ['RANK'] == '1':
            model.lq = model.lq * torch.nan
        step(model, current_iter)
        torch.save(model.get_bare_model(model.net_g).state_dict(), f'rank{os.environ["RANK"]}_{current_iter}.pth')

    VapSRModel.optimize_parameters = optimize_parameters
