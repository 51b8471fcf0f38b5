// @ts-check
// The state of the conversation as a value: each event gives the next state.

import { endsSession } from "./problems.js";

/** @typedef {import("./connection.js").Event} Event */
/** @typedef {import("./problems.js").Problem} Problem */

/**
 * @typedef {object} Entry one line of the conversation
 * @property {string} id
 * @property {"user" | "assistant" | "call" | "note"} kind
 * @property {string} speaker the one that speaks or calls a function
 * @property {string} text the words of a message; the arguments of a call
 * @property {boolean} done it is complete
 * @property {string} [name] of the called function
 * @property {string} [callId]
 * @property {string} [output] the output that was sent for a call
 * @property {boolean} [lapsed] its session has ended: the call can no longer be answered
 * @property {number} [firstAudioMs] from the end of the user's turn to the first audio
 * @property {number} [interruptedMs] the length of the part that was heard
 */

/**
 * @typedef {object} Usage
 * @property {Record<string, number>} tokens by kind
 * @property {string | null} costUsd a decimal; null if there are no prices
 * @property {boolean} estimated a part of it was estimated
 */

/**
 * @typedef {object} Conversation
 * @property {"idle" | "connecting" | "open" | "ended"} connection
 * @property {string} persona the name of the persona
 * @property {any} session the API's session object, as the relay sends it
 * @property {boolean} microphone whether it is on
 * @property {boolean} userSpeaking
 * @property {boolean} responseExpected a response was requested and has not begun
 * @property {{id: string, audioItem: string | null} | null} response the one in progress
 * @property {boolean} playing
 * @property {number} heardSamples
 * @property {number | null} turnEndedAt the end of the user's turn, in ms
 * @property {number | null} firstAudioMs of the last turn
 * @property {Usage | null} usage
 * @property {Entry[]} entries
 * @property {Problem | null} problem
 */

/** Errors that occur when a client event and a server event cross on the way: not shown. */
const CROSSING_ERRORS = new Set(["response_cancel_not_active", "conversation_already_has_active_response"]);

const NOT_TRANSCRIBED = "(not transcribed)";

const FRESH = {
  persona: "",
  session: null,
  userSpeaking: false,
  responseExpected: false,
  response: null,
  playing: false,
  heardSamples: 0,
  turnEndedAt: null,
  firstAudioMs: null,
  usage: null,
};

/** @type {Conversation} */
export const EMPTY = { connection: "idle", microphone: false, entries: [], problem: null, ...FRESH };

/**
 * Return the phase that the page shows.
 * @param {Conversation} state
 * @returns {"ready" | "connecting" | "listening" | "thinking" | "speaking" | "ended"}
 */
export function phase(state) {
  if (state.connection === "idle") return "ready";
  if (state.connection !== "open") return state.connection;
  if (state.userSpeaking) return "listening";
  if (state.playing || state.response?.audioItem) return "speaking";
  if (state.response || state.responseExpected) return "thinking";
  return state.microphone ? "listening" : "ready";
}

/** Return the calls without an output. @param {Conversation} state */
export function openCalls({ entries }) {
  return entries.filter((entry) => entry.kind === "call" && entry.output === undefined && !entry.lapsed);
}

/** Return whether this page can play and record the persona's audio formats. @param {Conversation} state */
export function usesPcm({ session }) {
  const formats = [session?.audio?.input?.format, session?.audio?.output?.format];
  return formats.every((format) => (format?.type ?? "audio/pcm") === "audio/pcm");
}

/** Return whether the persona only transcribes. @param {Conversation} state */
export function transcribes({ session }) {
  return session?.type === "transcription";
}

/** Start a new conversation; the entries of the last one stay. @param {Conversation} state @param {string} persona */
export function connecting(state, persona) {
  return { ...state, ...FRESH, persona, connection: /** @type {const} */ ("connecting"), problem: null };
}

/** @param {Conversation} state @param {Problem | null} problem @returns {Conversation} */
export function ended(state, problem) {
  const entries = state.entries.map((entry) => ({ ...entry, done: true, lapsed: true }));
  const quiet = { userSpeaking: false, responseExpected: false, response: null, microphone: false };
  return { ...state, ...quiet, connection: "ended", entries, problem };
}

