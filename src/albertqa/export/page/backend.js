// What the page asks: a model in this browser. No text leaves it.

function createBackend() {
  const worker = new Worker("worker.js", { type: "module" });
  const waiting = new Map();
  const isLoaded = { resolve: null, reject: null };
  const loaded = new Promise((resolve, reject) => { Object.assign(isLoaded, { resolve, reject }); });
  let number = 0;
  const say = (text) => { document.getElementById("facts").textContent = text; };
  const broken = (reason) => new Problem(`The model cannot be loaded: ${reason}. Load the page again.`);

  worker.onerror = (event) => { isLoaded.reject(broken(event.message || "the worker does not start")); };
  worker.onmessage = ({ data }) => {
    if (data.loading) say(`Loading the model: ${percent(Math.min(1, data.loading.done / data.loading.bytes))}`);
    else if (data.ready) isLoaded.resolve(data.ready);
    else if (data.id === undefined) isLoaded.reject(broken(data.failed));
    else {
      const { resolve, reject } = waiting.get(data.id) ?? {};
      waiting.delete(data.id);
      if (data.failed) reject?.(new Problem(data.failed));
      else resolve?.(data.result);
    }
  };
  // Once loaded, the page works without a network; browsers allow it on https and on this machine.
  loaded.then(() => navigator.serviceWorker?.register("offline.js")).catch(() => {});

  return {
    /** What the page should know. */
    async facts() {
      const facts = await loaded;
      return { ...facts, needsKey: false, maxBytes: 20_000_000, hasDocuments: false, hasApi: false };
    },

    /** Answer a question: { answer, probability, candidates }, each span with its UTF-16 offsets; answer null: none. */
    async ask({ question, text, signal }) {
      await loaded;
      number += 1;
      const id = number;
      return new Promise((resolve, reject) => {
        waiting.set(id, { resolve, reject });
        signal?.addEventListener("abort", () => {
          worker.postMessage({ stop: id });
          waiting.delete(id);
          reject(signal.reason);
        });
        worker.postMessage({ id, question, text });
      });
    },
  };
}
