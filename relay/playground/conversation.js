// @ts-check
// What was said and what is going on, as a value: events in, the next state out.

import { endsSession } from "./problems.js";

/** @typedef {import("./connection.js").Event} Event */
/** @typedef {import("./problems.js").Problem} Problem */

/**
 * @typedef {object} Entry one line of the conversation
 * @property {string} id
 * @property {"user" | "assistant" | "call" | "note"} kind
 * @property {string} who speaks, or calls a function
 * @property {string} text what was said; of a call, its arguments
 * @property {boolean} done nothing will be added to it
 * @property {string} [name] of the function that is called
 * @property {string} [callId]
 * @property {string} [output] what was given back to a call
 * @property {boolean} [lapsed] nobody can answer the call any more
 * @property {number} [firstAudioMs] from the end of the user's turn to the first sound
 * @property {number} [interruptedMs] how much of it was heard
 */

/**
 * @typedef {object} Usage
 * @property {Record<string, number>} tokens by kind
 * @property {string | null} costUsd a decimal; null if there are no prices
 * @property {boolean} estimated some of it
 */

/**
 * @typedef {object} Conversation
 * @property {"idle" | "connecting" | "open" | "ended"} connection
 * @property {string} persona whom the user speaks with
 * @property {any} session the API's session object, as far as the relay shows it
 * @property {boolean} microphone it is on
 * @property {boolean} hearing the user is speaking
 * @property {boolean} awaited an answer is on its way
 * @property {{id: string, audioItem: string | null} | null} response the one that is being given
 * @property {boolean} playing
 * @property {number} heardSamples
 * @property {number | null} askedAt when the user's turn ended, in ms
 * @property {number | null} firstAudioMs of the last turn
 * @property {Usage | null} usage
 * @property {Entry[]} entries
 * @property {Problem | null} problem
 */

/** Errors that only say that two messages crossed on the way. */
const CROSSED = new Set(["response_cancel_not_active", "conversation_already_has_active_response"]);

const UNWRITTEN = "(not written down)";

const FRESH = {
  persona: "",
  session: null,
  hearing: false,
  awaited: false,
  response: null,
  playing: false,
  heardSamples: 0,
  askedAt: null,
  firstAudioMs: null,
  usage: null,
};

/** @type {Conversation} */
export const EMPTY = { connection: "idle", microphone: false, entries: [], problem: null, ...FRESH };

/**
 * What the page shows of it in one word.
 * @param {Conversation} state
 * @returns {"ready" | "connecting" | "listening" | "thinking" | "speaking" | "ended"}
 */
export function phase(state) {
  if (state.connection === "idle") return "ready";
  if (state.connection !== "open") return state.connection;
  if (state.hearing) return "listening";
  if (state.playing || state.response?.audioItem) return "speaking";
  if (state.response || state.awaited) return "thinking";
  return state.microphone ? "listening" : "ready";
}

/** Return the calls that this page has to answer. @param {Conversation} state */
export function openCalls({ entries }) {
  return entries.filter((entry) => entry.kind === "call" && entry.output === undefined && !entry.lapsed);
}

/** Tell whether this page can speak with the persona. @param {Conversation} state */
export function speaksPcm({ session }) {
  const formats = [session?.audio?.input?.format, session?.audio?.output?.format];
  return formats.every((format) => (format?.type ?? "audio/pcm") === "audio/pcm");
}

/** Tell whether the persona only writes down what it hears. @param {Conversation} state */
export function transcribes({ session }) {
  return session?.type === "transcription";
}

/** Start anew; what was said before stays to be read. @param {Conversation} state @param {string} persona */
export function connecting(state, persona) {
  return { ...state, ...FRESH, persona, connection: /** @type {const} */ ("connecting"), problem: null };
}

/** @param {Conversation} state @param {Problem | null} problem @returns {Conversation} */
export function ended(state, problem) {
  const entries = state.entries.map((entry) => ({ ...entry, done: true, lapsed: true }));
  const quiet = { hearing: false, awaited: false, response: null, microphone: false };
  return { ...state, ...quiet, connection: "ended", entries, problem };
}

/** @param {Conversation} state @param {string} text @returns {Conversation} */
export function noted(state, text) {
  return { ...state, entries: [...state.entries, note(state.entries, text)] };
}

/**
 * @param {Conversation} state
 * @param {Event} event from the relay
 * @param {number} now in ms
 * @returns {Conversation}
 */
export function received(state, event, now) {
  const react = reactions[event.type];
  return react ? { ...state, ...react(state, event, now) } : state;
}

/**
 * @param {Conversation} state
 * @param {Event} event to the relay
 * @param {number} now in ms
 * @returns {Conversation}
 */
export function sent(state, event, now) {
  if (event.type === "response.create") return { ...state, awaited: true, askedAt: now };
  const isOutput = event.item?.type === "function_call_output";
  return isOutput ? { ...state, entries: withItem(state, event.item) } : state;
}

