// @ts-check
// Controls a conversation: reacts to the user's actions and to the relay's events.

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
 * @typedef {object} Options
 * @property {() => {persona: string, key: string}} target the chosen persona, and the user's key
 * @property {() => Promise<AudioContext>} openSound
 * @property {boolean} raw send the microphone's sound unprocessed
 * @property {(state: Conversation) => void} onState
 * @property {(direction: "sent" | "received", event: Event) => void} onEvent
 * @property {(level: number) => void} onLevel of the microphone, from 0 to 1
 */

export class Controller {
  state = conversation.EMPTY;
  /** @type {Connection | null} */
  #connection = null;
  /** @type {Playback | null} */
  #playback = null;
  /** @type {Microphone | null} */
  #microphone = null;
  #hadMicrophone = false;
  /** The browser is asking the user for permission. */
  #isRequestingMicrophone = false;
  /** A response is to be requested when no response is in progress. */
  #wantsResponse = false;
  /** @type {((opened: boolean) => void)[]} callers that wait until the session is open */
  #waiting = [];

  /** @param {Options} options */
  constructor(options) {
    this.options = options;
  }

  // Actions of the user.

  /** Turn the microphone on; without a conversation, start one. */
  async talk() {
    if (this.#isRequestingMicrophone) return;
    this.#isRequestingMicrophone = true;
    try {
      const context = await this.options.openSound();
      this.#microphone = await Microphone.open(context, {
        raw: this.options.raw,
        onPiece: (pcm, level) => this.#sendAudio(pcm, level),
        onGone: () => this.#handleMicrophoneGone(),
      });
    } catch (error) {
      this.show(problems.ofMicrophone(error));
      return;
    } finally {
      this.#isRequestingMicrophone = false;
    }
    this.#setState({ ...this.state, microphone: true, problem: null });
    await this.open();
  }

  /** Turn the microphone off: stop the answer that is playing, and request an answer to the user's turn. */
  async stopTalking() {
    const { userSpeaking, session } = this.state;
    const isManual = session !== null && !session.audio?.input?.turn_detection;
    this.#closeMicrophone();
    if (conversation.phase(this.state) === "speaking") await this.#interrupt();
    this.#setState({ ...this.state, userSpeaking: false });
    if (!userSpeaking && !isManual) {
      this.#connection?.send({ type: "input_audio_buffer.clear" });
      return;
    }
    this.#connection?.send({ type: "input_audio_buffer.commit" });
    this.#requestResponse();
  }

  /** Send a text message. @param {string} text @returns {Promise<boolean>} whether it was sent */
  async sendMessage(text) {
    if (!(await this.open()) || conversation.transcribes(this.state)) return false;
    await this.#interrupt();
    const content = [{ type: "input_text", text }];
    this.#connection?.send({
      type: "conversation.item.create",
      item: { type: "message", role: "user", content },
    });
    this.#requestResponse();
    return true;
  }

  /** Send the output of a function. @param {string} callId @param {string} output */
  sendCallOutput(callId, output) {
    this.#connection?.send({
      type: "conversation.item.create",
      item: { type: "function_call_output", call_id: callId, output },
    });
    if (!conversation.openCalls(this.state).length) this.#requestResponse();
  }

  /** Start a conversation, unless one is open. @returns {Promise<boolean>} whether one is open */
  async open() {
    if (this.state.connection === "open") return true;
    const opened = new Promise((resolve) => this.#waiting.push(resolve));
    if (!this.#connection) this.#connect();
    return opened;
  }

  /** Start a new conversation, with the microphone if the last one had it. */
  async restart() {
    await (this.#hadMicrophone ? this.talk() : this.open());
  }

  /** End the conversation. */
  end() {
    if (!this.#connection) return;
    this.#connection.close();
    this.#playback?.close();
    this.#handleEnd(null);
  }

  /** Show a problem, or remove the one that is shown. @param {Problem | null} problem */
  show(problem) {
    this.#setState({ ...this.state, problem });
  }

  // Events of the relay.

  #connect() {
    const target = this.options.target();
    this.#setState(conversation.connecting(this.state, target.persona));
    // A persona may speak first: events are read only when its audio can be played.
    const sound = this.#openPlayback();
    try {
      const connection = new Connection(target, {
        onEvent: (event) => sound.then(() => this.#connection === connection && this.#handleReceived(event)),
        onSent: (event) => this.#handleSent(event),
        onClose: (closed) => sound.then(() => this.#handleEnd(problems.ofClosure(closed))),
      });
      this.#connection = connection;
    } catch {
      this.#handleEnd(problems.UNSENDABLE_KEY);
    }
  }

  /** @param {Event} event */
  #handleReceived(event) {
    this.options.onEvent("received", event);
    this.#setState(conversation.received(this.state, event, performance.now()));
    this.#effects[event.type]?.(event);
  }

  /** @type {Record<string, (event: Event) => void>} */
  #effects = {
    "session.created": () => this.#handleOpened(),
    "input_audio_buffer.speech_started": () => {
      if (this.state.session.audio?.input?.turn_detection?.interrupt_response !== false) this.#stopPlayback();
    },
    "response.output_audio.delta": (event) => this.#playback?.add(event.item_id, event.delta),
    "response.done": () => this.#requestResponseIfIdle(),
    error: ({ error }) => {
      // Another response is still in progress: its end is the time to request again.
      if (error.code === "conversation_already_has_active_response") this.#wantsResponse = true;
    },
  };

  #handleOpened() {
    this.#waiting.splice(0).forEach((resolve) => resolve(true));
    if (conversation.transcribes(this.state)) {
      this.#setState(
        conversation.withNote(this.state, "This persona only transcribes speech and answers nothing: press Talk."),
      );
    }
    if (conversation.usesPcm(this.state)) return;
    this.#closeMicrophone();
    this.#playback = null;
    this.#setState(
      conversation.withNote(this.state, "This persona does not use 24 kHz PCM: on this page you can only write and read."),
    );
  }

  /** @param {Event} event */
  #handleSent(event) {
    this.options.onEvent("sent", event);
    this.#setState(conversation.sent(this.state, event, performance.now()));
  }

  /** @param {Problem | null} problem the reason of the end, unless the user ended it */
  #handleEnd(problem) {
    this.#hadMicrophone = this.state.microphone;
    this.#closeMicrophone();
    this.#connection = null;
    this.#wantsResponse = false;
    this.#setState(conversation.ended(this.state, problem));
    this.#waiting.splice(0).forEach((resolve) => resolve(false));
  }

  // Responses: requested one at a time, and interrupted.

  #requestResponse() {
    if (conversation.transcribes(this.state)) return;
    this.#wantsResponse = true;
    this.#requestResponseIfIdle();
  }

  #requestResponseIfIdle() {
    if (!this.#wantsResponse || this.state.response) return;
    this.#wantsResponse = false;
    this.#connection?.send({ type: "response.create" });
  }

  async #interrupt() {
    if (this.state.response) this.#connection?.send({ type: "response.cancel" });
    await this.#stopPlayback();
  }

  /** Stop the sound at once, and truncate the items to the part that was heard. */
  async #stopPlayback() {
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
      const context = await this.options.openSound();
      this.#playback = new Playback(context, (heardSamples, playing) => {
        this.#setState({ ...this.state, heardSamples, playing });
      });
    } catch (error) {
      this.show(problems.ofMicrophone(error));
    }
  }

  /** @param {ArrayBuffer} pcm @param {number} level */
  #sendAudio(pcm, level) {
    this.options.onLevel(level);
    if (this.state.connection !== "open") return;
    this.#connection?.send({ type: "input_audio_buffer.append", audio: toBase64(pcm) });
  }

  #handleMicrophoneGone() {
    this.stopTalking();
    this.show(problems.MICROPHONE_GONE);
  }

  #closeMicrophone() {
    this.#microphone?.close();
    this.#microphone = null;
    this.options.onLevel(0);
    this.#setState({ ...this.state, microphone: false });
  }

  /** @param {Conversation} state */
  #setState(state) {
    this.state = state;
    this.options.onState(state);
  }
}
