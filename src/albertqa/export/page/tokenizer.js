// A tokenizer.json in the browser: the same token ids as Python's `tokenizers`, and the characters of each token, which
// the packages of npm do not give. Unigram (ALBERT, XLM-RoBERTa) and WordPiece (BERT, ELECTRA, DistilBERT).
//
// A text is a list of characters, each with its place in the text that it came from; each step makes another list.
// Places count code points, as in Python.

const MARK = /^\p{M}$/u;
const NONSPACING_MARK = /^\p{Mn}$/u;
const OTHER = /^\p{C}$/u;
const PUNCTUATION = /^[\p{P}$+<=>^`|~]$/u;
const WHITE_SPACE = /^\p{White_Space}$/u;
const IDEOGRAPH = /^[\u4e00-\u9fff\u3400-\u4dbf\u{20000}-\u{2a6df}\u{2a700}-\u{2b73f}\u{2b740}-\u{2b81f}\u{2b920}-\u{2ceaf}\uf900-\ufaff\u{2f800}-\u{2fa1f}]$/u;
// What Python's str.isspace knows beyond Unicode's white space.
const PYTHON_SPACE = /^[\p{White_Space}\x1c-\x1f]$/u;
// What may make one grapheme with a space behind it (Unicode's Prepend).
const PREPEND = /^[\u0600-\u0605\u06dd\u070f\u0890\u0891\u08e2\u0d4e\u{110bd}\u{110cd}\u{111c2}\u{111c3}\u{113d1}\u{1193f}\u{11941}\u{11a3a}\u{11a84}-\u{11a89}\u{11d46}\u{11f02}]$/u;
const CJK = /^[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}]$/u;
const UNKNOWN_PENALTY = 10;

// Normalizers: a list of [character, place] to another one.

/** Decompose, or compose, in a form of Unicode; what is added has the place of what it was made of. */
function unicode(form) {
  return (chars) => {
    const made = [];
    for (let first = 0; first < chars.length; ) {
      let end = first + 1;
      // What may change together: a character and the marks behind it, or the parts of a Hangul syllable.
      while (end < chars.length && (MARK.test(chars[end][0]) || /^[\u1160-\u11ff]$/.test(chars[end][0]))) end += 1;
      const part = chars.slice(first, end);
      const whole = [...part.map(([char]) => char).join("").normalize(form)];
      const places = form.endsWith("D")
        ? part.flatMap(([char, place]) => [...char.normalize(form)].map(() => place))
        : whole.map((_, at) => part[Math.min(at, part.length - 1)][1]);
      whole.forEach((char, at) => made.push([char, places[Math.min(at, places.length - 1)]]));
      first = end;
    }
    return made;
  };
}

const without = (pattern) => (chars) => chars.filter(([char]) => !pattern.test(char));

const lowercase = (chars) => chars.flatMap(([char, place]) => [...char.toLowerCase()].map((one) => [one, place]));

/** Replace a text, or runs of spaces. What comes instead has the place of the last character that it replaces. */
function replace({ pattern, content }) {
  const isSpaces = pattern.String === undefined;
  const searched = isSpaces ? [" ", " "] : [...pattern.String];
  return (chars) => {
    const made = [];
    for (let at = 0; at < chars.length; ) {
      if (!searched.every((char, index) => chars[at + index]?.[0] === char)) {
        made.push(chars[at]);
        at += 1;
        continue;
      }
      let end = at + searched.length;
      while (isSpaces && chars[end]?.[0] === " ") end += 1;
      for (const char of content) made.push([char, chars[end - 1][1]]);
      at = end;
    }
    return made;
  };
}

/** Cut a text where a grapheme surely ends: browsers take long over the graphemes of a long text. */
function runs(chars) {
  const found = [];
  chars.forEach((char, at) => {
    const before = chars[at - 1];
    const isSpace = WHITE_SPACE.test(char) && !(before === "\r" && char === "\n") && !PREPEND.test(before);
    if (!at || isSpace || (CJK.test(before) && CJK.test(char))) found.push(char);
    else found[found.length - 1] += char;
  });
  return found;
}

/** SentencePiece's own table: a trie in two arrays in one, and the texts that its values point to. */
function precompiled({ precompiled_charsmap: encoded }) {
  const bytes = Uint8Array.from(atob(encoded), (char) => char.charCodeAt(0));
  const view = new DataView(bytes.buffer);
  const trieBytes = view.getUint32(0, true);
  const unit = (at) => view.getUint32(4 + 4 * at, true);
  const texts = bytes.subarray(4 + trieBytes);
  const offset = (value) => (value >>> 10) << ((value & 0x200) >>> 6);
  const encoder = new TextEncoder();
  const decoder = new TextDecoder();
  const known = new Map();

  /** Return what a text becomes by its shortest beginning that the table has; null: it stays. */
  function transformed(text) {
    let at = offset(unit(0));
    for (const byte of encoder.encode(text)) {
      // A byte of 0 ends the library's search.
      if (byte === 0) return null;
      at ^= byte;
      const value = unit(at);
      if ((value & 0x800000ff) >>> 0 !== byte) return null;
      at ^= offset(value);
      if ((value >>> 8) & 1) {
        const first = unit(at) & 0x7fffffff;
        return [...decoder.decode(texts.subarray(first, texts.indexOf(0, first)))];
      }
    }
    return null;
  }

  const lookUp = (text) => {
    if (!known.has(text)) known.set(text, transformed(text));
    return known.get(text);
  };
  const segmenter = new Intl.Segmenter("und", { granularity: "grapheme" });
  return (chars) => {
    const made = [];
    let at = 0;
    // What the table drops at the very beginning moves the places of all that follows, as in the library.
    let dropped = 0;
    const put = (text, count) => {
      text.forEach((char, index) => made.push([char, chars[at - dropped + Math.min(index, count - 1)][1]]));
      at += count;
      if (!made.length) dropped += count;
    };
    for (const run of runs(chars.map(([char]) => char))) {
      for (const { segment } of segmenter.segment(run)) {
        const parts = [...segment];
        const whole = parts.length > 1 && encoder.encode(segment).length < 6 ? lookUp(segment) : null;
        if (whole) put(whole, parts.length);
        else for (const part of parts) put(lookUp(part) ?? [part], 1);
      }
    }
    return made;
  };
}

function bert({ clean_text: cleans, handle_chinese_chars: splits, strip_accents: strips, lowercase: lowers }) {
  const steps = [];
  if (cleans) {
    const isBad = (char) => char === "\0" || char === "\ufffd" || (!"\t\n\r".includes(char) && OTHER.test(char));
    steps.push((chars) => chars.filter(([char]) => !isBad(char)));
    steps.push((chars) => chars.map(([char, place]) => [WHITE_SPACE.test(char) ? " " : char, place]));
  }
  if (splits) {
    steps.push((chars) => chars.flatMap(([char, place]) => (IDEOGRAPH.test(char) ? [[" ", place], [char, place], [" ", place]] : [[char, place]])));
  }
  if (strips ?? lowers) steps.push(unicode("NFD"), without(NONSPACING_MARK));
  if (lowers) steps.push(lowercase);
  return inTurn(steps);
}

const inTurn = (steps) => (value) => steps.reduce((found, step) => step(found), value);

function normalizer(config) {
  switch (config?.type) {
    case undefined: return (chars) => chars;
    case "Sequence": return inTurn(config.normalizers.map(normalizer));
    case "NFC": case "NFD": case "NFKC": case "NFKD": return unicode(config.type);
    case "StripAccents": return without(MARK);
    case "Lowercase": return lowercase;
    case "Replace": return replace(config);
    case "Precompiled": return precompiled(config);
    case "BertNormalizer": return bert(config);
    default: throw new Error(`the tokenizer's normalizer ${config.type} is not known here`);
  }
}

