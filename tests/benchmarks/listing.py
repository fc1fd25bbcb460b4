"""What a folder holds, told by its names and its manifest, against reading every object whole.

    python -m tests.benchmarks.listing          # writes results/listing.json

Two folders, as a driver meets them when a command asks for one unit more than there is: 20 experts of 20 MB, and 200
cells of an evaluation. `whole` is how padray listed before: every object was read and hashed, an expert's header twice
more, and a cell once more for what it says. `listing` is how it does now. Both must find the same objects. Requests and
bytes are counted at the storage, a folder with all files in the page cache; `far` waits 15 ms for each request, as a
store in the same region does. The variants take turns.
"""

import hashlib
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from padray.draws import generator
from padray.store.artifacts import Folder, Manifest, StoredObject, split_key
from padray.store.location import LocalLocation
from padray.store.shards import encode, read_header

RESULT = Path(__file__).parent / "results" / "listing.json"
SHARDS, SHARD_BYTES, ROWS = 20, 20 << 20, 20
CELLS = 200
TURNS = 7
FAR_S = 0.015
FINGERPRINT = "0" * 64
Answer = list[tuple[str, str, Any]]  # key, SHA-256, and what is known of each object
Variant = Callable[[Folder, str], Answer]


class Counted(LocalLocation):
    """A folder that counts what is asked of it, and may let each request wait."""

    def __init__(self, root: Path, wait_s: float) -> None:
        super().__init__(root)
        self.wait_s, self.requests, self.bytes = wait_s, 0, 0

    def _count(self, content: Any) -> Any:
        time.sleep(self.wait_s)
        self.requests += 1
        self.bytes += len(content) if isinstance(content, bytes | bytearray) else 0
        return content

    def get(self, key: str, most: int | None = None) -> bytes:
        return self._count(super().get(key, most))

    def get_range(self, key: str, offset: int, length: int) -> bytearray:
        return self._count(super().get_range(key, offset, length))

    def size(self, key: str) -> int | None:
        return self._count(super().size(key))

    def sizes(self, prefix: str) -> dict[str, int]:
        return self._count(super().sizes(prefix))


# -- the variants


def whole(folder: Folder, kind: str) -> Answer:
    """Every object read whole, as it was."""
    found = []
    for key in folder.keys(f"{kind}-"):
        content = folder.location.get(key)
        sha256 = hashlib.sha256(content).hexdigest()
        if not sha256.startswith(split_key(key)[1]):
            continue
        item = StoredObject(key, len(content), sha256)
        if kind == "expert":
            folder.location.size(key)  # as the header was read
            found.append((key, sha256, read_header(folder, item)["rows"]))
        else:
            found.append((key, sha256, json.loads(folder.get(item))))
    return found


def listing(folder: Folder, kind: str) -> Answer:
    """As the stages do."""
    items = folder.loose(f"{kind}-")
    if kind == "expert":
        return [(item.key, item.sha256, item.extra["rows"]) for item in items]
    return [(item.key, item.sha256, json.loads(folder.get(item))) for item in items]


VARIANTS: dict[str, Variant] = {"whole": whole, "listing": listing}


# -- the comparison


def fill(root: Path) -> dict[str, str]:
    """The folders, by their kind of object."""
    paths = {kind: f"experts/{kind}-{FINGERPRINT[:12]}" for kind in ("expert", "cell")}
    shards, cells = (Folder(LocalLocation(root), paths[kind], FINGERPRINT) for kind in ("expert", "cell"))
    items = []
    for number in range(SHARDS):
        draw = generator(0, "listing", number)
        content, rows = encode(torch.randn(ROWS, SHARD_BYTES // ROWS // 4, generator=draw), {"unit": number})
        items.append(shards.put(f"expert-{number:04d}", "safetensors", content, {"rows": rows}))
    shards.commit(Manifest(FINGERPRINT, "experts", {}, {}, {}, tuple(items)))
    told = [json.dumps({"seed": number, "test": number / CELLS, "lr": 0.01}).encode() for number in range(CELLS)]
    items = [cells.put(f"cell-{number:04d}", "json", content) for number, content in enumerate(told)]
    cells.commit(Manifest(FINGERPRINT, "evaluation", {}, {}, {}, tuple(items)))
    return paths


def once(root: Path, path: str, kind: str, variant: str, wait_s: float) -> tuple[dict[str, float], Answer]:
    """What one listing took, and what it found."""
    location = Counted(root, wait_s)
    began = time.perf_counter()
    found = VARIANTS[variant](Folder(location, path, FINGERPRINT), kind)
    return {"s": time.perf_counter() - began, "requests": location.requests, "bytes": location.bytes}, found


def compare(root: Path, path: str, kind: str, wait_s: float) -> dict[str, Any]:
    """Medians of both variants, and how many times less the listing takes."""
    took: dict[str, list[dict[str, float]]] = {variant: [] for variant in VARIANTS}
    for turn in range(TURNS):
        answers = []
        for variant in sorted(VARIANTS, reverse=bool(turn % 2)):
            figures, found = once(root, path, kind, variant, wait_s)
            took[variant].append(figures)
            answers.append(found)
        assert answers[0] == answers[1], "not the same objects"
    medians = {
        variant: {name: statistics.median(one[name] for one in figures) for name in figures[0]}
        for variant, figures in took.items()
    }
    ratios = [one["s"] / other["s"] for one, other in zip(took["whole"], took["listing"], strict=True)]
    for figures in medians.values():
        figures["s"] = round(figures["s"], 4)
    return {**medians, "times_faster": round(statistics.median(ratios), 1)}


def main() -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="padray-benchmark-") as place:
        root = Path(place)
        paths = fill(root)
        os.sync()  # what is still to be written to the disk would disturb
        figures = {
            f"{kind}s {where}": compare(root, path, kind, wait_s)
            for kind, path in paths.items()
            for where, wait_s in (("near", 0.0), ("far", FAR_S))
        }
    result = {
        "command": "python -m tests.benchmarks.listing",
        "machine": {"cores": os.cpu_count(), "kind": platform.machine(), "torch": torch.__version__},
        "data": f"{SHARDS} experts of {SHARD_BYTES} bytes and {CELLS} cells, all listed by their manifests",
        "far": f"{FAR_S} s for each request",
        "repeats": TURNS,
        "figures": figures,
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
