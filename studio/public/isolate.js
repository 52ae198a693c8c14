// For pages of this folder on a server that sends no headers of its own: a service worker that adds those by which a browser lets a page
// share memory between threads. It changes nothing else, and keeps nothing.
addEventListener("install", () => skipWaiting());
addEventListener("activate", (event) => event.waitUntil(clients.claim()));
addEventListener("fetch", (event) => {
  const { request } = event;
  if (new URL(request.url).origin !== location.origin) return;
  event.respondWith(
    fetch(request).then((response) => {
      if (response.type === "opaque" || response.type === "error" || response.redirected) return response;
      const headers = new Headers(response.headers);
      headers.set("Cross-Origin-Opener-Policy", "same-origin");
      headers.set("Cross-Origin-Embedder-Policy", "require-corp");
      const { status, statusText, body } = response;
      return new Response(body, { status, statusText, headers });
    }),
  );
});
