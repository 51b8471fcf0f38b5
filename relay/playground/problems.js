// @ts-check
// Problems in words: a title, the detail from the relay or the browser, and advice.

import { Refused } from "./connection.js";

/** @typedef {import("./connection.js").Closed} Closed */
/** @typedef {{title: string, detail: string, advice: string}} Problem */

/** Title and advice, by the `code` of the relay's error. @type {Record<string, [string, string]>} */
const REFUSALS = {
  invalid_api_key: ["The relay does not know this key", "Check the key above, and start again."],
  persona_not_allowed: ["This key may not use that persona", "Choose another persona."],
  persona_not_found: ["There is no such persona", "Choose another persona."],
  origin_not_allowed: ["This page may not connect", "Open it at the relay's own address."],
  session_limit_reached: ["Too many conversations are open", "End another one, or wait a little."],
  rate_limit_exceeded: ["Too many conversations in a short time", "Wait a minute, and start again."],
  budget_exhausted: ["The budget is spent", "The relay's operator sets it. A daily budget starts again tomorrow."],
  relay_full: ["The relay is full", "Start again in a few seconds."],
  relay_draining: ["The relay is restarting", "Start again in a few seconds."],
  upstream_unavailable: ["The model cannot be reached", "Start again in a few seconds."],
  upstream_timeout: ["The model did not answer in time", "Start again in a few seconds."],
  upstream_refused: ["The provider refuses the relay", "The reason is in the relay's log."],
  persona_rejected: ["The provider refuses this persona", "Choose another persona. The reason is in the relay's log."],
  upstream_lost: ["The connection to the model was lost", "Start again."],
  session_idle: ["The conversation was silent for too long", "The relay ended it. Start again when you like."],
  session_expired: ["The conversation reached its maximum length", "Start again."],
};

/** Title and advice, by the close code, if no error came before the close. @type {Record<number, [string, string]>} */
const CLOSURES = {
  1001: REFUSALS.session_expired,
  1012: REFUSALS.relay_draining,
  1013: ["The connection was too slow", "Start again. A faster network may help."],
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

/** Title and advice, by the name of the browser's error. @type {Record<string, [string, string]>} */
const MICROPHONE = {
  NotAllowedError: [
    "The microphone was refused",
    "Allow it for this page, beside the browser's address field, and press Talk. Or write instead.",
  ],
  NotFoundError: ["There is no microphone", "Connect one and press Talk, or write instead."],
  NotReadableError: ["The microphone is busy", "Close the other program that uses it and press Talk, or write instead."],
  NotSupportedError: [
    "This browser cannot record at 24 kHz",
    "Firefox cannot do it yet. Use Chrome, Edge or Safari, or write instead.",
  ],
  SecurityError: [
    "Browsers allow no microphone and no sound at this address",
    "Open the page at localhost or with https. You can write here, and read the answers.",
  ],
};

/** Return whether the relay closes the session after this error. @param {string} code */
export function endsSession(code) {
  return code in REFUSALS;
}

/** Return the problem that ended a connection. @param {Closed} closed @returns {Problem} */
export function ofClosure({ code, opened, error }) {
  const known = (error && REFUSALS[error.code]) || CLOSURES[code];
  const [title, advice] = known ?? (code === 1006 ? (opened ? LOST : UNREACHABLE) : UNEXPECTED);
  const detail = error ? `${error.message} (${error.code}, ${code})` : `The connection closed with code ${code}.`;
  return { title, detail, advice };
}

/** Return the problem that prevented the list of personas. @param {unknown} error @returns {Problem} */
export function ofPersonas(error) {
  if (!(error instanceof Refused)) {
    return { title: LOST[0], detail: "It does not answer.", advice: "Start it, and load this page again." };
  }
  const [title, advice] = REFUSALS[error.code] ?? ["The relay did not send its personas", "Load this page again."];
  return { title, detail: `${error.message} (${error.code}, ${error.status})`, advice };
}

/** Return the problem with the microphone or the sound. @param {unknown} error @returns {Problem} */
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
  detail: "A key may contain only letters, digits and - . _ ~",
  advice: "Check the key above.",
};
