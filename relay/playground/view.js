// @ts-check
// The controls and figures of the page: shows a state, and reports the user's actions.

import { openCalls, phase } from "./conversation.js";
import { milliseconds } from "./pcm.js";
import { Transcript } from "./transcript.js";

/** @typedef {import("./connection.js").Persona} Persona */
/** @typedef {import("./conversation.js").Conversation} Conversation */
/** @typedef {import("./problems.js").Problem} Problem */

/**
 * @typedef {object} Actions
 * @property {() => void} onTalk
 * @property {(text: string) => Promise<boolean>} onMessage returns whether it was sent
 * @property {(callId: string, output: string) => void} onCallOutput
 * @property {() => void} onEnd
 * @property {() => void} onRestart
 * @property {() => void} onPersona another persona was chosen
 * @property {() => void} onKey another key was entered
 */

const PHASES = {
  ready: "Ready",
  connecting: "Connecting",
  listening: "Listening",
  thinking: "Thinking",
  speaking: "Speaking",
  ended: "Ended",
};

const WELCOME = {
  ready: ["Have a conversation.", "Press Talk and speak, or write. The answer is spoken. You may interrupt it."],
  listening: ["Say something.", "Press Talk again to turn the microphone off."],
};

export class View {
  /** @type {Persona[]} */
  #personas = [];
  /** @type {Problem | null} */
  #problem = null;

  /** @param {Actions} actions */
  constructor(actions) {
    this.actions = actions;
    this.transcript = new Transcript(find("log"), (callId, output) => {
      actions.onCallOutput(callId, output);
      this.message.focus();
    });
    this.message = /** @type {HTMLInputElement} */ (find("message"));
    this.persona = /** @type {HTMLSelectElement} */ (find("persona"));
    this.key = /** @type {HTMLInputElement} */ (find("key"));
    this.#listen();
  }

  /** @param {Conversation} state */
  render(state) {
    this.#renderControls(state);
    this.#renderFigures(state);
    this.#renderProblem(state);
    this.transcript.render(state.entries);
  }

  /** @param {number} level from 0 to 1 */
  renderLevel(level) {
    find("level").setAttribute("aria-valuenow", String(Math.round(level * 100)));
    document.body.style.setProperty("--level", level.toFixed(3));
  }

  /** @param {Persona[]} personas @param {string | null} wanted the persona to select, if it exists */
  renderPersonas(personas, wanted) {
    this.#personas = personas;
    this.persona.replaceChildren(...personas.map(({ name }) => new Option(name)));
    const chosen = personas.find(({ name }) => name === wanted) ?? personas.find((persona) => persona.default);
    if (chosen) this.persona.value = chosen.name;
    this.#describePersona();
  }

  showKey() {
    find("key-form").hidden = false;
  }

  #listen() {
    const { actions } = this;
    find("talk").addEventListener("click", actions.onTalk);
    find("end").addEventListener("click", actions.onEnd);
    onSubmit("composer", () => this.#sendMessage());
    onSubmit("key-form", actions.onKey);
    this.persona.addEventListener("change", () => {
      this.#describePersona();
      actions.onPersona();
    });
  }

  async #sendMessage() {
    const text = this.message.value.trim();
    if (!text) return;
    this.message.value = "";
    // A message that was not sent returns to the field, unless the user has written another text.
    if (!(await this.actions.onMessage(text))) this.message.value ||= text;
  }

  /** @param {Conversation} state */
  #renderControls(state) {
    const now = phase(state);
    setText("state", openCalls(state).length && now === "ready" ? "Waiting for a result" : PHASES[now]);
    find("state").dataset.state = now;
    find("talk").setAttribute("aria-pressed", String(state.microphone));
    find("end").hidden = state.connection !== "open" && state.connection !== "connecting";
    find("welcome").hidden = state.entries.length > 0;
    const [lead, how] = WELCOME[state.microphone ? "listening" : "ready"];
    setText("lead", lead);
    setText("how", how);
  }

  /** @param {Conversation} state */
  #renderFigures({ firstAudioMs, heardSamples, usage }) {
    setText("first-audio", firstAudioMs === null ? "–" : `${firstAudioMs} ms`);
    setText("heard", heardSamples ? `${(milliseconds(heardSamples) / 1000).toFixed(1)} s` : "–");
    find("heard").dataset.samples = String(heardSamples);
    setText("cost", usage?.costUsd ? `${usage.estimated ? "≈ " : ""}$${usage.costUsd}` : "–");
    for (const cell of document.querySelectorAll("[data-kind]")) {
      const count = usage?.tokens[/** @type {HTMLElement} */ (cell).dataset.kind ?? ""];
      cell.textContent = count ? count.toLocaleString("en") : "–";
    }
  }

  /** @param {Conversation} state */
  #renderProblem({ problem, connection }) {
    if (problem === this.#problem) return;
    this.#problem = problem;
    const parts = problem ? [text("strong", problem.title), text("p", problem.advice), text("small", problem.detail)] : [];
    find("problem").replaceChildren(...parts);
    if (problem && connection === "ended") find("problem").append(this.#restartButton());
  }

  #restartButton() {
    const button = text("button", "Start again");
    button.addEventListener("click", () => {
      this.actions.onRestart();
      // The button is removed: move the focus to a control that stays.
      find("talk").focus();
    });
    return button;
  }

  #describePersona() {
    const chosen = this.#personas.find(({ name }) => name === this.persona.value);
    setText("persona-description", chosen?.description ?? "");
  }
}

/** @param {keyof HTMLElementTagNameMap} tag @param {string} content */
function text(tag, content) {
  return Object.assign(document.createElement(tag), { textContent: content });
}

/** @param {string} id @returns {HTMLElement} */
function find(id) {
  return /** @type {HTMLElement} */ (document.getElementById(id));
}

/** Set a text only if it differs, because a screen reader reads every change. @param {string} id @param {string} content */
function setText(id, content) {
  const element = find(id);
  if (element.textContent !== content) element.textContent = content;
}

/** @param {string} id @param {() => void} act */
function onSubmit(id, act) {
  find(id).addEventListener("submit", (event) => {
    event.preventDefault();
    act();
  });
}
