// How much of a wasm file is the engine's: the functions whose names mention `millstream`, generic code made for its
// types included, before wasm-opt. Usage: node engine-size.mjs FILE.wasm (one that still has its names).

import fs from 'node:fs';
import zlib from 'node:zlib';

const IMPORTS = 2;
const CODE = 10;
const CUSTOM = 0;
const FUNCTION_NAMES = 1;

const bytes = fs.readFileSync(process.argv[2]);
let at = 8; // after the magic number and the version

/** An unsigned LEB128 number. */
function number() {
  let [value, scale] = [0, 1];
  for (;;) {
    const byte = bytes[at++];
    value += (byte & 0x7f) * scale;
    if (byte < 0x80) return value;
    scale *= 0x80;
  }
}

function text() {
  const length = number();
  at += length;
  return bytes.toString('utf8', at - length, at);
}

/** Skips an import; tells whether it was a function, for those are numbered before the file's own. */
function isFunctionImport() {
  text();
  text();
  const kind = bytes[at++];
  if (kind === 0) number(); // a function: its type
  if (kind === 1) at += 1; // a table: its type, then limits as a memory's
  if (kind === 1 || kind === 2) {
    const isBounded = bytes[at++] & 1;
    number();
    if (isBounded) number();
  }
  if (kind === 3) at += 2; // a global: its type and whether it changes
  return kind === 0;
}

let imported = 0;
const bodies = [];
const names = new Map();
while (at < bytes.length) {
  const section = bytes[at++];
  const length = number();
  const end = at + length;
  if (section === IMPORTS) {
    for (let left = number(); left > 0; left -= 1) imported += isFunctionImport() ? 1 : 0;
  } else if (section === CODE) {
    for (let left = number(); left > 0; left -= 1) {
      const size = number();
      bodies.push(bytes.subarray(at, at + size));
      at += size;
    }
  } else if (section === CUSTOM && text() === 'name') {
    while (at < end) {
      const part = bytes[at++];
      const partEnd = number() + at;
      if (part === FUNCTION_NAMES) for (let left = number(); left > 0; left -= 1) names.set(number(), text());
      at = partEnd;
    }
  }
  at = end;
}
if (names.size === 0) throw new Error(`${process.argv[2]} has no names`);
const engine = Buffer.concat(bodies.filter((_, place) => names.get(imported + place)?.includes('millstream')));
const packed = zlib.brotliCompressSync(engine, { params: { [zlib.constants.BROTLI_PARAM_QUALITY]: 11 } });
const label = 'of the first, the engine (before wasm-opt)';
console.log(`${label.padEnd(44)} ${String(engine.length).padStart(9)} ${String(packed.length).padStart(9)}`);
