// @ts-check
// Shows the entries of a conversation. Each has its own element, which is updated in place.

/** @typedef {import("./conversation.js").Entry} Entry */
/** @typedef {(callId: string, output: string) => void} OnOutput */

/** Example outputs for the functions of the relay's own personas. @type {Record<string, string>} */
const EXAMPLES = { opening_hours: '{"open": "08:00", "close": "18:00"}' };
const EXAMPLE = '{"result": "done"}';

export class Transcript {
  /** @type {Map<string, {entry: Entry, element: HTMLElement}>} */
  #shown = new Map();

  /** @param {HTMLElement} log @param {OnOutput} onOutput */
  constructor(log, onOutput) {
    this.log = log;
    this.onOutput = onOutput;
  }

  /** @param {Entry[]} entries */
  render(entries) {
    const wasAtEnd = this.log.scrollHeight - this.log.scrollTop - this.log.clientHeight < 48;
    let changed = false;
    for (const entry of entries) changed = this.#show(entry) || changed;
    if (changed && wasAtEnd) this.log.scrollTop = this.log.scrollHeight;
  }

  /** @param {Entry} entry @returns {boolean} whether anything changed */
  #show(entry) {
    const shown = this.#shown.get(entry.id);
    if (shown?.entry === entry) return false;
    const element = shown?.element ?? this.log.appendChild(this.#create(entry));
    this.#shown.set(entry.id, { entry, element });
    fill(element, entry);
    return true;
  }

  /** @param {Entry} entry */
  #create(entry) {
    const element = make("article", { className: `entry ${entry.kind}` });
    const speaker = make("p", {
      className: "speaker",
      textContent: entry.kind === "call" ? `${entry.speaker} calls` : entry.speaker,
    });
    const text = make(entry.kind === "call" ? "code" : "p", { className: "text" });
    element.append(...(entry.kind === "note" ? [] : [speaker]), text);
    if (entry.kind === "call") element.append(this.#form(entry));
    element.append(make("p", { className: "aside" }));
    return element;
  }

  /** @param {Entry} call */
  #form({ callId, name }) {
    const form = make("form", {});
    const hint = make("p", {
      className: "hint",
      textContent: "The client runs this function. On this page you are the client: write the output of the function.",
    });
    const result = make("textarea", { rows: 2, spellcheck: false, value: EXAMPLES[name ?? ""] ?? EXAMPLE });
    result.setAttribute("aria-label", `Result of ${name}`);
    form.append(hint, result, make("button", { type: "submit", textContent: "Send result" }));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.onOutput(callId ?? "", result.value);
    });
    return form;
  }
}

/** @param {HTMLElement} element @param {Entry} entry */
function fill(element, entry) {
  // A screen reader reads a complete entry, not every letter that is added.
  element.setAttribute("aria-busy", String(!entry.done));
  set(element, ".text", textOf(entry));
  set(element, ".aside", factsOf(entry));
  const form = element.querySelector("form");
  if (form) form.hidden = !entry.done || entry.output !== undefined || Boolean(entry.lapsed);
}

/** @param {Entry} entry */
function textOf(entry) {
  if (entry.kind === "call") return `${entry.name}(${entry.text})`;
  return entry.text || "…";
}

/** @param {Entry} entry */
function factsOf({ firstAudioMs, interruptedMs, output, kind, lapsed }) {
  const facts = [];
  if (firstAudioMs !== undefined) facts.push(`first audio after ${firstAudioMs} ms`);
  if (interruptedMs !== undefined) facts.push(`interrupted after ${(interruptedMs / 1000).toFixed(1)} s`);
  if (output !== undefined) facts.push(`returned ${output}`);
  if (kind === "call" && lapsed && output === undefined) facts.push("never answered");
  return facts.join(" · ");
}

/** @param {HTMLElement} element @param {string} selector @param {string} text */
function set(element, selector, text) {
  const target = /** @type {HTMLElement} */ (element.querySelector(selector));
  if (target.textContent !== text) target.textContent = text;
}

/**
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Partial<HTMLElementTagNameMap[Tag]>} properties
 * @returns {HTMLElementTagNameMap[Tag]}
 */
function make(tag, properties) {
  return Object.assign(document.createElement(tag), properties);
}
