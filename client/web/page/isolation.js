// Threads need a page that is isolated across origins. Where the host does not send the headers for it, a service worker
// (sw.js) does, from the second load on.

const TRIED = "worldmodel-isolation";

/** -> whether the page is being loaded once more. Without isolation it plays, too, on one thread a model. */
export async function isolate() {
  if (globalThis.crossOriginIsolated || !globalThis.isSecureContext || !navigator.serviceWorker) return false;
  if (sessionStorage.getItem(TRIED)) return false;
  sessionStorage.setItem(TRIED, "true");
  try {
    await navigator.serviceWorker.register(new URL("sw.js", import.meta.url));
    await navigator.serviceWorker.ready;
  } catch {
    return false; // a browser that allows none
  }
  location.reload();
  return true;
}
