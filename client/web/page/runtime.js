// ONNX Runtime Web and the files that it runs: loaded from beside the page, with progress, and kept in the browser.
// It knows no worlds.

const CACHE = "worldmodel-files";
const MOST_THREADS = 4; // a pass is too narrow for more

let ready = null;

/** How many threads a page can have for one model. They need a page that is isolated across origins. */
export function availableThreads() {
  return globalThis.crossOriginIsolated ? Math.min(navigator.hardwareConcurrency || 1, MOST_THREADS) : 1;
}

/** The runtime, one a worker or page; the first caller says how many threads it has. */
export function loadRuntime(baseUrl, threads = availableThreads()) {
  ready ??= import(new URL("ort/ort.wasm.min.mjs", baseUrl)).then((ort) => {
    ort.env.wasm.wasmPaths = new URL("ort/", baseUrl).href;
    ort.env.wasm.numThreads = threads;
    ort.env.logLevel = "error";
    return ort;
  });
  return ready;
}

/** bytes: an ONNX model -> a session of it. */
export async function loadSession(baseUrl, bytes) {
  const ort = await loadRuntime(baseUrl);
  return ort.InferenceSession.create(bytes, {
    executionProviders: ["wasm"],
    graphOptimizationLevel: "all",
    extra: { session: { disable_quant_qdq: "1" } }, // 8-bit weights become float32 once, and not in every pass
  });
}

/**
 * The bytes of a file. version: what tells it from an older one of that name ("": never kept); onProgress: called with
 * the bytes so far.
 */
export async function fetchBytes(url, version = "", onProgress = () => {}) {
  const key = version ? `${url}?${version}` : `${url}`;
  const cache = version && globalThis.caches ? await caches.open(CACHE).catch(() => null) : null;
  const kept = await cache?.match(key);
  const response = kept ?? (await fetch(key, version ? {} : { cache: "no-cache" }));
  if (!response.ok) throw new Error(`${url}: the server says ${response.status}`);
  const parts = [];
  let count = 0;
  for (const reader = response.body.getReader(); ;) {
    const { done, value } = await reader.read();
    if (done) break;
    parts.push(value);
    count += value.length;
    onProgress(count);
  }
  const bytes = new Uint8Array(await new Blob(parts).arrayBuffer());
  if (cache && !kept) {
    for (const old of await cache.keys()) {
      if (old.url.split("?")[0] === `${url}`.split("?")[0]) await cache.delete(old);
    }
    await cache.put(key, new Response(bytes)).catch(() => {}); // a full disk is no reason not to play
  }
  return bytes;
}
