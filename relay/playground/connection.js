// @ts-check
// The two endpoints of the relay that this page uses: the list of personas, and the WebSocket of a session.

const KEY_PROTOCOL = "openai-insecure-api-key.";
const NORMAL_CLOSURE = 1000;

/** @typedef {{name: string, description: string, default: boolean}} Persona */
/** @typedef {{[name: string]: any, type: string}} Event an event of the API, or of the relay */
/**
 * How a connection ended. A refused handshake can be answered (101), but it opens no session.
 * @typedef {{code: number, opened: boolean, error: {code: string, message: string} | null}} Closed
 */

/** The relay refused a request, in OpenAI's error shape. */
export class Refused extends Error {
  /** @param {number} status @param {{code?: string, message?: string}} error */
  constructor(status, error) {
    super(error.message ?? "The relay gave no reason.");
    this.status = status;
    this.code = error.code ?? "unknown";
  }
}

/**
 * Return the personas that the holder of this key may use.
 * @param {string} key
 * @returns {Promise<Persona[]>}
 * @throws {Refused} @throws {TypeError} the relay cannot be reached
 */
export async function fetchPersonas(key) {
  /** @type {Record<string, string>} */
  const headers = key ? { Authorization: `Bearer ${key}` } : {};
  const answer = await fetch(new URL("v1/personas", document.baseURI), { headers });
  const body = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Refused(answer.status, body.error ?? {});
  return body.data;
}

/** The WebSocket of one session. */
export class Connection {
  #opened = false;
  /** @type {Closed["error"]} the last received event, if it was an error */
  #lastError = null;

  /**
   * @param {{persona: string, key: string}} target
   * @param {{onEvent: (event: Event) => void, onSent: (event: Event) => void, onClose: (closed: Closed) => void}} callbacks
   * @throws {DOMException} the key has characters that a browser cannot send
   */
  constructor({ persona, key }, callbacks) {
    const protocols = ["realtime", "relay.events", ...(key ? [KEY_PROTOCOL + key] : [])];
    this.callbacks = callbacks;
    this.socket = new WebSocket(address(persona), protocols);
    this.socket.onmessage = ({ data }) => this.#receive(JSON.parse(data));
    this.socket.onclose = ({ code }) => callbacks.onClose({ code, opened: this.#opened, error: this.#lastError });
  }

  /** Send an event; drop it if the socket is not open. @param {Event} event */
  send(event) {
    if (this.socket.readyState !== WebSocket.OPEN) return;
    this.socket.send(JSON.stringify(event));
    this.callbacks.onSent(event);
  }

  /** Close the socket. No callback is called after this. */
  close() {
    this.socket.onmessage = this.socket.onclose = null;
    this.socket.close(NORMAL_CLOSURE);
  }

  /** @param {Event} event */
  #receive(event) {
    // If the relay closes the session, the error with the reason is the last event before the close.
    this.#opened ||= event.type === "session.created";
    this.#lastError = event.type === "error" ? event.error : null;
    this.callbacks.onEvent(event);
  }
}

/** @param {string} persona */
function address(persona) {
  const url = new URL("v1/realtime", document.baseURI);
  url.protocol = url.protocol.replace("http", "ws");
  if (persona) url.searchParams.set("persona", persona);
  return url;
}
