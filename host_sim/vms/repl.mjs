// One boot of the real MicroPython (the WebAssembly build) as a board on a serial line: boot.py, main.py, then its REPL.
//
//   node repl.mjs REQUESTS ANSWERS HEAP_BYTES RAW MICROPYTHON SHIM...
//
// As in micropython.mjs requests leave on file number REQUESTS and answers come on ANSWERS, a line of JSON each. "C…" is a
// call, "T…" bytes for the line, "B" says that the board's own files begin and asks whether Ctrl-C waits for them, "R" waits
// for keys or timers, "I" for one key that a program reads, "S…" asks for a soft reset that comes up in the raw REPL or not,
// "X" says that an import took Ctrl-C for a file that is not there, "E…" is an error of the VM itself.
// A byte on standard input is Ctrl-C for a program that computes.

import fs from "node:fs";
import inspector from "node:inspector";
import path from "node:path";
import { isMainThread, parentPort, Worker } from "node:worker_threads";

const [CTRL_A, CTRL_B, CTRL_C, CTRL_D, CTRL_E, LF, CR] = [1, 2, 3, 4, 5, 10, 13];
const WINDOW_BYTES = 256; // of the raw-paste mode's flow control
const OUTPUT_BYTES = 1024; // that may wait for the end of their line
const FORCED_EXIT = 0x100; // PYEXEC_FORCED_EXIT of MicroPython's shared/runtime/pyexec.h
const INTERRUPT = "boardRuns && (interrupted = true, Module._mp_sched_keyboard_interrupt())";
const WAKE_MS = 5;

// The VM polls nothing while it computes. A debugger can stop it all the same, and set what a UART's interrupt would set.
async function interruptMainThread() {
  const session = new inspector.Session();
  session.connectToMainThread();
  const post = (method, settings) => new Promise((done) => session.post(method, settings, (error, result) => done(result)));
  const paused = () => new Promise((done) => session.once("Debugger.paused", ({ params }) => done(params.callFrames.at(-1))));
  const key = Buffer.alloc(1);
  const nextKey = () => new Promise((done) => fs.read(0, key, 0, 1, null, (error, n) => done(n)));
  parentPort.postMessage("ready");
  while (await nextKey()) {
    const waking = setInterval(() => {}, WAKE_MS); // the answers of a busy thread do not wake this one
    const frame = paused();
    await post("Debugger.enable");
    await post("Debugger.pause");
    const { callFrameId } = await frame;
    await post("Debugger.evaluateOnCallFrame", { callFrameId, expression: INTERRUPT });
    await post("Debugger.resume");
    await post("Debugger.disable");
    clearInterval(waking);
  }
}

async function main([requests, answers, heapBytes, raw, packagePath, ...shimFiles]) {
  const line = new Line(Number(requests), Number(answers));
  try {
    const worker = new Worker(new URL(import.meta.url));
    await new Promise((done) => worker.once("message", done));
    await boot(line, Number(heapBytes), raw === "1", packagePath, shimFiles);
  } catch (error) {
    // An uncaught error would make Node print the whole source of the VM.
    line.send("E", String(error.message ?? error).slice(0, 2000));
    process.exit(1);
  }
}

async function boot(line, heapBytes, raw, packagePath, shimFiles) {
  const { loadMicroPython } = await import(packagePath);
  const stdout = ([byte]) => line.print(byte);
  const mp = await loadMicroPython({ heapsize: heapBytes, linebuffer: false, stdout, stderr: stdout });
  const outcome = (text) => { mp.outcome = text; };
  mp.registerJsModule("_pipe", { call: (text) => line.call(text), outcome, key: () => line.ask("I"), swallowed: () => line.send("X") });
  mp.FS.mkdir("/shims");
  for (const file of shimFiles) mp.FS.writeFile("/shims/" + path.basename(file), fs.readFileSync(file));
  mp.runPython("import sys\nsys.path[:] = ['/shims', '.frozen']\nimport _repl\ndel sys, _repl");
  globalThis.boardRuns = true;
  if (line.ask("B")) {
    globalThis.interrupted = true;
    mp._module._mp_sched_keyboard_interrupt();
  }
  let ended = runFile(mp, line, "boot.py");
  if (ended === "ok" && !raw) ended = runFile(mp, line, "main.py");
  const repl = new Repl(mp, line, raw);
  if (ended === "exit") repl.softReset();
  repl.start();
  for (;;) repl.turn();
}

function runFile(mp, line, name) {
  return python(mp, line, `__import__("_repl").run_file("${name}")`) ? mp.outcome : "failed";
}

// Ctrl-C may strike where none of the board's own code is there to be told.
function python(mp, line, code) {
  try {
    mp.runPython(code);
    return true;
  } catch (error) {
    if (error.name !== "PythonError") throw error;
    for (const byte of Buffer.from(error.message)) line.print(byte);
    return false;
  }
}

