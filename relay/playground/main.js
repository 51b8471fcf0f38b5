// @ts-check
// Wires the page: the conductor to the view, and the address to both.

import { Conductor } from "./conductor.js";
import { fetchPersonas, Refused } from "./connection.js";
import { Journal } from "./journal.js";
import { JournalView } from "./journal-view.js";
import * as problems from "./problems.js";
import { openSound } from "./sound.js";
import { View } from "./view.js";

const UNAUTHORIZED = 401;

const query = new URLSearchParams(location.search);
const journal = new Journal();
let frame = 0;

const view = new View({
  onTalk: () => (conductor.state.microphone ? conductor.hush() : conductor.talk()),
  onWrite: (text) => conductor.write(text),
  onAnswer: (callId, output) => conductor.answer(callId, output),
  onEnd: () => conductor.end(),
  onRestart: () => conductor.restart(),
  onPersona: () => conductor.end(),
  onKey: () => showPersonas(),
});

const events = new JournalView(journal, /** @type {HTMLDetailsElement} */ (document.getElementById("events")));

const conductor = new Conductor({
  caller: () => ({ persona: view.persona.value || wantedPersona(), key: view.key.value.trim() }),
  openSound,
  raw: query.has("raw"),
  onState: () => {
    frame ||= requestAnimationFrame(render);
  },
  onEvent: (direction, event) => {
    journal.write(direction, event);
    events.render();
  },
  onLevel: (level) => view.renderLevel(level),
});

function render() {
  frame = 0;
  view.render(conductor.state);
}

function wantedPersona() {
  return query.get("persona") ?? "";
}

async function showPersonas() {
  try {
    view.renderPersonas(await fetchPersonas(view.key.value.trim()), wantedPersona());
    conductor.show(null);
  } catch (error) {
    const needsKey = error instanceof Refused && error.status === UNAUTHORIZED;
    if (needsKey) view.showKey();
    if (!needsKey || view.key.value) conductor.show(problems.ofPersonas(error));
  }
}

showPersonas();
