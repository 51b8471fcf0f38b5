// @ts-check
// Shows the journal, newest line first. A shown line keeps its element, so that reading is not disturbed.

/** @typedef {import("./journal.js").Journal} Journal */
/** @typedef {import("./journal.js").Line} Line */

const ARROWS = { sent: "↑", received: "↓" };

export class JournalView {
  /** @type {Map<Line, HTMLElement>} */
  #shown = new Map();
  #isScheduled = false;

  /** @param {Journal} journal @param {HTMLDetailsElement} panel */
  constructor(journal, panel) {
    this.journal = journal;
    this.panel = panel;
    this.list = /** @type {HTMLElement} */ (panel.querySelector("ol"));
    this.filter = /** @type {HTMLInputElement} */ (panel.querySelector("input"));
    this.count = /** @type {HTMLElement} */ (panel.querySelector("summary span"));
    this.filter.addEventListener("input", () => this.#refilter());
    panel.addEventListener("toggle", () => this.render());
  }

  /** Show new lines at the next frame, if the panel is open. */
  render() {
    if (this.#isScheduled || !this.panel.open) return;
    this.#isScheduled = true;
    requestAnimationFrame(() => {
      this.#isScheduled = false;
      this.#update();
    });
  }

  #refilter() {
    this.#shown.clear();
    this.list.replaceChildren();
    this.render();
  }

  #update() {
    const lines = this.journal.find(this.filter.value);
    this.#removeAllBut(new Set(lines));
    for (const line of lines) this.#show(line);
    this.count.textContent = String(lines.length);
  }

  /** @param {Set<Line>} kept */
  #removeAllBut(kept) {
    for (const [line, element] of this.#shown) {
      if (kept.has(line)) continue;
      element.remove();
      this.#shown.delete(line);
    }
  }

  /** @param {Line} line */
  #show(line) {
    let element = this.#shown.get(line);
    if (!element) {
      element = create(line);
      this.list.prepend(element);
      this.#shown.set(line, element);
    }
    fill(element, line);
  }
}

/** @param {Line} line */
function create({ direction, type, at }) {
  const name = make("span", `${ARROWS[direction]}\u00a0${type}`);
  name.append(make("small", ""));
  const head = make("summary", "");
  head.append(name, make("time", at.toISOString().slice(14, 23)));
  const details = make("details", "");
  details.className = direction;
  details.append(head, make("pre", ""));
  const item = make("li", "");
  item.append(details);
  return item;
}

/** Update the element: a line of audio grows. @param {HTMLElement} element @param {Line} line */
function fill(element, { count, audioMs, text }) {
  const shown = element.querySelector("pre");
  if (!shown || shown.dataset.count === String(count)) return;
  shown.dataset.count = String(count);
  shown.textContent = text;
  const sum = /** @type {HTMLElement} */ (element.querySelector("small"));
  sum.textContent = audioMs ? ` × ${count}, ${(audioMs / 1000).toFixed(2)} s` : "";
}

/** @param {keyof HTMLElementTagNameMap} tag @param {string} text */
function make(tag, text) {
  return Object.assign(document.createElement(tag), { textContent: text });
}
