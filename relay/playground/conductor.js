// @ts-check
// Conducts a conversation: what follows when the user talks, writes or leaves, and when the relay
// says something.

import { Connection } from "./connection.js";
import * as conversation from "./conversation.js";
import { Microphone } from "./microphone.js";
import { toBase64 } from "./pcm.js";
import { Playback } from "./playback.js";
import * as problems from "./problems.js";

/** @typedef {import("./connection.js").Event} Event */
/** @typedef {import("./conversation.js").Conversation} Conversation */
/** @typedef {import("./problems.js").Problem} Problem */

/**
 * @typedef {object} Means
 * @property {() => {persona: string, key: string}} caller who is calling, and whom
 * @property {() => Promise<AudioContext>} openSound
 * @property {boolean} raw leave the microphone's sound as it is
 * @property {(state: Conversation) => void} onState
 * @property {(direction: "sent" | "received", event: Event) => void} onEvent
 * @property {(level: number) => void} onLevel of the microphone, from 0 to 1
 */

export class Conductor {
  state = conversation.EMPTY;
  /** @type {Connection | null} */
  #connection = null;
  /** @type {Playback | null} */
  #playback = null;
  /** @type {Microphone | null} */
  #microphone = null;
  #hadMicrophone = false;
  /** The browser is asking the user for the microphone. */
  #isAsking = false;
  /** An answer is to be asked for as soon as none is being given. */
  #wantsAnswer = false;
  /** @type {((opened: boolean) => void)[]} who waits for the session */
  #waiting = [];

  /** @param {Means} means */
  constructor(means) {
    this.means = means;
  }

  // What the user does.

