"""Generates everything made from the contracts into gen/, if they have changed: `python generate.py`.

Made are the Python messages and gRPC stubs, their type stubs, a descriptor set with the comments in it, and a copy
of Google's protos for buf, which else would ask a registry. gen/ is not kept in git.
"""

import hashlib
import importlib.metadata
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

TOOLS = ("grpcio-tools", "mypy-protobuf", "googleapis-common-protos", "protobuf")


def google_protos() -> Path:
    """The folder in which the wheel googleapis-common-protos keeps google/api/*.proto and the like."""
    import google.api  # pyright: ignore[reportMissingTypeStubs]

    return Path(next(iter(google.api.__path__))).parent.parent


def fingerprint(root: Path, sources: list[Path]) -> str:
    """A hash of all that the generated code depends on: contracts, this script, and the versions of the tools."""
    digest = hashlib.sha256()
    for path in [*sources, root / "contracts.py", root / "generate.py"]:
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    for tool in TOOLS:
        digest.update(f"{tool}={importlib.metadata.version(tool)}\n".encode())
    return digest.hexdigest()


def generate(root: Path) -> bool:
    """Generates into root/gen. False when what is there fits already.

    Raises RuntimeError with protoc's own words when a contract is faulty; gen/ is then what it was before.
    """
    sources = sorted((root / "kehu").rglob("*.proto"))
    gen, stamp = root / "gen", root / "gen" / ".stamp"
    wanted = fingerprint(root, sources)
    if stamp.is_file() and stamp.read_text() == wanted:
        return False
    # Built aside and put in place by renaming: a run that dies leaves no half-made package behind.
    with tempfile.TemporaryDirectory(prefix=".gen-", dir=root) as folder:
        fresh = Path(folder) / "gen"
        _compile(root, sources, fresh)
        (fresh / ".stamp").write_text(wanted)
        if gen.exists():
            gen.rename(Path(folder) / "old")
        fresh.rename(gen)
    return True


def _compile(root: Path, sources: list[Path], out: Path) -> None:
    import grpc_tools  # pyright: ignore[reportMissingTypeStubs]

    package = out / "kehu"
    package.mkdir(parents=True)
    google = google_protos()
    well_known = Path(grpc_tools.__path__[0]) / "_proto"
    shutil.copy(root / "contracts.py", package / "contracts.py")
    (package / "py.typed").touch()
    for part in ("api", "rpc", "type"):
        shutil.copytree(
            google / "google" / part,
            out / "google-protos" / "google" / part,
            ignore=lambda folder, names: [
                n for n in names if not n.endswith(".proto") and not (Path(folder) / n).is_dir()
            ],
        )
    command = [
        *(sys.executable, "-m", "grpc_tools.protoc"),
        *(f"-I{folder}" for folder in (root, google, well_known)),
        f"--python_out={out}",
        f"--grpc_python_out={out}",
        f"--mypy_out={out}",
        # The plugin reads "only_async", whatever its manual says.
        f"--mypy_grpc_out=only_async:{out}",
        f"--descriptor_set_out={package / 'descriptors.binpb'}",
        "--include_source_info",
        "--include_imports",
        *(str(path) for path in sources),
    ]
    # The plugins of mypy-protobuf are scripts beside the running interpreter, which need not be on the PATH.
    scripts = os.pathsep.join(
        [str(Path(sys.executable).parent), str(Path(sys.prefix) / "bin"), os.environ.get("PATH", "")]
    )
    # In an isolated build the scripts' own interpreter may not see the build's packages: hand our path down.
    environment = os.environ | {"PATH": scripts, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"protoc refuses the contracts:\n{done.stderr}")


if __name__ == "__main__":
    here = Path(__file__).resolve().parent
    try:
        print("generated" if generate(here) else "unchanged", here / "gen")
    except RuntimeError as problem:
        sys.exit(str(problem))
