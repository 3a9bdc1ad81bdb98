// The folder's files: fetched with progress, and kept in the browser. It knows no worlds.

const CACHE = "worldmodel-files";

/** Some of a folder's files: their bytes by name. files: of world.json; onProgress: called with (name, bytes so far). */
export async function fetchFiles(baseUrl, files, names, onProgress = () => {}) {
  const bytes = {};
  for (const name of names) {
    bytes[name] = await fetchBytes(new URL(name, baseUrl), files[name][1], (count) => onProgress(name, count));
  }
  return bytes;
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
