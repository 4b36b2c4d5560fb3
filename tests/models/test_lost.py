"""Which errors of a GPU end the process's use of it."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from florence_demo.models.devices import is_lost


class Full(RuntimeError):
    """What torch raises where memory does not suffice."""


def torch_that(told: Exception | None, initialized: bool = True) -> SimpleNamespace:
    def ones(*_: object, **__: object) -> SimpleNamespace:
        if told is not None:
            raise told
        return SimpleNamespace(cpu=lambda: None)

    return SimpleNamespace(
        cuda=SimpleNamespace(is_initialized=lambda: initialized), OutOfMemoryError=Full, ones=ones
    )


@pytest.mark.parametrize(
    ("torch", "error", "lost"),
    [
        (None, RuntimeError("CUDA error"), False),
        (torch_that(RuntimeError("CUDA error"), False), RuntimeError("CUDA error"), False),
        (torch_that(RuntimeError("CUDA error")), RuntimeError("CUDA error"), True),
        (torch_that(None), RuntimeError("CUDA error: invalid argument"), False),
        (torch_that(RuntimeError("CUDA error")), Full("CUDA out of memory"), False),
        (torch_that(Full("CUDA out of memory")), RuntimeError("CUDA error"), False),
    ],
    ids=["no torch", "no GPU", "gone", "goes on", "full", "full when tried"],
)
def test_a_gpu_is_lost_where_it_does_nothing_any_more(monkeypatch, torch, error, lost):
    if torch is None:
        monkeypatch.delitem(sys.modules, "torch", raising=False)
    else:
        monkeypatch.setitem(sys.modules, "torch", torch)
    assert is_lost(error) == lost