// Pre-tokenizers: a list of words, each a list of [character, place], to another one.

/** Cut words where a character is, which is dropped, or a word of its own. */
const cut = (isBorder, { keeps }) => (words) => words.flatMap((word) => {
  const parts = [[]];
  for (const char of word) {
    if (!isBorder(char[0])) parts.at(-1).push(char);
    else if (keeps) parts.push([char], []);
    else parts.push([]);
  }
  return parts.filter((part) => part.length);
});

function metaspace({ replacement, prepend_scheme: scheme = "always", split = true }) {
  const isMarked = ([char, place]) => char !== replacement && (scheme === "always" || (scheme === "first" && place === 0));
  const startsWord = (word) => (isMarked(word[0]) ? [[replacement, word[0][1]], ...word] : word);
  return (words) => words.flatMap((word) => {
    const marked = startsWord(word.map(([char, place]) => [char === " " ? replacement : char, place]));
    if (!split) return [marked];
    const parts = [];
    for (const char of marked) {
      if (char[0] === replacement || !parts.length) parts.push([]);
      parts.at(-1).push(char);
    }
    return parts;
  });
}

function preTokenizer(config) {
  switch (config?.type) {
    case undefined: return (words) => words;
    case "Sequence": return inTurn(config.pretokenizers.map(preTokenizer));
    case "WhitespaceSplit": return cut((char) => WHITE_SPACE.test(char), { keeps: false });
    case "BertPreTokenizer":
      return inTurn([cut((char) => WHITE_SPACE.test(char), { keeps: false }), cut((char) => PUNCTUATION.test(char), { keeps: true })]);
    case "Metaspace": return metaspace(config);
    default: throw new Error(`the tokenizer's pre-tokenizer ${config.type} is not known here`);
  }
}

// Models: a word's characters to its tokens, each [id, first character, character after the last one].

function wordPiece({ vocab, unk_token: unknown, continuing_subword_prefix: prefix, max_input_chars_per_word: most }) {
  const ids = new Map(Object.entries(vocab));
  return (chars) => {
    const tokens = [];
    for (let first = 0; first < chars.length; ) {
      let end = chars.length > most ? first : chars.length;
      const piece = () => (first ? prefix : "") + chars.slice(first, end).join("");
      while (end > first && !ids.has(piece())) end -= 1;
      if (end === first) return [[ids.get(unknown), 0, chars.length]];
      tokens.push([ids.get(piece()), first, end]);
      first = end;
    }
    return tokens;
  };
}