  /** Turn the microphone on; without a conversation, begin one. */
  async talk() {
    if (this.#isAsking) return;
    this.#isAsking = true;
    try {
      const context = await this.means.openSound();
      this.#microphone = await Microphone.open(context, {
        raw: this.means.raw,
        onPiece: (pcm, level) => this.#hear(pcm, level),
        onGone: () => this.#loseMicrophone(),
      });
    } catch (error) {
      this.show(problems.ofMicrophone(error));
      return;
    } finally {
      this.#isAsking = false;
    }
    this.#become({ ...this.state, microphone: true, problem: null });
    await this.open();
  }

  /** Turn the microphone off: what the user was saying is answered, and what is heard stops. */
  async hush() {
    const { hearing, session } = this.state;
    const isManual = session !== null && !session.audio?.input?.turn_detection;
    this.#closeMicrophone();
    if (conversation.phase(this.state) === "speaking") await this.#interrupt();
    this.#become({ ...this.state, hearing: false });
    if (!hearing && !isManual) {
      this.#connection?.send({ type: "input_audio_buffer.clear" });
      return;
    }
    this.#connection?.send({ type: "input_audio_buffer.commit" });
    this.#ask();
  }

  /** Say something in writing. @param {string} text @returns {Promise<boolean>} whether it was sent */
  async write(text) {
    if (!(await this.open()) || conversation.transcribes(this.state)) return false;
    await this.#interrupt();
    const content = [{ type: "input_text", text }];
    this.#connection?.send({
      type: "conversation.item.create",
      item: { type: "message", role: "user", content },
    });
    this.#ask();
    return true;
  }

  /** Give back what a function returned. @param {string} callId @param {string} output */
  answer(callId, output) {
    this.#connection?.send({
      type: "conversation.item.create",
      item: { type: "function_call_output", call_id: callId, output },
    });
    if (!conversation.openCalls(this.state).length) this.#ask();
  }

  /** Begin a conversation, unless there is one. @returns {Promise<boolean>} whether there is one */
  async open() {
    if (this.state.connection === "open") return true;
    const opened = new Promise((resolve) => this.#waiting.push(resolve));
    if (!this.#connection) this.#connect();
    return opened;
  }

  /** Begin anew in the way that the last conversation ended: by voice or in writing. */
  async restart() {
    await (this.#hadMicrophone ? this.talk() : this.open());
  }

  /** End the conversation. */
  end() {
    if (!this.#connection) return;
    this.#connection.close();
    this.#playback?.close();
    this.#leave(null);
  }

  /** Show a problem that the user has, or none. @param {Problem | null} problem */
  show(problem) {
    this.#become({ ...this.state, problem });
  }

  // What the relay does.

  #connect() {
    const caller = this.means.caller();
    this.#become(conversation.connecting(this.state, caller.persona));
    // A persona may speak first: nothing is read before it can be heard.
    const sound = this.#openPlayback();
    try {
      const connection = new Connection(caller, {
        onEvent: (event) => sound.then(() => this.#connection === connection && this.#receive(event)),
        onSent: (event) => this.#sent(event),
        onClose: (closed) => sound.then(() => this.#leave(problems.ofClosure(closed))),
      });
      this.#connection = connection;
    } catch {
      this.#leave(problems.UNSENDABLE_KEY);
    }
  }

  /** @param {Event} event */
  #receive(event) {
    this.means.onEvent("received", event);
    this.#become(conversation.received(this.state, event, performance.now()));
    this.#effects[event.type]?.(event);
  }

  /** @type {Record<string, (event: Event) => void>} */
  #effects = {
    "session.created": () => this.#begin(),
    "input_audio_buffer.speech_started": () => {
      if (this.state.session.audio?.input?.turn_detection?.interrupt_response !== false) this.#silence();
    },
    "response.output_audio.delta": (event) => this.#playback?.add(event.item_id, event.delta),
    "response.done": () => this.#askIfFree(),
    error: ({ error }) => {
      // The answer that was in the way is not done yet: its end is the time to ask again.
      if (error.code === "conversation_already_has_active_response") this.#wantsAnswer = true;
    },
  };

  #begin() {
    this.#waiting.splice(0).forEach((resolve) => resolve(true));
    if (conversation.transcribes(this.state)) {
      this.#become(conversation.noted(this.state, "This persona writes down what you say, and answers nothing: press Talk."));
    }
    if (conversation.speaksPcm(this.state)) return;
    this.#closeMicrophone();
    this.#playback = null;
    this.#become(conversation.noted(this.state, "This persona speaks no 24 kHz PCM: this page can only write and read."));
  }

  /** @param {Event} event */
  #sent(event) {
    this.means.onEvent("sent", event);
    this.#become(conversation.sent(this.state, event, performance.now()));
  }

  /** @param {Problem | null} problem why it ended, if nobody wanted it to */
  #leave(problem) {
    this.#hadMicrophone = this.state.microphone;
    this.#closeMicrophone();
    this.#connection = null;
    this.#wantsAnswer = false;
    this.#become(conversation.ended(this.state, problem));
    this.#waiting.splice(0).forEach((resolve) => resolve(false));
  }

  // Answers: asked for one at a time, and stopped.

  #ask() {
    if (conversation.transcribes(this.state)) return;
    this.#wantsAnswer = true;
    this.#askIfFree();
  }

  #askIfFree() {
    if (!this.#wantsAnswer || this.state.response) return;
    this.#wantsAnswer = false;
    this.#connection?.send({ type: "response.create" });
  }

  async #interrupt() {
    if (this.state.response) this.#connection?.send({ type: "response.cancel" });
    await this.#silence();
  }

  /** Stop the sound at once, and let the model forget what was not heard. */
  async #silence() {
    const cutOff = (await this.#playback?.stop(this.state.response?.audioItem ?? null)) ?? [];
    for (const { itemId, heardMs } of cutOff) {
      this.#connection?.send({
        type: "conversation.item.truncate",
        item_id: itemId,
        content_index: 0,
        audio_end_ms: heardMs,
      });
    }
  }

  // Sound.

  async #openPlayback() {
    this.#playback?.close();
    this.#playback = null;
    try {
      const context = await this.means.openSound();
      this.#playback = new Playback(context, (heardSamples, playing) => {
        this.#become({ ...this.state, heardSamples, playing });
      });
    } catch (error) {
      this.show(problems.ofMicrophone(error));
    }
  }

  /** @param {ArrayBuffer} pcm @param {number} level */
  #hear(pcm, level) {
    this.means.onLevel(level);
    if (this.state.connection !== "open") return;
    this.#connection?.send({ type: "input_audio_buffer.append", audio: toBase64(pcm) });
  }

  #loseMicrophone() {
    this.hush();
    this.show(problems.MICROPHONE_GONE);
  }

  #closeMicrophone() {
    this.#microphone?.close();
    this.#microphone = null;
    this.means.onLevel(0);
    this.#become({ ...this.state, microphone: false });
  }

  /** @param {Conversation} state */
  #become(state) {
    this.state = state;
    this.means.onState(state);
  }
}
