// How tokens are drawn: the twin of kernels/sampling.py, in its numbers' precision.
// A sampler is { temperature, top_k, top_p, guidance }.

import { uniform } from "./philox.js";

const COLDEST = 0.01; // below, the most likely code is always taken

/** Moves logits away from those of an idle step. Float32Arrays of one size. */
export function guide(logits, idle, guidance) {
  const strength = Math.fround(guidance);
  return logits.map((logit, i) => logit + Math.fround(strength * Math.fround(logit - idle[i])));
}

/**
 * A token of two parts, first + main * second; chain: what the first says of the second (main x detail), or null for
 * tokens of one part. logits: Float32Array of main + detail; place: of the token, of `places` a frame.
 */
export function sampleChained(logits, chain, sampler, seed, frame, place, places) {
  if (!chain) return sample(logits, sampler, seed, frame, place);
  const detail = chain.detail, main = logits.length - detail;
  const first = sample(logits.subarray(0, main), sampler, seed, frame, place);
  const said = chain.values.subarray(first * detail, (first + 1) * detail);
  const finer = logits.slice(main).map((logit, i) => logit + said[i]);
  return first + main * sample(finer, sampler, seed, frame, place + places);
}

/** logits: Float32Array -> the code that is drawn. */
export function sample(logits, sampler, seed, frame, position) {
  const likeliest = argmax(logits);
  if (sampler.temperature < COLDEST) return likeliest;
  const sharpness = Math.fround(1 / sampler.temperature), most = logits[likeliest];
  const weights = logits.map((logit) => Math.exp(Math.fround(Math.fround(logit - most) * sharpness)));
  const kept = keptCodes(weights, sampler);
  let sum = 0;
  const cumulative = kept.map((code) => (sum += weights[code]));
  const target = uniform(seed, frame, position) * sum;
  const pick = cumulative.findIndex((mass) => mass > target);
  return kept[pick < 0 ? kept.length - 1 : pick];
}

/** The codes that top-p and top-k keep, in code order. */
function keptCodes(weights, { top_p: topP, top_k: topK }) {
  let total = 0;
  for (const weight of weights) total += weight;
  const least = Math.fround(((1 - topP) * total) / weights.length);
  const candidates = [];
  weights.forEach((weight, code) => weight >= least && candidates.push(code));
  if (topP === 1 && !topK) return candidates;
  const ranked = candidates.map((code) => weights[code]).sort((a, b) => b - a);
  let mass = 0, count = 1;
  for (const weight of ranked) {
    mass += weight;
    if (mass >= topP * total) break;
    count++;
  }
  if (topK) count = Math.min(count, topK);
  const smallest = ranked[Math.min(count, ranked.length) - 1];
  return candidates.filter((code) => weights[code] >= smallest);
}

function argmax(values) {
  let best = 0;
  for (let i = 1; i < values.length; i++) if (values[i] > values[best]) best = i;
  return best;
}
