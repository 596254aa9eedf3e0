// Matrix products for convolutions. In a browser with WebAssembly SIMD (all of 2021 and later) the product is a small
// WebAssembly function, assembled here instruction by instruction; elsewhere it is plain JavaScript.
//
// Both compute, for every row r < m and column c < n,
//   out[r, c] = max(low, bias[c] + sum over i < k of a[r, i] * w[i, c])
// Rows of `a` may overlap (a convolution without copies: its rows start one frame apart and are `width` frames long).
// `w` lies in panels of 8 columns, [n / 8, k, 8]; n is a multiple of 8.

export const PANEL = 8;
const PAGE = 65536; // bytes

const [I32, F32, V128] = [0x7f, 0x7d, 0x7b];
const [BLOCK, LOOP, END, BR, BR_IF] = [0x02, 0x03, 0x0b, 0x0c, 0x0d];
const [GET, SET, CONST, ADD, SUB, MUL, LESS] = [0x20, 0x21, 0x41, 0x6a, 0x6b, 0x6c, 0x49];
const [LOAD, LOAD_SPLAT, STORE, SPLAT, VADD, VMUL, VMAX] = [0x00, 0x09, 0x0b, 0x13, 0xe4, 0xe6, 0xe9];

function leb(value) { // unsigned, as WebAssembly writes numbers
  const bytes = [];
  do {
    bytes.push((value & 0x7f) | (value > 0x7f ? 0x80 : 0));
    value >>>= 7;
  } while (value);
  return bytes;
}

const section = (id, ...parts) => [id, ...leb(parts.flat().length), ...parts.flat()];
const text = word => [word.length, ...new TextEncoder().encode(word)];

const PARAMETERS = ["a", "aStride", "m", "k", "w", "n", "bias", "low", "out", "outStride"]; // strides in bytes
const COUNTERS = ["column", "row", "target", "left", "from", "panel", "end", "columns", "length"];
const VECTORS = ["lows", "b0", "b1", "w0", "w1", "x", ...Array.from({ length: 8 }, (_, i) => `sum${i}`)];
const NAMES = [...PARAMETERS, ...COUNTERS, "stride2", "stride3", ...VECTORS];

const get = name => [GET, ...leb(NAMES.indexOf(name))];
const set = name => [SET, ...leb(NAMES.indexOf(name))];
const number = value => [CONST, ...(value < 64 ? [value] : [(value & 0x7f) | 0x80, value >> 7])]; // 0 to 8191
const simd = (code, ...operands) => [0xfd, ...leb(code), ...operands];
const load = offset => simd(LOAD, 2, offset);
const step = (name, by) => [...get(name), ...by, ADD, ...set(name)];

// The columns of one panel in `count` rows at a time, while there are as many left.
function rows(count) {
  const strides = ["", "aStride", "stride2", "stride3"].slice(0, count);
  const sums = strides.map((_, row) => [`sum${2 * row}`, `sum${2 * row + 1}`]);
  const multiply = strides.flatMap((stride, row) => [
    ...get("from"), ...(stride ? [...get(stride), ADD] : []), ...simd(LOAD_SPLAT, 2, 0), ...set("x"),
    ...sums[row].flatMap((sum, half) =>
      [...get(sum), ...get("x"), ...get(`w${half}`), ...simd(VMUL), ...simd(VADD), ...set(sum)]),
  ]);
  const store = sums.flatMap(pair => [
    ...pair.flatMap((sum, half) =>
      [...get("target"), ...get(sum), ...get("lows"), ...simd(VMAX), ...simd(STORE, 2, 16 * half)]),
    ...step("target", get("outStride")),
  ]);
  return [
    BLOCK, 0x40, LOOP, 0x40,
    ...get("left"), ...number(count), LESS, BR_IF, 1,
    ...sums.flatMap(([low, high]) => [...get("b0"), ...set(low), ...get("b1"), ...set(high)]),
    ...get("row"), ...set("from"), ...get("w"), ...set("panel"), ...get("row"), ...get("length"), ADD, ...set("end"),
    LOOP, 0x40,
    ...get("panel"), ...load(0), ...set("w0"), ...get("panel"), ...load(16), ...set("w1"),
    ...multiply,
    ...step("panel", number(32)), ...step("from", number(4)),
    ...get("from"), ...get("end"), LESS, BR_IF, 0,
    END,
    ...store,
    ...step("row", [...get("aStride"), ...number(count), MUL]),
    ...get("left"), ...number(count), SUB, ...set("left"),
    BR, 0, END, END,
  ];
}

