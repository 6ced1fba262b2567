// One boot of the real MicroPython (the WebAssembly build) with a virtual board behind two pipes.
//
//   node micropython.mjs REQUESTS ANSWERS HEAP_BYTES MICROPYTHON SHIM...
//
// Requests leave on file number REQUESTS, answers come on ANSWERS, a line of JSON each. "C…" is a call that waits for
// its answer, "P…" is text for the console, "E…" an error that ended the VM.

import fs from "node:fs";
import path from "node:path";

const [requests, answers, heapBytes, packagePath, ...shimFiles] = process.argv.slice(2);
const { loadMicroPython } = await import(packagePath);

const chunk = Buffer.alloc(1 << 20);
let pending = Buffer.alloc(0);

function send(kind, text) {
  let data = Buffer.from(kind + text + "\n");
  while (data.length) data = data.subarray(fs.writeSync(Number(requests), data));
}

function receive() {
  for (;;) {
    const end = pending.indexOf(10);
    if (end >= 0) {
      const line = pending.toString("utf8", 0, end);
      pending = pending.subarray(end + 1);
      return line;
    }
    const n = fs.readSync(Number(answers), chunk);
    if (n === 0) process.exit(0); // the board has lost its host
    pending = Buffer.concat([pending, chunk.subarray(0, n)]);
  }
}

const print = (text) => send("P", JSON.stringify(text));

try {
  const mp = await loadMicroPython({ heapsize: Number(heapBytes), linebuffer: true, stdout: print, stderr: print });
  mp.registerJsModule("_pipe", { call: (text) => (send("C", text), receive()) });
  mp.FS.mkdir("/shims");
  for (const file of shimFiles) mp.FS.writeFile("/shims/" + path.basename(file), fs.readFileSync(file));
  mp.runPython("import sys\nsys.path[:] = ['/shims', '.frozen']\nimport _vm\n_vm.run()");
} catch (error) {
  // An uncaught error would make Node print the whole source of the VM.
  send("E", JSON.stringify(String(error.message ?? error).slice(0, 2000)));
  process.exit(1);
}
