"""A small bar that says what the models take of the machine's memory."""

from __future__ import annotations

import html
from typing import Any

import psutil

from florence_demo.memory import device_memory, in_bytes


def memory_bar(engines: Any) -> str:
    """Return the bar as HTML: main memory, a GPU's memory where there is one, and each model.

    Args:
        engines: The cache whose models are listed.
    """
    models = [engine.loaded for engine in engines.loaded()]
    used, total = psutil.Process().memory_info().rss, psutil.virtual_memory().total
    bars = [_bar(used, total, f"This app uses {in_bytes(used)} of {in_bytes(total)} memory")]
    for device in {str(m.device) for m in models if m.device.type == "cuda"}:
        import torch

        taken = device_memory(device)
        whole = torch.cuda.get_device_properties(device).total_memory
        text = (
            f"{device}: {in_bytes(taken['allocated'])} allocated, {in_bytes(taken['reserved'])}"
            f" reserved, {in_bytes(taken['peak'])} at most, of {in_bytes(whole)}"
        )
        bars.append(_bar(taken["reserved"], whole, text))
    listed = "; ".join(m.describe() for m in models) or "no model is loaded yet"
    return f'{"".join(bars)}<p class="fd-note">In memory: {html.escape(listed)}</p>'


def _bar(part: float, whole: float, text: str) -> str:
    share = 100 * min(1.0, part / whole)
    return (
        f'<div class="fd-meter" role="meter" aria-valuemin="0" aria-valuemax="100"'
        f' aria-valuenow="{share:.0f}" aria-label="{html.escape(text)}">'
        f'<i style="width:{share:.1f}%"></i></div><p class="fd-note">{html.escape(text)}</p>'
    )
