"""Muon on the matrices, AdamW on everything else, in one step over several processes.

Knows how gradients of side-by-side processes are averaged and how the costly part of Muon is
shared out among them. State is kept by parameter name, so that a checkpoint survives a change of
the throw-away heads. Does not know the model.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
import torch.distributed as dist
from einops import rearrange
from timm.optim.muon import zeropower_via_newtonschulz
from torch import Tensor, nn

MOMENTUM = 0.95
TABLE_SHARE = 0.2
"""Step of the tables of embeddings, of AdamW's own."""
DEPTHWISE_SHARE = 0.1
"""Step of the depthwise convolutions: what one of them adds, the next ones multiply. At full step a
few channels of the tower grew to thirty times the others and filled every norm behind them."""
# The quintic of Keller Jordan's Muon: five steps reach orthogonality within what training feels.
_COEFFICIENTS = [(3.4445, -4.7750, 2.0315)]
_STEPS = 5


class MuonAdamW:
    """Update named parameters; learning rates are given at each step."""

    def __init__(
        self,
        named: Iterable[tuple[str, nn.Parameter]],
        *,
        muon_lr: float,
        adam_lr: float,
        weight_decay: float = 0.1,
    ) -> None:
        parameters = {name: p for name, p in named if p.requires_grad}
        self.matrices = {n: p for n, p in parameters.items() if is_matrix(n, p)}
        self.others = {n: p for n, p in parameters.items() if n not in self.matrices}
        self.momentum = {n: torch.zeros_like(p) for n, p in self.matrices.items()}
        self.muon_lr, self.adam_lr, self.weight_decay = muon_lr, adam_lr, weight_decay
        # AdamW moves every row of a table by about its step, however rare the row: at full step
        # the order among neighbouring places drowns in noise.
        tables = [p for n, p in self.others.items() if is_table(n)]
        depthwise = [p for p in self.others.values() if is_depthwise(p)]
        rest = [p for n, p in self.others.items() if not (is_table(n) or is_depthwise(p))]
        groups = [
            {"params": rest, "share": 1.0},
            {"params": tables, "share": TABLE_SHARE},
            {"params": depthwise, "share": DEPTHWISE_SHARE},
        ]
        self.adam = torch.optim.AdamW(
            [g for g in groups if g["params"]], lr=adam_lr, betas=(0.9, 0.98), weight_decay=0.0
        )
        self.rank = dist.get_rank() if dist.is_initialized() else 0
        self.world = dist.get_world_size() if dist.is_initialized() else 1

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for p in (*self.matrices.values(), *self.others.values()):
            p.grad = None

    @torch.no_grad()
    def step(self, scale: float, clip: float = 1.0) -> Tensor:
        """Take one step with all learning rates times ``scale``; return the gradient's norm ().

        Nothing is read back, so that a GPU need not be waited for.
        """
        self._average()
        norm = nn.utils.clip_grad_norm_([*self.others.values()], clip)
        for group in self.adam.param_groups:
            group["lr"] = self.adam_lr * scale * group["share"]
        self.adam.step()
        self._step_matrices(self.muon_lr * scale)
        return norm

    def _average(self) -> None:
        """Average gradients over the processes; one that has none counts as zero."""
        if self.world == 1:
            return
        parameters = [*self.matrices.values(), *self.others.values()]
        flat = torch.cat(
            [(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in parameters]
        )
        dist.all_reduce(flat)
        flat /= self.world
        for p, part in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
            p.grad = part.view_as(p)

    def _step_matrices(self, lr: float) -> None:
        moving = {n: (p, p.grad) for n, p in self.matrices.items() if p.grad is not None}
        if not moving:
            return
        grads = [grad for _, grad in moving.values()]
        momenta = [self.momentum[n] for n in moving]
        torch._foreach_lerp_(momenta, grads, 1 - MOMENTUM)
        # Nesterov: the gradient looks ahead along the momentum.
        ahead = dict(zip(moving, torch._foreach_lerp(grads, momenta, MOMENTUM), strict=True))
        # Each process orthogonalises its share; the sum of the shares is the whole update.
        mine = [n for i, n in enumerate(moving) if i % self.world == self.rank]
        updates: dict[str, Tensor] = {}
        for shape in dict.fromkeys(_flat(ahead[n]).shape for n in mine):
            names = [n for n in mine if _flat(ahead[n]).shape == shape]
            together = torch.stack([_flat(ahead[n]) for n in names])
            ortho = zeropower_via_newtonschulz(together, _STEPS, _COEFFICIENTS, dtype=torch.float32)
            updates |= {n: u.reshape(ahead[n].shape) for n, u in zip(names, ortho, strict=True)}
        if self.world > 1:
            updates = self._sum(updates, ahead)
        parameters: list[Tensor] = [p for p, _ in moving.values()]
        torch._foreach_mul_(parameters, 1 - lr * self.weight_decay)
        # An orthogonal update of any shape moves its weights about as far as AdamW would.
        reaches = [-lr * 0.2 * max(_flat(p).shape) ** 0.5 for p in parameters]
        scaled = list(torch._foreach_mul([updates[n] for n in moving], reaches))
        torch._foreach_add_(parameters, scaled)

    def _sum(self, updates: dict[str, Tensor], like: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the updates of all processes, each of which has some of them."""
        flat = torch.cat([updates.get(n, torch.zeros_like(t)).flatten() for n, t in like.items()])
        dist.all_reduce(flat)
        parts = flat.split([t.numel() for t in like.values()])
        return {n: part.view(t.shape) for (n, t), part in zip(like.items(), parts, strict=True)}

    def state_dict(self) -> dict[str, Any]:
        """Return the state by parameter name."""
        return {
            "momentum": self.momentum,
            "adam": {n: self.adam.state[p] for n, p in self.others.items() if p in self.adam.state},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over the state of every parameter that still has its name and shape."""
        for name, kept in state["momentum"].items():
            if name in self.momentum and self.momentum[name].shape == kept.shape:
                self.momentum[name].copy_(kept)
        for name, kept in state["adam"].items():
            p = self.others.get(name)
            if p is not None and kept["exp_avg"].shape == p.shape:
                self.adam.state[p] = {
                    k: v.clone().to(p.device if k != "step" else "cpu") for k, v in kept.items()
                }


def is_table(name: str) -> bool:
    """Return whether a parameter is a table of embeddings."""
    return "shared" in name or "embed_positions" in name or "position_embed" in name


def is_depthwise(p: Tensor) -> bool:
    """Return whether a parameter is the weight of a depthwise convolution."""
    return p.ndim == 4 and p.shape[1] == 1


def is_matrix(name: str, p: Tensor) -> bool:
    """Return whether Muon moves a parameter: inner matrices, neither embeddings nor outputs."""
    if p.ndim < 2 or min(_flat(p).shape) < 16:
        return False
    return not any(part in name for part in ("embed", "shared", ".out.", ".out_slots."))


def _flat(p: Tensor) -> Tensor:
    flat: Tensor = rearrange(p, "out ... -> out (...)")
    return flat
