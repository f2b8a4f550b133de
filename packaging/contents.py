#!/usr/bin/env python3
"""What is in the static program, from cargo's own graph: an SBOM (CycloneDX 1.5) and the licences of the libraries.

Usage: contents.py TARGET EPOCH SBOM LICENSES PROGRAM
"""
import datetime, hashlib, json, pathlib, subprocess, sys

target, epoch, sbom, licenses, program = sys.argv[1:]
metadata = json.loads(subprocess.check_output(
    ["cargo", "metadata", "--locked", "--format-version=1", "--no-default-features", "--filter-platform", target]))
packages = {package["id"]: package for package in metadata["packages"]}
nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
root = metadata["resolve"]["root"]

# What is linked: normal dependencies alone. Build scripts and procedural macros run at build time.
def linked(node):
    for dependency in nodes[node]["deps"]:
        kinds = [kind["kind"] for kind in dependency["dep_kinds"]]
        macro = any("proc-macro" in t["kind"] for t in packages[dependency["pkg"]]["targets"])
        if None in kinds and not macro:
            yield dependency["pkg"]

seen, todo = set(), [root]
while todo:
    node = todo.pop()
    if node not in seen:
        seen.add(node)
        todo += linked(node)
libraries = sorted((packages[node] for node in seen - {root}), key=lambda p: (p["name"], p["version"]))
purl = lambda package: f"pkg:cargo/{package['name']}@{package['version']}"
own = packages[root]

def component(package):
    found = {"type": "library", "bom-ref": purl(package), "name": package["name"], "version": package["version"],
             "purl": purl(package)}
    if package["license"]:
        found["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
    return found

bom = {
    "bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1,
    "metadata": {
        "timestamp": datetime.datetime.fromtimestamp(int(epoch), datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "component": {"type": "application", "bom-ref": purl(own), "name": own["name"], "version": own["version"],
                      "purl": purl(own), "licenses": [{"expression": own["license"]}],
                      "hashes": [{"alg": "SHA-256",
                                  "content": hashlib.sha256(pathlib.Path(program).read_bytes()).hexdigest()}]},
    },
    "components": [component(package) for package in libraries],
    "dependencies": [{"ref": purl(packages[node]), "dependsOn": sorted({purl(packages[d]) for d in linked(node)})}
                     for node in sorted(seen, key=lambda node: purl(packages[node]))],
}
pathlib.Path(sbom).write_text(json.dumps(bom, indent=1) + "\n")

with open(licenses, "w", encoding="utf-8") as out:
    out.write("The program rackconnect is static. These libraries are in it, under these licences.\n"
              "The Rust standard library is, too (MIT OR Apache-2.0), and musl (MIT).\n")
    texts = {}
    for package in libraries:
        folder = pathlib.Path(package["manifest_path"]).parent
        out.write(f"\n{package['name']} {package['version']}: {package['license'] or 'see its text'}\n")
        for file in sorted(folder.iterdir()):
            if file.is_file() and file.name.upper().startswith(("LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE", "UNLICENSE")):
                text = file.read_text(encoding="utf-8", errors="replace").strip()
                out.write(f"  {file.name}: text {texts.setdefault(text, len(texts) + 1)}\n")
    for text, number in texts.items():
        out.write(f"\n\n---- text {number} ----\n\n{text}\n")
