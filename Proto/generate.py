#!/usr/bin/env python3
"""Generates the Wire layer from Proto/**/*.proto.

    Proto/generate.py           writes Sources/Wire/CWire (C by protoc-c, our field tables) and Sources/Wire/Wire/Generated (Swift)
    Proto/generate.py --check   regenerates aside, names the files that differ, and exits 1 if any does

Needs protoc and protoc-c; no Python package. The output depends on the .proto files and protoc-c's templates alone: no
path, no time, no tool version.
"""
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

from generator.c_tables import c_tables
from generator.descriptors import NAMESPACES, NOTICE, File, fail, fields_of, text
from generator.swift import swift_catalog, swift_file, upper_first

PROTO = pathlib.Path(__file__).resolve().parent
ROOT = PROTO.parent
C_DIR = pathlib.Path("Sources/Wire/CWire")
SWIFT_DIR = pathlib.Path("Sources/Wire/Wire/Generated")


# ---- Running the tools

def run(*command):
    done = subprocess.run(command, cwd=PROTO, capture_output=True, text=True)
    if done.returncode != 0:
        fail(f"{command[0]} failed:\n{done.stderr.strip()}")


def load(names, scratch):
    """Files with comments, sorted by name, linked; and each file's descriptor without comments."""
    for flag, target in (("--include_source_info", "full"), (None, "bare")):
        run("protoc", *filter(None, [flag]), f"--descriptor_set_out={scratch}/{target}", *names)
    full = [File(data) for data in fields_of((scratch / "full").read_bytes())[1]]
    files = sorted(full, key=lambda f: f.name)
    bare = {text(fields_of(data), 1): data for data in fields_of((scratch / "bare").read_bytes())[1]}
    types = {}
    for i, m in enumerate(m for f in files for m in f.all_messages()):
        m.index = i
        types[m.full] = m
    for f in files:
        types.update({e.full: e for e in f.all_enums()})
    for i, e in enumerate(e for f in files for e in f.all_enums()):
        e.index = i
    for m in [m for f in files for m in f.all_messages()]:
        for f in m.fields:
            f.target = types[f.type_name] if f.type_name else None
    return files, bare


def clean_c(source):
    """Drops the version checks, which carry the tool's version, and adds the notice."""
    source = re.sub(r"#if PROTOBUF_C_VERSION_NUMBER <.*?#endif\n", "", source, flags=re.S)
    return f"// {NOTICE}.\n" + source


def generate(root):
    names = sorted(str(p.relative_to(PROTO)) for p in PROTO.rglob("*.proto"))
    written = {}
    with tempfile.TemporaryDirectory() as folder:
        scratch = pathlib.Path(folder)
        files, bare = load(names, scratch)
        (scratch / "c").mkdir()
        run("protoc-c", f"--c_out={scratch}/c", *names)
        for f in files:
            stem = f.name[:-6] + ".pb-c"
            written[C_DIR / f"{stem}.c"] = clean_c((scratch / "c" / f"{stem}.c").read_text())
            written[C_DIR / "include" / f"{stem}.h"] = clean_c((scratch / "c" / f"{stem}.h").read_text())
            parts = "".join(upper_first(p) for p in pathlib.PurePath(f.name).stem.split("_"))
            written[SWIFT_DIR / f"{NAMESPACES[f.package]}+{parts}.swift"] = swift_file(f)
        written[C_DIR / "wire_tables.c"] = c_tables(files, bare)
        written[SWIFT_DIR / "Catalog.swift"] = swift_catalog(files)
    for path, content in written.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(content)
    return set(written)


def on_disk(root):
    """The generated files that are there, so that a leftover is found too."""
    c = root / C_DIR
    found = list(c.rglob("*.pb-c.c")) + list(c.rglob("*.pb-c.h")) + list((root / SWIFT_DIR).rglob("*.swift"))
    return {p.relative_to(root) for p in found} | ({C_DIR / "wire_tables.c"} if (c / "wire_tables.c").exists() else set())


def main():
    for tool in ("protoc", "protoc-c"):
        if not shutil.which(tool):
            fail(f"{tool} is not installed (Debian: protobuf-compiler, protobuf-c-compiler)")
    if sys.argv[1:] == ["--check"]:
        with tempfile.TemporaryDirectory() as folder:
            fresh = pathlib.Path(folder)
            wanted = generate(fresh)
            differing = [p for p in sorted(wanted | on_disk(ROOT)) if p not in wanted or not (ROOT / p).exists()
                         or (ROOT / p).read_text() != (fresh / p).read_text()]
        for path in differing:
            print(path)
        sys.exit(1 if differing else 0)
    if sys.argv[1:]:
        fail("usage: generate.py [--check]")
    wanted = generate(ROOT)
    for stale in sorted(on_disk(ROOT) - wanted):
        (ROOT / stale).unlink()


if __name__ == "__main__":
    main()
