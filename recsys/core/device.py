"""Which device to compute on, and what it can do."""

from __future__ import annotations

import os

from recsys.core.threads import keep_within, usable
from recsys.errors import ConfigError


def pick_device(wanted: str = "auto") -> str:
    """``"cuda"`` where there is a GPU and ``"cpu"`` elsewhere; a wish that cannot be met is refused.

    From here on PyTorch computes with no more threads than this process may use.

    Raises
    ------
    ConfigError
        A device is asked for that torch does not see.
    """
    import torch  # noqa: PLC0415 - core is light

    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    if wanted == "cuda" and "LOCAL_RANK" in os.environ:  # one of several processes that torchrun started
        wanted = f"cuda:{os.environ['LOCAL_RANK']}"
    try:
        device = torch.device(wanted)
    except RuntimeError as error:
        raise ConfigError(f"device {wanted!r} is not known to torch; use auto, cpu or cuda") from error
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"device {wanted!r} is not supported; use auto, cpu or cuda")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            "device 'cuda' was asked for, but torch sees no GPU here; leave it out, or set device='cpu' (--device cpu)"
        )
    keep_within(usable())
    return wanted


def gpu_names() -> list[str]:
    """The names of the GPUs that torch sees; empty where there is none, or no torch."""
    try:
        import torch  # noqa: PLC0415 - core is light
    except ImportError:
        return []
    return [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]


def has_bf16(device: str) -> bool:
    """Whether bfloat16 matrix products are done in hardware on this device.

    oneDNN takes bfloat16 on every processor with AVX-512 (``torch.ops.mkldnn._is_mkldnn_bf16_supported``), but where
    AVX512_BF16 is missing a product takes three to five times as long as in float32.
    """
    import torch  # noqa: PLC0415 - core is light

    if torch.device(device).type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capable = torch.backends.cpu.get_cpu_capability()
    return "AVX512" in capable and torch.cpu._is_avx512_bf16_supported()
