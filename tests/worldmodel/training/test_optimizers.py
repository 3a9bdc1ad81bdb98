"""Muon of many matrices at once is torch's Muon."""

import pytest
import torch

from worldmodel.training import optimizers
from worldmodel.training.optimizers import BatchedMuon

SHAPES = [(48, 32), (32, 48), (48, 32), (32, 32), (8, 32), (48, 32)]


@pytest.mark.parametrize(("bf16", "apart"), [(True, 0.01), (False, 0.05)])
def test_matrices_at_once_become_what_torch_makes_of_each(bf16, apart, monkeypatch):
    """torch computes in bf16 everywhere."""
    monkeypatch.setattr(optimizers, "computes_bf16", lambda device: bf16)
    generator = torch.Generator().manual_seed(0)
    start = [torch.randn(shape, generator=generator) for shape in SHAPES]
    ours, theirs = ([torch.nn.Parameter(x.clone()) for x in start] for _ in range(2))
    options = {"lr": 0.1, "weight_decay": 0.05, "adjust_lr_fn": "match_rms_adamw"}
    batched, plain = BatchedMuon(ours, **options), torch.optim.Muon(theirs, **options)
    for step in range(4):
        for own, its in zip(ours, theirs, strict=True):
            own.grad = its.grad = torch.randn(own.shape, generator=generator)
        if step == 2:  # one that got none stays as it is
            ours[3].grad = theirs[3].grad = None
            kept = ours[3].detach().clone()
        batched.step()
        plain.step()
        if step == 2:
            assert torch.equal(ours[3], kept)
        batched, plain = (
            resumed(plain, BatchedMuon(ours, **options)),
            resumed(batched, torch.optim.Muon(theirs, **options)),
        )
    for own, its, first in zip(ours, theirs, start, strict=True):
        assert (own - its).norm() < apart * (its - first).norm()


def resumed(stopped, other):
    """`other` goes on where `stopped` is: their states are the same thing."""
    other.load_state_dict(stopped.state_dict())
    return other
