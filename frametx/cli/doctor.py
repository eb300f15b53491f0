"""`frametx doctor`."""

from __future__ import annotations

import json
import platform
from typing import Annotated, Any

import typer

from frametx import __version__
from frametx.errors import EXIT_FAILED

PACKAGES = ("torch", "torchaudio", "soundfile", "av", "soxr", "mutagen", "numpy", "safetensors")


def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Say what is installed, which devices work, where snapshots lie and which formats can be read and written."""
    facts = _facts()
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
    else:
        _show(facts)
    if not all(device["trusted"] for device in facts["devices"]):
        raise typer.Exit(EXIT_FAILED)


def _facts() -> dict[str, Any]:
    import torch  # noqa: PLC0415

    from frametx.audio.formats import readable_formats, writable_formats  # noqa: PLC0415
    from frametx.device import available_devices, dtype_name, pick_dtype  # noqa: PLC0415
    from frametx.selftest import TOLERANCE, difference_from_cpu  # noqa: PLC0415
    from frametx.store import Store  # noqa: PLC0415

    devices = []
    for device in available_devices():
        try:
            difference: float | None = difference_from_cpu(device)
        except (RuntimeError, NotImplementedError):
            difference = None
        devices.append(
            {
                "name": str(device),
                "hardware": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine(),
                "precision": dtype_name(pick_dtype("auto", device)),
                "difference_from_cpu": difference,
                "trusted": difference is not None and difference <= TOLERANCE,
            }
        )
    return {
        "frametx": __version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "packages": {name: _version(name) for name in PACKAGES},
        "threads": torch.get_num_threads(),
        "devices": devices,
        "cache": str(Store().root),
        "reads": readable_formats(),
        "writes": writable_formats(),
    }


def _version(package: str) -> str | None:
    import importlib.metadata  # noqa: PLC0415  (slow, and only needed here)

    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _show(facts: dict[str, Any]) -> None:
    typer.echo(f"frametx {facts['frametx']}, Python {facts['python']}, {facts['system']}")
    typer.echo(
        "packages: " + ", ".join(f"{name} {version or 'missing'}" for name, version in facts["packages"].items())
    )
    for device in facts["devices"]:
        difference = device["difference_from_cpu"]
        verdict = "raises an error" if difference is None else f"differs from the CPU by {difference:.1e}"
        trust = "works" if device["trusted"] else "NOT TO BE TRUSTED"
        typer.echo(
            f"device {device['name']} ({device['hardware']}): {trust}, {verdict}, {device['precision']} by default"
        )
    typer.echo(f"threads: {facts['threads']}")
    typer.echo(f"cache: {facts['cache']}")
    for library, formats in facts["reads"].items():
        typer.echo(f"reads with {library}: {', '.join(formats)}")
    for description in facts["writes"].values():
        typer.echo(f"writes {description}")
