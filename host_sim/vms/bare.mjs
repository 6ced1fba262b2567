// The real MicroPython (the WebAssembly build) with no board: standard input holds one line of JSON,
//
//   {"package": FILE, "heap_bytes": N, "files": {PATH IN THE VM: PATH HERE}, "path": [FOLDER], "snippets": [PYTHON]}
//
// The snippets run one after another. Between them the VM is left, which is when it collects garbage.

import fs from "node:fs";
import path from "node:path";

const job = JSON.parse(fs.readFileSync(0, "utf8"));
const { loadMicroPython } = await import(job.package);
const print = (text) => fs.writeSync(1, text + "\n");

function makeFolders(fileSystem, folder) {
  if (fileSystem.analyzePath(folder).exists) return;
  makeFolders(fileSystem, path.posix.dirname(folder));
  fileSystem.mkdir(folder);
}

try {
  const mp = await loadMicroPython({ heapsize: job.heap_bytes, linebuffer: true, stdout: print, stderr: print });
  for (const [name, source] of Object.entries(job.files)) {
    makeFolders(mp.FS, path.posix.dirname(name));
    mp.FS.writeFile(name, fs.readFileSync(source));
  }
  mp.runPython(`import sys\nsys.path[:] = ${JSON.stringify(job.path)} + ['.frozen']\ndel sys`);
  for (const snippet of job.snippets) mp.runPython(snippet);
} catch (error) {
  // An uncaught error would make Node print the whole source of the VM.
  print(String(error.message ?? error).slice(0, 4000));
  process.exit(1);
}
