// The service worker: keeps the folder's files, so that the page works without a network once it was loaded.

const KEPT = "albertqa-{{ version }}";
const FILES = {{ files }};

addEventListener("install", (event) => {
  event.waitUntil(caches.open(KEPT).then((cache) => cache.addAll(FILES)).then(() => skipWaiting()));
});

addEventListener("activate", (event) => {
  const drop = async () => {
    for (const name of await caches.keys()) if (name.startsWith("albertqa-") && name !== KEPT) await caches.delete(name);
    await clients.claim();
  };
  event.waitUntil(drop());
});

addEventListener("fetch", (event) => {
  const answer = async () => (await (await caches.open(KEPT)).match(event.request, { ignoreSearch: true })) ?? fetch(event.request);
  if (event.request.method === "GET" && new URL(event.request.url).origin === location.origin) event.respondWith(answer());
});
