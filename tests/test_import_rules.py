"""Who may import whom: data flows one way."""

from __future__ import annotations

import ast
from pathlib import Path

import frametx

ROOT = Path(frametx.__file__).parent
HEAVY = {"torch", "torchaudio", "numpy"}


def imports_of(path: Path) -> set[str]:
    """Every module that a file imports, at the top or inside functions, as dotted names."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def violations(pattern: str, *forbidden: str, but: tuple[str, ...] = ()) -> list[str]:
    """Files matching `pattern` that import something below one of the `forbidden` names."""
    found = []
    for path in sorted(ROOT.glob(pattern)):
        name = path.relative_to(ROOT).as_posix()
        if name in but:
            continue
        bad = [m for m in imports_of(path) for f in forbidden if m == f or m.startswith(f + ".")]
        found += [f"{name} imports {module}" for module in sorted(bad)]
    return found


def test_nobody_imports_the_command_line():
    """Only the package's entry point knows cli."""
    inside = [v for v in violations("**/*.py", "frametx.cli", but=("__main__.py",)) if not v.startswith("cli/")]
    assert inside == []


def test_the_manifest_and_the_downloads_know_neither_torch_nor_terminals():
    """They start fast and can be used anywhere."""
    light = ("frametx.models", "frametx.audio", "rich", "typer", *HEAVY)
    patterns = ("download/*.py", "*manifest*.py", "store.py", "sources.py", "cache_folder.py", "record.py")
    assert [v for pattern in patterns for v in violations(pattern, *light)] == []


def test_audio_and_spectra_know_no_models_and_no_network():
    """Files and transforms are below the networks."""
    above = ("frametx.models", "frametx.separate", "frametx.separator", "frametx.store", "requests")
    patterns = ("audio/*.py", "spectrum.py", "chunks.py")
    assert [v for pattern in patterns for v in violations(pattern, *above)] == []


def test_networks_know_tensors_alone():
    """Of files they know checkpoints alone; nothing below models touches audio or the network."""
    above = (
        "frametx.audio",
        "frametx.separate",
        "frametx.separator",
        "frametx.store",
        "frametx.manifest",
        "requests",
        "soundfile",
    )
    assert violations("models/*.py", *above) == []


def test_torchaudio_is_for_training_alone():
    """Separation must not fail because torchaudio does not import beside this torch."""
    assert [v for v in violations("**/*.py", "torchaudio") if not v.startswith("training/")] == []


def test_only_the_command_line_prints():
    """Below cli progress and notes are plain callables."""
    printing = [v for v in violations("**/*.py", "rich", "typer") if not v.startswith("cli/")]
    assert printing == []
