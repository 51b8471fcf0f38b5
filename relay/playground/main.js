// @ts-check
// Connects the parts of the page: the controller, the view and the query of the address.

import { fetchPersonas, Refused } from "./connection.js";
import { Controller } from "./controller.js";
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
  onTalk: () => (controller.state.microphone ? controller.stopTalking() : controller.talk()),
  onMessage: (text) => controller.sendMessage(text),
  onCallOutput: (callId, output) => controller.sendCallOutput(callId, output),
  onEnd: () => controller.end(),
  onRestart: () => controller.restart(),
  onPersona: () => controller.end(),
  onKey: () => showPersonas(),
});

const events = new JournalView(journal, /** @type {HTMLDetailsElement} */ (document.getElementById("events")));

const controller = new Controller({
  target: () => ({ persona: view.persona.value || wantedPersona(), key: view.key.value.trim() }),
  openSound,
  raw: query.has("raw"),
  onState: () => {
    frame ||= requestAnimationFrame(render);
  },
  onEvent: (direction, event) => {
    journal.record(direction, event);
    events.render();
  },
  onLevel: (level) => view.renderLevel(level),
});

function render() {
  frame = 0;
  view.render(controller.state);
}

function wantedPersona() {
  return query.get("persona") ?? "";
}

async function showPersonas() {
  try {
    view.renderPersonas(await fetchPersonas(view.key.value.trim()), wantedPersona());
    controller.show(null);
  } catch (error) {
    const needsKey = error instanceof Refused && error.status === UNAUTHORIZED;
    if (needsKey) view.showKey();
    if (!needsKey || view.key.value) controller.show(problems.ofPersonas(error));
  }
}

showPersonas();
