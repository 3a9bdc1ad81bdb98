"""One training on several devices (torchrun): each has its share of every batch, and a copy of the model (DDP) or a
part of it (FSDP2: every layer is put together when it is computed).

A batch is the same whatever the number of processes: what is drawn by chance depends on a clip's place in it. One
process is rank 0 of 1, and goes the same way.
"""

from __future__ import annotations

import os
from datetime import timedelta
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

from worldmodel.config import WorldModelConfig
from worldmodel.model.transformer import VisualActionTransformer
from worldmodel.training.guided import GuidedTeacher
from worldmodel.training.run.stopping import processes, rank
from worldmodel.types import WorldModelError

Parallel = Literal["ddp", "fsdp"]
PATIENCE = timedelta(hours=1)  # of the others, while the first process validates


def connect(device: torch.device) -> torch.device:
    """Connects the processes that torchrun has started, unless they are, and gives this one's device."""
    if processes() == 1 or torch.distributed.is_initialized():
        return device
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    torch.distributed.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
    return device


def own_share(batch: int) -> range:
    """Which clips of a batch are this process's. WorldModelError unless all have as many."""
    if batch < 1 or batch % processes():
        raise WorldModelError(
            f"--batch {batch} cannot be shared alike by {processes()} processes: give a multiple of {processes()}"
        )
    share = batch // processes()
    return range(rank() * share, (rank() + 1) * share)


class Objective(nn.Module):
    """What is trained, as one module: clips in, mean loss out. teacher: what it predicts is to be predicted, else what
    follows in the clips."""

    def __init__(self, model: VisualActionTransformer, teacher: GuidedTeacher | None) -> None:
        super().__init__()
        self.model = model
        self.teacher = teacher

    def forward(self, inputs: Tensor, actions: Tensor, targets: Tensor) -> Tensor:
        """inputs: (B, T, places); actions: (B, T, 11); targets: (B, T - 1, image) -> nats a token."""
        wanted = self.teacher.logits(inputs, actions) if self.teacher else None
        return self.model.nats(self.model(inputs, actions), targets, wanted).mean()


def recompute(model: VisualActionTransformer) -> None:
    """Activation checkpointing (Chen et al. 2016, arXiv 1604.06174): of a layer only its input is kept, and the rest is
    computed again in the backward pass."""
    for layer in model.layers:
        layer.forward = partial(checkpoint, layer.forward, use_reentrant=False)


def shard(model: VisualActionTransformer, device: torch.device, bf16: bool) -> None:
    """Spreads a model's tensors over the processes (FSDP2; Zhao et al. 2023, arXiv 2304.11277), in place. bf16: layers
    are sent in it, as they are computed in it anyway; gradients are added up in float32."""
    mesh = init_device_mesh(device.type, (processes(),))
    kind = torch.bfloat16 if bf16 else None
    sent = MixedPrecisionPolicy(param_dtype=kind, reduce_dtype=torch.float32, cast_forward_inputs=False)
    for layer in model.layers:
        fully_shard(layer, mesh=mesh, mp_policy=sent)
    fully_shard(model, mesh=mesh)


class Trained:
    """The objective on all processes. backward: adds a micro-batch's gradients, which all processes share by the last
    one; weight: the micro-batch's part of this process's share."""

    def __init__(self, model: VisualActionTransformer, parallel: Parallel, teacher: GuidedTeacher | None) -> None:
        objective = Objective(model, teacher)
        self.copies = processes() > 1 and parallel == "ddp"
        self.module: nn.Module = DistributedDataParallel(objective) if self.copies else objective

    def backward(self, inputs: Tensor, actions: Tensor, targets: Tensor, weight: float, last: bool) -> Tensor:
        if isinstance(self.module, DistributedDataParallel):
            self.module.require_backward_grad_sync = last
        loss = self.module(inputs, actions, targets) * weight
        loss.backward()
        return loss.detach()


def mean_of(value: Tensor) -> float:
    """The mean of a number over all processes, which all ask for it."""
    value = value.detach().float().clone()
    if processes() > 1:
        torch.distributed.all_reduce(value)
    return value.item() / processes()


def plain(value: Tensor) -> Tensor:
    """A tensor as it is without processes. All of them ask for it."""
    return value.full_tensor() if isinstance(value, DTensor) else value


def whole_model(model: VisualActionTransformer, config: WorldModelConfig) -> VisualActionTransformer | None:
    """A spread model put together, for the first process (else None); one that is not spread, as it is. All processes
    ask for it."""
    state = model.state_dict()
    if not any(isinstance(tensor, DTensor) for tensor in state.values()):
        return model
    gathered = {}
    for name, tensor in state.items():
        full = plain(tensor)
        if rank() == 0:
            gathered[name] = full
    if rank() > 0:
        return None
    with torch.device("meta"):
        whole = VisualActionTransformer(config)
    whole.load_state_dict(gathered, assign=True)
    whole.whole_clips = model.whole_clips
    return whole.requires_grad_(False)
