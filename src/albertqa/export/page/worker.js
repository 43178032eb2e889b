// The model, in a worker of its own: the page never freezes. Messages in: { id, question, text } or { stop: id };
// out: { loading: { done, bytes } }, { ready: facts }, { failed: reason }, { id, result }, { id, failed: reason }.

import * as ort from "./ort.js";
import { createReader } from "./reader.js";
import { createTokenizer } from "./tokenizer.js";

class StoppedError extends Error {}

const stopped = new Set();
const here = (name) => new URL(name, import.meta.url).href;

/** Load a file of this folder, and say how far it is. */
async function load(name, onBytes) {
  const response = await fetch(here(name));
  if (!response.ok) throw new Error(`${name}: status ${response.status}`);
  const chunks = [];
  for (const reader = response.body.getReader(); ; ) {
    const { done, value } = await reader.read();
    if (done) return new Uint8Array(await new Blob(chunks).arrayBuffer());
    chunks.push(value);
    onBytes(value.length);
  }
}

async function start() {
  const parse = (bytes) => JSON.parse(new TextDecoder().decode(bytes));
  const page = parse(await load("page.json", () => {}));
  let done = 0;
  const onBytes = (count) => {
    done += count;
    postMessage({ loading: { done, bytes: page.bytes } });
  };
  const [model, wasm, tokenizer, settings] = await Promise.all(
    ["onnx/model_quantized.onnx", "ort.wasm", "tokenizer.json", "reader.json"].map((name) => load(name, onBytes)),
  );
  ort.env.wasm.wasmBinary = wasm;
  // Threads need memory that they share, which browsers allow isolated pages only.
  ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(4, navigator.hardwareConcurrency) : 1;
  const session = await ort.InferenceSession.create(model, { executionProviders: ["wasm"] });
  const tensor = (values) => new ort.Tensor("int64", BigInt64Array.from(values, BigInt), [1, values.length]);
  const run = async ({ ids, segments }) => {
    const feeds = { input_ids: tensor(ids), attention_mask: tensor(ids.map(() => 1)), token_type_ids: tensor(segments) };
    const inputs = Object.fromEntries(session.inputNames.map((name) => [name, feeds[name]]));
    const { start_logits: first, end_logits: last } = await session.run(inputs);
    return { start: first.data, end: last.data };
  };
  const reading = parse(settings);
  const read = createReader(createTokenizer(parse(tokenizer), page.special), page.layout, reading, run);
  postMessage({ ready: { model: page.model, isCalibrated: Boolean(reading.confidence) } });
  return read;
}

const reader = start();
reader.catch((error) => postMessage({ failed: error.message }));
// One question after the other; between windows, messages are heard.
let last = Promise.resolve();

onmessage = ({ data }) => {
  if (data.stop !== undefined) {
    stopped.add(data.stop);
    return;
  }
  const { id, question, text } = data;
  const onWindow = async () => {
    await new Promise((resume) => { setTimeout(resume); });
    if (stopped.has(id)) throw new StoppedError();
  };
  last = last.then(async () => {
    try {
      const read = await reader;
      await onWindow();
      postMessage({ id, result: await read(question, text, onWindow) });
    } catch (error) {
      if (!(error instanceof StoppedError)) postMessage({ id, failed: error.message });
    } finally {
      stopped.delete(id);
    }
  });
};
