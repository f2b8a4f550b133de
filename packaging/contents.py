#!/usr/bin/env python3
"""Lists the libraries linked into the static program: an SBOM (CycloneDX 1.5) and their licences.

Usage: contents.py TARGET EPOCH SBOM LICENSES PROGRAM NAME [FEATURE OPTION...]
"""
import datetime
import hashlib
import json
import pathlib
import subprocess
import sys

LICENSE_FILES = ("LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE", "UNLICENSE")

target, epoch, sbom_path, licenses_path, program, name, *features = sys.argv[1:]
metadata = json.loads(subprocess.check_output(
    ["cargo", "metadata", "--locked", "--format-version=1", "--filter-platform", target,
     *features]))
packages = {package["id"]: package for package in metadata["packages"]}
nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
root = metadata["resolve"]["root"]
# cargo metadata resolves the features of the whole workspace together, so it also lists libraries
# that only the tests need. cargo tree resolves those of this package, as cargo build does.
tree = subprocess.check_output(
    ["cargo", "tree", "--locked", "--package=rackconnect-agent", "--edges=normal",
     f"--target={target}", "--prefix=none", "--format={p}", *features], text=True)
built = {tuple(line.split()[:2]) for line in tree.splitlines() if line}


def linked(node):
    """The dependencies of a node that are linked into the program.

    Build scripts and procedural macros are not: they only run at build time.
    """
    for dependency in nodes[node]["deps"]:
        kinds = [kind["kind"] for kind in dependency["dep_kinds"]]
        package = packages[dependency["pkg"]]
        macro = any("proc-macro" in target["kind"] for target in package["targets"])
        is_built = (package["name"], f"v{package['version']}") in built
        if None in kinds and is_built and not macro:
            yield dependency["pkg"]


def purl(package):
    return f"pkg:cargo/{package['name']}@{package['version']}"


def component(package):
    entry = {"type": "library", "bom-ref": purl(package), "name": package["name"],
             "version": package["version"], "purl": purl(package)}
    if package["license"]:
        entry["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
    return entry


def dependencies(node):
    depends_on = sorted({purl(packages[dependency]) for dependency in linked(node)})
    return {"ref": purl(packages[node]), "dependsOn": depends_on}


seen, todo = set(), [root]
while todo:
    node = todo.pop()
    if node not in seen:
        seen.add(node)
        todo += linked(node)
libraries = sorted((packages[node] for node in seen - {root}),
                   key=lambda package: (package["name"], package["version"]))
own = packages[root]
built_at = datetime.datetime.fromtimestamp(int(epoch), datetime.timezone.utc)
program_sha256 = hashlib.sha256(pathlib.Path(program).read_bytes()).hexdigest()

sbom = {
    "bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1,
    "metadata": {
        "timestamp": built_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "component": {"type": "application", "bom-ref": purl(own), "name": name,
                      "version": own["version"], "purl": purl(own),
                      "licenses": [{"expression": own["license"]}],
                      "hashes": [{"alg": "SHA-256", "content": program_sha256}]},
    },
    "components": [component(package) for package in libraries],
    "dependencies": [dependencies(node)
                     for node in sorted(seen, key=lambda node: purl(packages[node]))],
}
pathlib.Path(sbom_path).write_text(json.dumps(sbom, indent=1) + "\n")

with open(licenses_path, "w", encoding="utf-8") as out:
    out.write("The program rackconnect is linked statically. It contains these libraries, under\n"
              "these licences, and also the Rust standard library (MIT OR Apache-2.0) and\n"
              "musl (MIT).\n")
    texts = {}
    for package in libraries:
        directory = pathlib.Path(package["manifest_path"]).parent
        license_name = package["license"] or "see its text"
        out.write(f"\n{package['name']} {package['version']}: {license_name}\n")
        for file in sorted(directory.iterdir()):
            if file.is_file() and file.name.upper().startswith(LICENSE_FILES):
                text = file.read_text(encoding="utf-8", errors="replace").strip()
                out.write(f"  {file.name}: text {texts.setdefault(text, len(texts) + 1)}\n")
    for text, number in texts.items():
        out.write(f"\n\n---- text {number} ----\n\n{text}\n")
