"""Which export was made: its version and a digest that pins every byte of it, for the gate and the promotion that follow."""

from pathlib import Path

from serving.bundle.manifest import sha256, verify


def write_receipt(export: Path, receipt: Path) -> None:
    """Write `VERSION sha256:...` of an export into a file, whole or not at all; the digest is of its manifest.json."""
    aside = receipt.with_name(f".{receipt.name}.part")
    aside.write_text(f"{export.name} sha256:{sha256(export / 'manifest.json')}\n")
    aside.replace(receipt)


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