// The two pipes to the board's host.
class Line {
  constructor(requests, answers) {
    Object.assign(this, { requests, answers, chunk: Buffer.alloc(1 << 20), pending: Buffer.alloc(0) });
    Object.assign(this, { output: [], last: 0, muted: false, skip: 0 });
  }

  send(kind, value) {
    if (kind !== "T") this.flush();
    this.write(kind + (value === undefined ? "" : JSON.stringify(value)));
  }

  write(text) {
    let data = Buffer.from(text + "\n");
    while (data.length) data = data.subarray(fs.writeSync(this.requests, data));
  }

  receive() {
    for (;;) {
      const end = this.pending.indexOf(LF);
      if (end >= 0) {
        const text = this.pending.toString("utf8", 0, end);
        this.pending = this.pending.subarray(end + 1);
        return text;
      }
      const n = fs.readSync(this.answers, this.chunk);
      if (n === 0) process.exit(0); // the board has lost its host
      this.pending = Buffer.concat([this.pending, this.chunk.subarray(0, n)]);
    }
  }

  call(text) {
    this.flush();
    this.write("C" + text);
    return this.receive();
  }

  ask(kind) {
    this.send(kind);
    return JSON.parse(this.receive());
  }

  // What the VM prints. Boards end their lines with CR and LF, this build leaves the CR out in some places.
  print(byte) {
    if (this.muted) return;
    if (this.skip) return void this.skip--;
    if (byte === LF && this.last !== CR) this.output.push(CR);
    this.output.push(byte);
    this.last = byte;
    if (byte === LF || this.output.length >= OUTPUT_BYTES) this.flush();
  }

  flush() {
    if (!this.output.length) return;
    const text = Buffer.from(this.output).toString("latin1");
    this.output = [];
    this.send("T", text);
  }
}

// MicroPython's own REPL, a key at a time; the raw-paste mode, which this build cannot do, is done here.
class Repl {
  constructor(mp, line, raw) {
    Object.assign(this, { mp, line, raw, paste: null, recent: [] });
  }

  start() {
    this.line.muted = this.raw;
    this.mp.replInit();
    this.line.muted = false;
    if (this.raw) this.process(CTRL_A);
  }

  softReset() {
    this.line.send("S", this.raw);
    this.line.receive(); // which never comes: the next boot is another process
  }

  turn() {
    this.forgetInterrupt();
    globalThis.boardRuns = false;
    const { keys, due } = this.line.ask("R");
    globalThis.boardRuns = true;
    if (due.length) python(this.mp, this.line, `__import__("_board")._on_due([${due}])`);
    for (const key of Buffer.from(keys, "latin1")) this.take(key);
  }

  // One that came when the program had ended must not stop the next.
  forgetInterrupt() {
    if (!globalThis.interrupted) return;
    globalThis.interrupted = false;
    this.line.muted = true;
    python(this.mp, this.line, "pass");
    this.line.muted = false;
  }

  take(key) {
    if (this.paste) return this.pasteKey(key);
    this.recent = [...this.recent.slice(-2), key];
    const [first, second] = this.recent;
    if (this.raw && key === CTRL_A && first === CTRL_E && second === "A".charCodeAt(0)) return this.beginPaste();
    if (this.raw && key === CTRL_B) this.raw = false;
    else if (!this.raw && key === CTRL_A) return this.maybeEnterRaw();
    this.process(key);
  }

  // In the midst of a line Ctrl-A is "to its beginning"; what is printed tells.
  maybeEnterRaw() {
    this.line.flush();
    this.process(CTRL_A);
    this.raw = Buffer.from(this.line.output).toString("latin1").endsWith(">");
  }

  process(key) {
    if (this.mp.replProcessChar(key) & FORCED_EXIT) this.softReset();
  }

  beginPaste() {
    this.process(CTRL_C); // forget the "^EA" that came before
    this.paste = { source: [], window: 0 };
    this.say("R\x01" + String.fromCharCode(WINDOW_BYTES & 0xff, WINDOW_BYTES >> 8) + "\x01");
  }

  say(text) {
    this.line.flush();
    this.line.send("T", text);
  }

  pasteKey(key) {
    if (key === CTRL_C || key === CTRL_D) return this.endPaste(key);
    this.paste.source.push(key);
    this.paste.window += 1;
    if (this.paste.window % WINDOW_BYTES === 0) this.say("\x01");
  }

  endPaste(key) {
    const { source } = this.paste;
    this.paste = null;
    this.say("\x04");
    if (key === CTRL_C) return this.say("\x04\r\nKeyboardInterrupt: \r\n\x04>");
    for (const byte of source) this.mp.replProcessChar(byte);
    this.line.skip = 2; // "OK", which the raw-paste mode does not say
    this.process(CTRL_D);
  }
}

globalThis.boardRuns = globalThis.interrupted = false;
if (isMainThread) await main(process.argv.slice(2));
else await interruptMainThread();
