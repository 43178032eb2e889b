// Windows and decoding in the browser, as albertqa/windows/build.py, albertqa/decode/spans.py and Answerer have them.

/** Cut a context's tokens into overlapping slices: [first token, the one after the last]. */
export function slices(numTokens, room, stride) {
  const found = [];
  let first = 0;
  for (; first + room < numTokens; first += room - stride) found.push([first, first + room]);
  found.push([first, numTokens]);
  return found;
}

/**
 * Build the windows of a question and its context.
 *
 * @param question, context Tokens, as the tokenizer gives them.
 * @param layout Special tokens and segment ids (PairLayout).
 * @param settings max_seq_length and doc_stride.
 * @returns Windows: { ids, segments, contextStart, starts, ends }.
 */
export function buildWindows(question, context, layout, { max_seq_length: most, doc_stride: stride }) {
  const { prefix, middle, suffix } = layout;
  const room = most - prefix.length - middle.length - suffix.length - question.ids.length;
  if (room <= stride && room < context.ids.length) {
    throw new RangeError(`The question is too long: it has ${question.ids.length} tokens and leaves ${Math.max(0, room)} of ${most} for the text.`);
  }
  return slices(context.ids.length, room, stride).map(([first, end]) => {
    const ids = [...prefix, ...question.ids, ...middle, ...context.ids.slice(first, end), ...suffix];
    const contextStart = prefix.length + question.ids.length + middle.length;
    const segments = ids.map((_, at) => (at < contextStart ? layout.question_segment : layout.context_segment));
    return { ids, segments, contextStart, starts: context.starts.slice(first, end), ends: context.ends.slice(first, end) };
  });
}

/** The positions of the greatest values, of equal ones the earlier first. */
function top(values, count) {
  const order = Array.from(values.keys()).sort((one, other) => values[other] - values[one] || one - other);
  return order.slice(0, count);
}

/** The valid spans of a window, best first: [score, start token, end token]. */
function spansOf({ start, end }, window, { n_best_size: count, max_answer_length: longest }) {
  const spans = [];
  const contextEnd = window.contextStart + window.starts.length;
  const ends = top(end, count);
  for (const first of top(start, count)) {
    for (const last of ends) {
      const isValid = first >= window.contextStart && last < contextEnd && last >= first && last - first < longest;
      // Scores are added, and compared, in fp32.
      if (isValid) spans.push([Math.fround(start[first] + end[last]), first, last]);
    }
  }
  spans.sort((one, other) => other[0] - one[0] || one[1] - other[1] || one[2] - other[2]);
  return spans.slice(0, count);
}

/**
 * How likely an answer is right, as albertqa/decode/confidence.py has it; null: the model is not calibrated for it.
 *
 * @param found The candidates, best first, with "no answer" among them where that is allowed.
 * @param chosen What is answered.
 * @param nullScore The score of "no answer".
 * @param settings The reader settings.
 */
function confidenceIn(found, chosen, nullScore, settings) {
  const model = chosen ? settings.confidence?.answer : settings.confidence?.no_answer;
  const answers = found.filter((one) => one.text).slice(0, Math.max(settings.n_best_size - (settings.version_2_with_negative ? 1 : 0), 1));
  if (!model || !answers.length) return null;
  const [best] = answers;
  const distinct = answers.filter((one, at) => answers.findIndex((other) => other.start === one.start && other.end === one.end) === at);
  const others = distinct.reduce((total, one) => total + Math.exp(one.score - best.score), 0) - 1;
  const features = {
    odds: -Math.log(Math.max(others, Math.exp(-12))),
    score: best.score,
    length: Math.log(1 + [...best.text].length),
    null_margin: best.score - nullScore,
  };
  const logOdds = Object.entries(model.weights).reduce((total, [name, weight]) => total + weight * features[name], model.intercept);
  return Math.min(Math.max(1 / (1 + Math.exp(-Math.min(Math.max(logOdds, -50), 50))), 0.001), 0.999);
}

/**
 * Turn logits into an answer.
 *
 * @param windows The windows.
 * @param logits { start, end } of each, Float32Array.
 * @param text The context.
 * @param settings The reader settings (reader.json).
 * @returns { answer, probability, candidates }; answer null: no answer. A span is { text, start, end, score, probability },
 *   its offsets in UTF-16.
 */
export function decode(windows, logits, text, settings) {
  const { n_best_size: count } = settings;
  const pooled = windows.flatMap((window, at) => spansOf(logits[at], window, settings).map((span) => [...span, at]));
  pooled.sort((one, other) => other[0] - one[0] || one[3] - other[3] || one[1] - other[1] || one[2] - other[2]);
  const found = pooled.slice(0, count).map(([score, first, last, at]) => {
    const { contextStart, starts, ends } = windows[at];
    const [start, end] = [starts[first - contextStart], ends[last - contextStart]];
    return { text: text.slice(start, end), start, end, score };
  });
  let chosen = found[0]?.text ?? "";
  const score = Math.min(...logits.map(({ start, end }) => Math.fround(start[0] + end[0])));
  if (settings.version_2_with_negative) {
    if (!found.length || score - found[0].score > settings.null_score_diff_threshold) chosen = "";
    let at = 0;
    while (at < found.length && found[at].score >= score) at += 1;
    at = Math.min(at, count);
    found.splice(at, 0, { text: "", start: 0, end: 0, score });
    // The last answer makes room, but "no answer" itself is never dropped.
    if (found.length > count && at < count) found.length = count;
  }
  const most = Math.max(...found.map((one) => one.score));
  const weights = found.map((one) => Math.exp(one.score - most));
  const sum = weights.reduce((total, one) => total + one, 0);
  found.forEach((one, at) => { one.probability = weights[at] / sum; });
  // Two windows may share a span: it is listed once, where it is best.
  const distinct = found.filter((one, at) => found.findIndex((other) => other.start === one.start && other.end === one.end) === at);
  const best = distinct.find((one) => one.text === chosen) ?? null;
  const confidence = confidenceIn(found, chosen, score, settings);
  if (best && confidence !== null) {
    const own = best.probability;
    const factor = Math.min(confidence / Math.max(own, 1e-12), (1 - confidence) / Math.max(1 - own, 1e-12));
    distinct.forEach((one) => { one.probability = one === best ? confidence : one.probability * factor; });
  }
  const candidates = distinct.filter((one) => one.text);
  // Where the answer is too unlikely there is none, with the probability that it would be wrong.
  if (best?.text && best.probability < (settings.min_probability ?? 0)) return { answer: null, probability: 1 - best.probability, candidates };
  return { answer: best?.text ? best : null, probability: best?.probability ?? 0, candidates };
}

/** Make a function that answers a question about a text; `run` gives a window's logits, `onWindow` hears of each. */
export function createReader(tokenize, layout, settings, run) {
  const kept = { text: null, tokens: null };
  return async (question, text, onWindow = async () => {}) => {
    if (kept.text !== text) Object.assign(kept, { text, tokens: tokenize(text) });
    const windows = buildWindows(tokenize(question.replace(/^[\p{White_Space}\x1c-\x1f]+/u, "")), kept.tokens, layout, settings);
    const logits = [];
    for (const window of windows) {
      logits.push(await run(window));
      await onWindow(logits.length, windows.length);
    }
    return decode(windows, logits, text, settings);
  };
}
