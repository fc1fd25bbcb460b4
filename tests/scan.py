"""The search for a secret in everything that a run leaves behind."""

from pathlib import Path

from padray.store.opening import open_location


def files_with(secret: str, folder: Path) -> list[Path]:
    """The files below a folder whose names or bytes hold it; sockets and what has just gone are no files."""
    found = []
    for path in folder.rglob("*"):
        try:
            if secret in path.name or (path.is_file() and secret.encode() in path.read_bytes()):
                found.append(path)
        except FileNotFoundError:
            continue
    return found


def objects_with(secret: str, root: str) -> list[str]:
    """The objects of a storage root whose keys or bytes hold it."""
    location = open_location(root)
    return [key for key in location.keys("") if secret in key or secret.encode() in location.get(key)]
