"""Weights in bf16 for the arithmetic, in float32 for the optimizer: so 3B trains in 80 GB on one GPU.

Each parameter is a bf16 copy of a float32 master. After a parameter's gradient is made it is added, in
float32, to its master's and freed; the optimizer sees masters only, and its result is copied back. So bf16
never accumulates anything: neither gradients over micro-batches (nanotron's ``accumulate_grad_in_fp32``) nor
updates over steps.

Cost: 18 bytes a parameter (master, gradient and two moments of 4 bytes, copy of 2): 55 GB for SmolLM3-3B.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn


class Masters:
    """The float32 masters of a model whose parameters become bf16."""

    def __init__(self, model: nn.Module) -> None:
        self.named: dict[str, torch.Tensor] = {}
        self._pairs: list[tuple[nn.Parameter, torch.Tensor]] = []
        self._filled: set[int] = set()
        for name, parameter in model.named_parameters():
            master = parameter.detach().float()
            parameter.data = master.to(torch.bfloat16)
            self.named[name] = master
            self._pairs.append((parameter, master))
            hook: Any = parameter.register_post_accumulate_grad_hook
            hook(self._taker(master))

    def _taker(self, master: torch.Tensor) -> Callable[[torch.Tensor], None]:
        def take(parameter: torch.Tensor) -> None:
            assert parameter.grad is not None, "the hook runs after the gradient is made"
            self._take(parameter.grad, master)
            parameter.grad = None

        return take

    def _take(self, gradient: torch.Tensor, master: torch.Tensor) -> None:
        if master.grad is None:
            master.grad = gradient.float()
        elif id(master) in self._filled:
            master.grad.add_(gradient)
        else:  # the buffer of the step before
            master.grad.copy_(gradient)
        self._filled.add(id(master))

    def publish(self) -> None:
        """Copy the masters into the model, and let the next micro-batch begin new gradients."""
        copies = [parameter.data for parameter, _ in self._pairs]
        torch._foreach_copy_(copies, [master for _, master in self._pairs])
        self._filled.clear()
