"""Fetch an archive of exports for a server's init container: digest first, then unpacked and checked, whole or not at all.

    python -m serving.release.fetch --url https://store/models.tar --sha256 2c26b4... --output /models/seghgan

The archive is a tar (plain or compressed) of version folders: `tar -C exports -cf models.tar .`
"""

import argparse
import shutil
import sys
import tarfile
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from seghgan_tf import files
from serving.bundle import manifest

MAX_BYTES = 8 << 30
"""Largest archive, and the most that it may unpack to."""


def fetch(url: str, sha256: str, output: Path, timeout: float = 60.0) -> list[int]:
    """Put the versions of an archive into `output` and return them.

    A version that is there already and whole is left alone. ValueError where the address is neither https nor file,
    the digest differs, the archive would write outside `output`, or an export does not agree with its manifest; OSError
    where it cannot be read.
    """
    if urllib.parse.urlsplit(url).scheme not in ("https", "file"):
        raise ValueError(
            f"`url` must begin with https:// or file://, because anyone can change the rest. Received: {url}"
        )
    output.mkdir(parents=True, exist_ok=True)
    archive, aside = output / ".archive.part", output / ".versions.part"
    shutil.rmtree(aside, ignore_errors=True)
    try:
        _download(url, archive, timeout)
        digest = files.sha256(archive)
        if digest != sha256.lower():
            raise ValueError(f"`sha256` must be the archive's digest, which is {digest}. Received: {sha256}")
        _unpack(archive, aside)
        return _put(aside, output)
    finally:
        archive.unlink(missing_ok=True)
        shutil.rmtree(aside, ignore_errors=True)


def _download(url: str, archive: Path, timeout: float) -> None:
    size = 0
    with urllib.request.urlopen(url, timeout=timeout) as answer, archive.open("wb") as file:  # noqa: S310  # https or file
        while chunk := answer.read(1 << 20):
            size += len(chunk)
            if size > MAX_BYTES:
                raise ValueError(f"`url` must give at most {MAX_BYTES} bytes. Received: more")
            file.write(chunk)


def _unpack(archive: Path, folder: Path) -> None:
    try:
        with tarfile.open(archive) as tar:
            if sum(member.size for member in tar.getmembers()) > MAX_BYTES:
                raise ValueError(f"The archive must unpack to at most {MAX_BYTES} bytes. Received: more")
            tar.extractall(folder, filter="data")
    except tarfile.TarError as error:
        raise ValueError(f"`url` must give a tar of version folders ({error}). Received: another file") from error


def _put(unpacked: Path, output: Path) -> list[int]:
    versions = manifest.versions(unpacked)
    if not versions:
        raise ValueError("The archive must hold version folders such as `1` at its top. Received: none")
    for folder in versions.values():
        manifest.verify(folder)
    for version, folder in versions.items():
        target = output / str(version)
        if target.exists():
            manifest.verify(target)
        else:
            folder.rename(target)
    return list(versions)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; 0 when the versions are in place, 1 with one line of reason, 2 for wrong usage."""
    parser = argparse.ArgumentParser(prog="python -m serving.release.fetch", description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--sha256", required=True)
    parser.add_argument("--output", type=Path, required=True)
    given = parser.parse_args(arguments)
    try:
        versions = fetch(given.url, given.sha256, given.output)
    except (ValueError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    sys.stderr.write(f"versions {versions} are in {given.output}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
