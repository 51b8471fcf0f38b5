// @ts-check
// What went wrong, in words: what happened, what the relay said, and what to do.

import { Refused } from "./connection.js";

/** @typedef {import("./connection.js").Closed} Closed */
/** @typedef {{title: string, detail: string, advice: string}} Problem */

/** By the `code` of the relay's error: what happened, and what to do. @type {Record<string, [string, string]>} */
const REFUSALS = {
  invalid_api_key: ["The relay does not know this key", "Check the key above, and start again."],
  persona_not_allowed: ["This key may not use that persona", "Choose another persona."],
  persona_not_found: ["There is no such persona", "Choose another persona."],
  origin_not_allowed: ["This page may not connect", "Open it at the relay's own address."],
  session_limit_reached: ["Too many conversations are open", "End another one, or wait a little."],
  rate_limit_exceeded: ["Too many conversations in a short time", "Wait a minute, and start again."],
  budget_exhausted: ["The budget is spent", "The relay's operator sets it; it may be a new one tomorrow."],
  relay_full: ["The relay is full", "Start again in a few seconds."],
  relay_draining: ["The relay is restarting", "Start again in a few seconds."],
  upstream_unavailable: ["The model cannot be reached", "Start again in a few seconds."],
  upstream_timeout: ["The model did not answer in time", "Start again in a few seconds."],
  upstream_refused: ["The provider refuses the relay", "The relay's operator finds the reason in its log."],
  persona_rejected: ["The provider refuses this persona", "Choose another; the reason is in the relay's log."],
  upstream_lost: ["The connection to the model was lost", "Start again."],
  session_idle: ["Nobody spoke for a while", "The conversation was ended. Start again when you like."],
  session_expired: ["The conversation reached its longest time", "Start again for a new one."],
};

/** By the close code, when no error came with it. @type {Record<number, [string, string]>} */
const CLOSURES = {
  1001: REFUSALS.session_expired,
  1012: REFUSALS.relay_draining,
  1013: ["The connection was too slow", "Start again, perhaps from a better network."],
  3000: REFUSALS.invalid_api_key,
  4408: REFUSALS.session_idle,
  4429: ["The relay's limits were reached", "Wait a little, and start again."],
};

/** @type {[string, string]} */
const LOST = ["The relay is gone", "Check that it is running and that you are online, then start again."];

/** @type {[string, string]} */
const UNREACHABLE = [
  "The relay cannot be reached",
  "Check that it is running. If it is, it refuses this page: open it at the relay's own address.",
];

/** @type {[string, string]} */
const UNEXPECTED = ["The conversation ended", "Start again."];

/** By the name of the browser's error. @type {Record<string, [string, string]>} */
const MICROPHONE = {
  NotAllowedError: [
    "The microphone was refused",
    "Allow it for this page in the browser, beside the address, and press Talk. Or write instead.",
  ],
  NotFoundError: ["There is no microphone", "Connect one and press Talk, or write instead."],
  NotReadableError: ["The microphone is busy", "Close what else uses it and press Talk, or write instead."],
  NotSupportedError: [
    "This browser cannot record at 24 kHz",
    "Firefox cannot, yet. Use Chrome, Edge or Safari, or write instead.",
  ],
  SecurityError: [
    "Browsers keep microphone and sound from this address",
    "Open the page at localhost or by https. Writing works; answers come as text.",
  ],
};

/** Tell whether the relay closes the session after this error. @param {string} code */
export function endsSession(code) {
  return code in REFUSALS;
}

/** Say why a connection ended. @param {Closed} closed @returns {Problem} */
export function ofClosure({ code, opened, error }) {
  const known = (error && REFUSALS[error.code]) || CLOSURES[code];
  const [title, advice] = known ?? (code === 1006 ? (opened ? LOST : UNREACHABLE) : UNEXPECTED);
  const said = error ? `${error.message} (${error.code}, ${code})` : `The connection closed with code ${code}.`;
  return { title, detail: said, advice };
}

/** Say why the personas are not known. @param {unknown} error @returns {Problem} */
export function ofPersonas(error) {
  if (!(error instanceof Refused)) {
    return { title: LOST[0], detail: "It does not answer.", advice: "Start it, and load this page again." };
  }
  const [title, advice] = REFUSALS[error.code] ?? ["The relay does not tell its personas", "Load this page again."];
  return { title, detail: `${error.message} (${error.code}, ${error.status})`, advice };
}

/** Say why there is no microphone. @param {unknown} error @returns {Problem} */
export function ofMicrophone(error) {
  const { name, message } = /** @type {Error} */ (error);
  const [title, advice] = MICROPHONE[name] ?? ["The microphone does not work", "Write instead."];
  return { title, detail: message ? `${message} (${name})` : name, advice };
}

/** @type {Problem} */
export const MICROPHONE_GONE = {
  title: "The microphone is gone",
  detail: "It was unplugged, or the browser took it back.",
  advice: "Connect it and press Talk, or write instead.",
};

/** @type {Problem} */
export const UNSENDABLE_KEY = {
  title: "A browser cannot send this key",
  detail: "It may have letters, digits and - . _ ~ only.",
  advice: "Check the key above.",
};