function assemble() {
  const code = [
    leb(3), leb(COUNTERS.length + 2), I32, leb(VECTORS.length), V128, leb(0), I32,
    get("low"), simd(SPLAT), set("lows"), get("n"), number(4), MUL, set("columns"), get("k"), number(4), MUL, set("length"),
    get("aStride"), number(2), MUL, set("stride2"), get("aStride"), number(3), MUL, set("stride3"),
    LOOP, 0x40,
    get("bias"), get("column"), ADD, load(0), set("b0"), get("bias"), get("column"), ADD, load(16), set("b1"),
    get("a"), set("row"), get("out"), get("column"), ADD, set("target"), get("m"), set("left"),
    rows(4), rows(1),
    step("w", [...get("length"), ...number(PANEL), MUL]), step("column", number(4 * PANEL)),
    get("column"), get("columns"), LESS, BR_IF, 0,
    END, END,
  ].flat();
  const types = PARAMETERS.map(name => (name === "low" ? F32 : I32));
  return new Uint8Array([
    0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0,
    ...section(1, [1, 0x60, types.length, ...types, 0]),
    ...section(2, [1, ...text("js"), ...text("memory"), 2, 0, 1]),
    ...section(3, [1, 0]),
    ...section(7, [1, ...text("product"), 0, 0]),
    ...section(10, [1, ...leb(code.length), ...code]),
  ]);
}

// Memory of float32 values, and the product on places in it. `product` takes places and strides in values.
export class Kernel {
  constructor({ plain = false } = {}) {
    this.size = 0;
    this.values = new Float32Array(0);
    this.simd = false;
    if (plain) return;
    try {
      const memory = new WebAssembly.Memory({ initial: 1 });
      const module = new WebAssembly.Module(assemble());
      this.wasm = new WebAssembly.Instance(module, { js: { memory } }).exports.product;
      this.memory = memory;
      this.values = new Float32Array(memory.buffer);
      this.simd = true;
    } catch { /* no WebAssembly here, or none with SIMD: plain JavaScript */ }
  }

  // The place of `count` values that are not yet in use; views of `values` end with it.
  reserve(count) {
    const place = this.size;
    this.size += (count + 3) & ~3;
    if (this.size > this.values.length) {
      if (this.simd) {
        this.memory.grow(Math.ceil((4 * (this.size - this.values.length)) / PAGE));
        this.values = new Float32Array(this.memory.buffer);
      } else {
        const larger = new Float32Array(Math.ceil(1.5 * this.size));
        larger.set(this.values);
        this.values = larger;
      }
    }
    return place;
  }

  product(a, aStride, m, k, w, n, bias, low, out, outStride) {
    if (this.simd) this.wasm(4 * a, 4 * aStride, m, k, 4 * w, n, 4 * bias, low, 4 * out, 4 * outStride);
    else plainProduct(this.values, a, aStride, m, k, w, n, bias, low, out, outStride);
  }
}

function plainProduct(values, a, aStride, m, k, w, n, bias, low, out, outStride) {
  for (let column = 0; column < n; column += 4) {
    const first = w + (column - (column % PANEL)) * k + (column % PANEL);
    for (let row = 0; row < m; row++) {
      let [s0, s1, s2, s3] = [values[bias + column], values[bias + column + 1], values[bias + column + 2], values[bias + column + 3]];
      for (let i = 0, from = a + row * aStride, at = first; i < k; i++, from++, at += PANEL) {
        const x = values[from];
        s0 += x * values[at];
        s1 += x * values[at + 1];
        s2 += x * values[at + 2];
        s3 += x * values[at + 3];
      }
      const target = out + row * outStride + column;
      values[target] = Math.max(s0, low);
      values[target + 1] = Math.max(s1, low);
      values[target + 2] = Math.max(s2, low);
      values[target + 3] = Math.max(s3, low);
    }
  }
}
