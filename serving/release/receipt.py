"""Which export was made: its version and a digest that pins every byte of it, for the gate and the promotion that follow."""

from pathlib import Path

from seghgan_tf.files import sha256, write_atomically
from serving.bundle.manifest import verify


def write_receipt(export: Path, receipt: Path) -> None:
    """Write `VERSION sha256:...` of an export into a file, whole or not at all; the digest is of its manifest.json."""
    write_atomically(receipt, f"{export.name} sha256:{sha256(export / 'manifest.json')}\n")


def check_digest(export: Path, digest: str) -> None:
    """Compare the SHA-256 of an export's manifest with `digest`, and its files with the manifest.

    ValueError where either differs: another export has taken the place of the one that was made.
    """
    found = sha256(export / "manifest.json")
    if found != digest.lower().removeprefix("sha256:"):
        raise ValueError(
            f"`digest` must be the SHA-256 of {export / 'manifest.json'}, which is {found}; another export has taken the "
            f"place of the one that was made. Received: {digest}"
        )
    verify(export)
