"""On which device a model that is loaded by name runs."""

from __future__ import annotations

import torch

from sayso.errors import ModelError


def device_named(name: str) -> torch.device:
    """The device of ``model.device``.

    Args:
        name: ``"auto"``: an NVIDIA or AMD GPU if PyTorch sees one, else the CPU; or what PyTorch
            calls a device.

    Raises:
        ModelError: If PyTorch knows no such device, or sees none here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    fix = "Use auto or cpu, or install a build of PyTorch for that device."
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        said = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ModelError(
            where="model.device", problem=f"PyTorch has no {name!r} here: {said}", fix=fix
        ) from error
    if device.type == "meta":
        raise ModelError(where="model.device", problem="'meta' holds no numbers.", fix=fix)
    return device