/** @type {Record<string, (state: Conversation, event: Event, now: number) => Partial<Conversation>>} */
const reactions = {
  "session.created": (state, { session }) => ({
    ...(state.entries.length && noted(state, `A new conversation, with ${state.persona}`)),
    connection: "open",
    session,
  }),
  "input_audio_buffer.speech_started": () => ({ hearing: true, askedAt: null }),
  "input_audio_buffer.speech_stopped": (state, _, now) => ({
    hearing: false,
    askedAt: now,
    awaited: !transcribes(state) && state.session?.audio?.input?.turn_detection?.create_response !== false,
  }),
  "conversation.item.added": (state, { item }) => ({ entries: withItem(state, item) }),
  "conversation.item.done": (state, { item }) =>
    isWrittenDown(state, item) ? {} : change(state, item.id, ({ text }) => ({ text: text || UNWRITTEN, done: true })),
  "conversation.item.truncated": (state, event) =>
    change(state, event.item_id, () => ({ interruptedMs: event.audio_end_ms })),
  "conversation.item.input_audio_transcription.delta": append,
  "conversation.item.input_audio_transcription.completed": (state, event) =>
    change(state, event.item_id, () => ({ text: event.transcript.trim(), done: true })),
  "conversation.item.input_audio_transcription.failed": (state, event) =>
    change(state, event.item_id, () => ({ text: UNWRITTEN, done: true })),
  "response.created": (_, { response }) => ({
    awaited: false,
    response: { id: response.id, audioItem: null },
  }),
  "response.output_text.delta": append,
  "response.output_audio_transcript.delta": append,
  "response.function_call_arguments.delta": append,
  "response.output_audio.delta": firstAudio,
  "response.done": (state, { response }) => ({
    response: null,
    askedAt: null,
    ...(response.status === "failed" && noted(state, failure(response))),
  }),
  "relay.usage": (state, { total, estimated }) => ({
    usage: {
      tokens: total.tokens,
      costUsd: total.cost_usd,
      estimated: estimated || (state.usage?.estimated ?? false),
    },
  }),
  error: (state, { error }) => ({
    awaited: false,
    ...(!CROSSED.has(error.code) && !endsSession(error.code) && noted(state, `${error.message} (${error.code ?? error.type})`)),
  }),
};

/** Tell whether the words of an item come later than the item. @param {Conversation} state @param {any} item */
function isWrittenDown({ session }, item) {
  return item.role === "user" && Boolean(session?.audio?.input?.transcription);
}

/** @param {Conversation} state @param {Event} event */
function append(state, event) {
  return change(state, event.item_id, (entry) => ({ text: entry.text + event.delta }));
}

/** @param {Conversation} state @param {Event} event @param {number} now @returns {Partial<Conversation>} */
function firstAudio(state, { item_id: itemId }, now) {
  const response = state.response && { ...state.response, audioItem: itemId };
  if (state.askedAt === null) return { response };
  const firstAudioMs = Math.round(now - state.askedAt);
  return { response, firstAudioMs, askedAt: null, ...change(state, itemId, () => ({ firstAudioMs })) };
}

/** @param {Conversation} state @param {string} id @param {(entry: Entry) => Partial<Entry>} changes */
function change(state, id, changes) {
  return {
    entries: state.entries.map((entry) => (entry.id === id ? { ...entry, ...changes(entry) } : entry)),
  };
}

/** @param {Conversation} state @param {any} item @returns {Entry[]} */
function withItem({ entries, persona }, item) {
  if (item.type === "function_call_output") {
    const { call_id: callId, output } = item;
    return entries.map((entry) => (entry.callId === callId ? { ...entry, output } : entry));
  }
  const entry = entryOf(item, persona);
  return entry ? [...entries, entry] : entries;
}

/** @param {any} item @param {string} persona @returns {Entry | null} */
function entryOf({ id, type, role, name, call_id: callId, arguments: text, content }, persona) {
  if (type === "function_call") return { id, kind: "call", who: persona, text, name, callId, done: false };
  if (type !== "message" || role === "system") return null;
  const said = content.map((/** @type {any} */ part) => part.text ?? part.transcript ?? "").join(" ");
  const who = role === "user" ? "You" : persona;
  return { id, kind: role, who, text: said, done: role === "user" && said !== "" };
}

/** @param {Entry[]} entries @param {string} text @returns {Entry} */
function note(entries, text) {
  return { id: `note-${entries.length}`, kind: "note", who: "", text, done: true };
}

/** @param {any} response */
function failure({ status_details: details }) {
  const error = details?.error ?? {};
  return `The answer failed: ${error.message ?? "no reason was given"} (${error.code ?? error.type ?? "unknown"})`;
}
