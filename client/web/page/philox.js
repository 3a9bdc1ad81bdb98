// Philox4x32-10 (Salmon et al., SC 2011): the twin of kernels/sampling.py's, so that the same seed gives the same game.

const ROUNDS = 10;
const M0 = 0xd2511f53, M1 = 0xcd9e8d57;
const W0 = 0x9e3779b9, W1 = 0xbb67ae85;

/** First word for the counter (position, frame, 0) and the key `seed` (a BigInt below 2^64). */
export function philox(seed, frame, position) {
  let c0 = position >>> 0, c1 = frame >>> 0, c2 = Math.floor(frame / 2 ** 32) >>> 0, c3 = 0;
  let k0 = Number(seed & 0xffffffffn), k1 = Number((seed >> 32n) & 0xffffffffn);
  for (let round = 0; round < ROUNDS; round++) {
    const high0 = high(c0, M0), low0 = Math.imul(c0, M0), high1 = high(c2, M1), low1 = Math.imul(c2, M1);
    c0 = (high1 ^ c1 ^ k0) >>> 0;
    c1 = low1 >>> 0;
    c2 = (high0 ^ c3 ^ k1) >>> 0;
    c3 = low0 >>> 0;
    k0 = (k0 + W0) >>> 0;
    k1 = (k1 + W1) >>> 0;
  }
  return c0;
}

/** In [0, 1), of 24 random bits. */
export function uniform(seed, frame, position) {
  return (philox(seed, frame, position) >>> 8) * 2 ** -24;
}

/** The upper 32 bits of a product of two numbers of 32 bits. */
function high(a, b) {
  const aLow = a & 0xffff, aHigh = a >>> 16, bLow = b & 0xffff, bHigh = b >>> 16;
  const middle = aHigh * bLow + ((aLow * bLow) >>> 16);
  const other = aLow * bHigh + (middle % 0x10000);
  return (aHigh * bHigh + Math.floor(middle / 0x10000) + Math.floor(other / 0x10000)) >>> 0;
}