/** The most probable way to cut a word; characters that no piece has are unknown, and one token where they are neighbours. */
function unigram({ vocab, unk_id: unknown }, special) {
  const root = new Map();
  vocab.forEach(([piece, score], id) => {
    if (special.has(piece)) return;
    let node = root;
    for (const char of piece) {
      if (!node.has(char)) node.set(char, new Map());
      node = node.get(char);
    }
    // Of two equal pieces the last one counts, as in the library.
    node.id = id;
    node.score = score;
  });
  const unknownScore = vocab.reduce((least, [, score]) => Math.min(least, score), Infinity) - UNKNOWN_PENALTY;
  return (chars) => {
    const best = Array.from({ length: chars.length + 1 }, () => null);
    best[0] = { score: 0 };
    for (let first = 0; first < chars.length; first += 1) {
      const offer = (end, id, score) => {
        const total = best[first].score + score;
        if (!best[end] || total > best[end].score) best[end] = { score: total, first, id };
      };
      let isKnown = false;
      for (let node = root.get(chars[first]), end = first + 1; node; node = node.get(chars[end]), end += 1) {
        if (node.id === undefined) continue;
        offer(end, node.id, node.score);
        isKnown ||= end === first + 1;
      }
      if (!isKnown) offer(first + 1, unknown, unknownScore);
    }
    const tokens = [];
    for (let end = chars.length; end > 0; end = best[end].first) {
      const { id, first } = best[end];
      if (id === unknown && tokens[0]?.[0] === unknown) tokens[0][1] = first;
      else tokens.unshift([id, first, end]);
    }
    return tokens;
  };
}

/** Move the tokens' borders so that every character but white space belongs to a token: see albertqa/windows/offsets.py. */
export function tokenCharacters(chars, starts, ends) {
  const space = chars.map((char) => PYTHON_SPACE.test(char));
  const numChars = chars.length;
  const last = numChars - 1;
  for (let isMoved = true; isMoved; ) {
    isMoved = false;
    for (let token = 0; token < starts.length; token += 1) {
      if (!(starts[token] < ends[token] && space[Math.min(starts[token], last)])) continue;
      isMoved = true;
      starts[token] += 1;
      if (starts[token] === ends[token] && ends[token] <= last) ends[token] += 1;
    }
  }
  const toStart = Array.from({ length: numChars + 1 }, (_, at) => at);
  const toEnd = toStart.slice();
  for (let token = 0, covered = 0; token <= starts.length && starts.length; token += 1) {
    const begin = token < starts.length ? starts[token] : numChars;
    let hasText = false;
    for (let at = covered; at < begin && !hasText; at += 1) hasText = !space[at];
    if (hasText) {
      const isLast = token === starts.length;
      let afterSpace = begin;
      while (afterSpace > covered && !space[afterSpace - 1]) afterSpace -= 1;
      let split = afterSpace > covered && !isLast ? afterSpace : begin;
      const isPair = split === begin && !isLast && chars[begin - 1] === chars[Math.min(begin, last)];
      if (token === 0) split = space.indexOf(false);
      else if (isPair) split -= 1;
      let afterText = split;
      while (afterText > 0 && space[afterText - 1]) afterText -= 1;
      toEnd[covered] = Math.max(covered, afterText);
      toStart[begin] = split;
    }
    if (token < starts.length) covered = Math.max(covered, ends[token]);
  }
  return [starts.map((at) => toStart[at]), ends.map((at) => toEnd[at])];
}

/**
 * Make a tokenizer.
 *
 * @param content What tokenizer.json holds.
 * @param special Spellings of its special tokens; a text that spells one is plain text.
 * @returns A function from a text to { ids, starts, ends }: token ids, and the characters (UTF-16) of each token.
 */
export function createTokenizer(content, special) {
  const normalize = normalizer(content.normalizer);
  const split = preTokenizer(content.pre_tokenizer);
  const { model } = content;
  const isUnigram = Array.isArray(model.vocab);
  const encode = isUnigram ? unigram(model, new Set(special)) : wordPiece(model);
  return (text) => {
    const chars = [...text];
    const normalized = normalize(chars.map((char, place) => [char, place]));
    const ids = [];
    const starts = [];
    const ends = [];
    for (const word of normalized.length ? split([normalized]) : []) {
      for (const [id, first, end] of encode(word.map(([char]) => char))) {
        ids.push(id);
        starts.push(word[first][1]);
        ends.push(word[end - 1][1] + 1);
      }
    }
    const [startChars, endChars] = tokenCharacters(chars, starts, ends);
    const units = [0];
    for (const char of chars) units.push(units.at(-1) + char.length);
    return { ids, starts: startChars.map((at) => units[at]), ends: endChars.map((at) => units[at]) };
  };
}