/** @param {Conversation} state @param {string} text @returns {Conversation} */
export function withNote(state, text) {
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
  if (event.type === "response.create") return { ...state, responseExpected: true, turnEndedAt: now };
  const isOutput = event.item?.type === "function_call_output";
  return isOutput ? { ...state, entries: withItem(state, event.item) } : state;
}

/** @type {Record<string, (state: Conversation, event: Event, now: number) => Partial<Conversation>>} */
const reactions = {
  "session.created": (state, { session }) => ({
    ...(state.entries.length && withNote(state, `A new conversation, with ${state.persona}`)),
    connection: "open",
    session,
  }),
  "input_audio_buffer.speech_started": () => ({ userSpeaking: true, turnEndedAt: null }),
  "input_audio_buffer.speech_stopped": (state, _, now) => ({
    userSpeaking: false,
    turnEndedAt: now,
    responseExpected: !transcribes(state) && state.session?.audio?.input?.turn_detection?.create_response !== false,
  }),
  "conversation.item.added": (state, { item }) => ({ entries: withItem(state, item) }),
  "conversation.item.done": (state, { item }) =>
    isTranscribed(state, item) ? {} : change(state, item.id, ({ text }) => ({ text: text || NOT_TRANSCRIBED, done: true })),
  "conversation.item.truncated": (state, event) =>
    change(state, event.item_id, () => ({ interruptedMs: event.audio_end_ms })),
  "conversation.item.input_audio_transcription.delta": append,
  "conversation.item.input_audio_transcription.completed": (state, event) =>
    change(state, event.item_id, () => ({ text: event.transcript.trim(), done: true })),
  "conversation.item.input_audio_transcription.failed": (state, event) =>
    change(state, event.item_id, () => ({ text: NOT_TRANSCRIBED, done: true })),
  "response.created": (_, { response }) => ({
    responseExpected: false,
    response: { id: response.id, audioItem: null },
  }),
  "response.output_text.delta": append,
  "response.output_audio_transcript.delta": append,
  "response.function_call_arguments.delta": append,
  "response.output_audio.delta": firstAudio,
  "response.done": (state, { response }) => ({
    response: null,
    turnEndedAt: null,
    ...(response.status === "failed" && withNote(state, failure(response))),
  }),
  "relay.usage": (state, { total, estimated }) => ({
    usage: {
      tokens: total.tokens,
      costUsd: total.cost_usd,
      estimated: estimated || (state.usage?.estimated ?? false),
    },
  }),
  error: (state, { error }) => ({
    responseExpected: false,
    ...(!CROSSING_ERRORS.has(error.code) && !endsSession(error.code) && withNote(state, `${error.message} (${error.code ?? error.type})`)),
  }),
};

/** Return whether the text of an item comes later, as a transcription. @param {Conversation} state @param {any} item */
function isTranscribed({ session }, item) {
  return item.role === "user" && Boolean(session?.audio?.input?.transcription);
}

/** @param {Conversation} state @param {Event} event */
function append(state, event) {
  return change(state, event.item_id, (entry) => ({ text: entry.text + event.delta }));
}

/** @param {Conversation} state @param {Event} event @param {number} now @returns {Partial<Conversation>} */
function firstAudio(state, { item_id: itemId }, now) {
  const response = state.response && { ...state.response, audioItem: itemId };
  if (state.turnEndedAt === null) return { response };
  const firstAudioMs = Math.round(now - state.turnEndedAt);
  return { response, firstAudioMs, turnEndedAt: null, ...change(state, itemId, () => ({ firstAudioMs })) };
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
  if (type === "function_call") return { id, kind: "call", speaker: persona, text, name, callId, done: false };
  if (type !== "message" || role === "system") return null;
  const words = content.map((/** @type {any} */ part) => part.text ?? part.transcript ?? "").join(" ");
  const speaker = role === "user" ? "You" : persona;
  return { id, kind: role, speaker, text: words, done: role === "user" && words !== "" };
}

/** @param {Entry[]} entries @param {string} text @returns {Entry} */
function note(entries, text) {
  return { id: `note-${entries.length}`, kind: "note", speaker: "", text, done: true };
}

/** @param {any} response */
function failure({ status_details: details }) {
  const error = details?.error ?? {};
  return `The answer failed: ${error.message ?? "no reason was given"} (${error.code ?? error.type ?? "unknown"})`;
}
