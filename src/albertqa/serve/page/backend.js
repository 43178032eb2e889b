// What the page asks: the server that it came from.

/** Say in words what a response's status means to somebody who asked a question. */
async function problemOf(response) {
  const sentence = await response.json().then((body) => body.error, () => null) ?? `status ${response.status}`;
  const seconds = Number(response.headers.get("retry-after")) || null;
  switch (response.status) {
    case 401: return new Problem("This server wants an API key. Enter it below the question.", { wantsKey: true });
    case 413: return new Problem(`The text is too long for this server: ${sentence}.`);
    case 429: return new Problem(`The server is busy with other questions. Try again in about ${seconds ?? 1} s.`, { retryAfter: seconds ?? 1 });
    case 503: return new Problem("The server is shutting down. Try again later.", { retryAfter: seconds });
    case 504: return new Problem("The answer took too long. Try a shorter text, or try again later.");
    default: return new Problem(`The server did not take the question: ${sentence}.`);
  }
}

/** Send a request to the server; `options` are those of `fetch`. */
async function send(path, options = {}) {
  let response;
  try {
    response = await fetch(path, { ...options, credentials: "omit", redirect: "error" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem("The server does not answer. Is it still running?");
  }
  if (!response.ok) throw await problemOf(response);
  return response.json();
}

function createBackend() {
  const withKey = (key) => (key ? { authorization: `Bearer ${key}` } : {});
  return {
    /** What the page should know: model, isCalibrated, needsKey, maxBytes, hasDocuments, hasApi. */
    async facts() {
      const facts = await send("v1/model");
      return {
        model: facts.model,
        isCalibrated: facts.is_calibrated,
        needsKey: facts.needs_api_key,
        maxBytes: facts.max_body_bytes,
        hasDocuments: facts.has_documents,
        hasApi: true,
      };
    },

    /** Answer a question: { answer, probability, candidates }, each span with its UTF-16 offsets; answer null: none. */
    async ask({ question, text, key, signal }) {
      const body = JSON.stringify({ question, documents: [{ text }], n_best: 6 });
      const headers = { "content-type": "application/json", ...withKey(key) };
      const result = await send("v1/answer", { method: "POST", headers, body, signal });
      const span = (one) => ({ text: one.text, start: one.start_utf16, end: one.end_utf16, probability: one.probability });
      return {
        answer: result.answer && span(result.answer),
        probability: result.probability,
        candidates: result.n_best.filter((one) => one.text).map(span),
      };
    },

    /** Names of indexed documents that contain some letters. */
    async documents({ contains, key }) {
      return (await send(`v1/documents?contains=${encodeURIComponent(contains)}`, { headers: withKey(key) })).documents;
    },

    /** The text of an indexed document. */
    async document({ name, key }) {
      return (await send(`v1/documents/text?id=${encodeURIComponent(name)}`, { headers: withKey(key) })).text;
    },
  };
}
