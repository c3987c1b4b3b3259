// Lets the application start without the network: keeps its shell and program, and answers with them where the network
// does not. What it keeps holds nothing of any person: values and unsent changes are the page's own, in IndexedDB.
//
// The network always goes first, so that a page and its program are of one version. A newer worker therefore takes over
// at once; the page that runs goes on with what it has, and offers to be loaded anew.

const VERSION = "%VERSION%";
const CACHE = `millstream ${VERSION}`;
const SHELL = "/shell";
const PROGRAM = /* as built */ [];
// Loaded by few: kept once it has been.
const ASKED_FOR = /* where asked for */ [];
const FILES = [SHELL, "/favicon.svg", "/manifest.webmanifest", "/theme.js", ...PROGRAM];

async function fill() {
  const cache = await caches.open(CACHE);
  await cache.addAll(FILES.map((file) => new Request(file, { cache: "reload" })));
  await self.skipWaiting();
}

async function takeOver() {
  const names = await caches.keys();
  await Promise.all(names.filter((name) => name !== CACHE).map((name) => caches.delete(name)));
  await self.clients.claim();
}

async function answer(request) {
  try {
    const fresh = await fetch(request);
    if (fresh.ok && ASKED_FOR.includes(new URL(request.url).pathname)) {
      const cache = await caches.open(CACHE);
      await cache.put(request, fresh.clone());
    }
    return fresh;
  } catch (unreachable) {
    const cache = await caches.open(CACHE);
    const kept = await cache.match(request.mode === "navigate" ? SHELL : request, { ignoreSearch: true });
    if (kept) return kept;
    throw unreachable;
  }
}

self.addEventListener("install", (event) => event.waitUntil(fill()));
self.addEventListener("activate", (event) => event.waitUntil(takeOver()));
self.addEventListener("fetch", (event) => {
  const { pathname, origin } = new URL(event.request.url);
  const isOurs = origin === self.location.origin && event.request.method === "GET" && !pathname.startsWith("/api/");
  if (isOurs) event.respondWith(answer(event.request));
});
