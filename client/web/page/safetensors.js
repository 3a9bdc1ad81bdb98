// Reads a safetensors file (huggingface.co/docs/safetensors): eight bytes that say how long a JSON header is, the header,
// and the tensors' bytes.

const BYTES = { F32: 4, F16: 2, I8: 1 };

export class Safetensors {
  /** bytes: Uint8Array of the whole file. Error for a file that is no such file, or is cut short. */
  constructor(bytes) {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const length = bytes.length < 8 ? Infinity : Number(view.getBigUint64(0, true));
    if (!(length <= bytes.length - 8)) throw new Error("the weights are no safetensors file, or are cut short");
    this.header = JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + length)));
    this.data = bytes.subarray(8 + length);
  }

  has(name) {
    return Object.hasOwn(this.header, name);
  }

  shape(name) {
    return this.#entry(name).shape;
  }

  /** A tensor's numbers as they are stored: Float32Array, Uint16Array (of F16) or Int8Array. A copy. */
  stored(name) {
    const { dtype, shape, data_offsets: [begin, end] } = this.#entry(name);
    const size = BYTES[dtype] * shape.reduce((product, one) => product * one, 1);
    if (!(begin >= 0 && end - begin === size && end <= this.data.length)) {
      throw new Error(`the weights are damaged: ${name} is ${dtype} ${shape} in bytes ${begin} to ${end}`);
    }
    const Kind = { F32: Float32Array, F16: Uint16Array, I8: Int8Array }[dtype];
    return new Kind(this.data.slice(begin, end).buffer);
  }

  /** The same as a Float32Array. scales: { behind, span }, of matrices in 8 bits (see worldmodel/web/stored.py). */
  floats(name, scales) {
    const stored = this.stored(name);
    if (stored instanceof Float32Array) return stored;
    if (stored instanceof Uint16Array) return Float32Array.from(stored, half);
    const scale = this.stored(name + scales.behind), [outputs, inputs] = this.shape(name);
    const spans = Math.ceil(inputs / scales.span), made = new Float32Array(stored.length);
    for (let output = 0, at = 0; output < outputs; output++) {
      for (let input = 0; input < inputs; input++, at++) {
        made[at] = stored[at] * scale[output * spans + Math.floor(input / scales.span)];
      }
    }
    return made;
  }

  #entry(name) {
    if (!this.has(name)) throw new Error(`the weights have no ${name}`);
    return this.header[name];
  }
}

/** The bits of a float of 16 bits -> its value. */
export function half(bits) {
  const sign = bits & 0x8000 ? -1 : 1, exponent = (bits >> 10) & 31, fraction = bits & 1023;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (exponent ? (1 + fraction / 1024) * 2 ** (exponent - 15) : fraction * 2 ** -24);
}
