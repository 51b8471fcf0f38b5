// @ts-check
// The relay's two doors, as a page sees them: the list of personas, and a session's WebSocket.

const KEY_PROTOCOL = "openai-insecure-api-key.";
const NORMAL_CLOSURE = 1000;

/** @typedef {{name: string, description: string, default: boolean}} Persona */
/** @typedef {{[name: string]: any, type: string}} Event an event of the API, or the relay's own */
/**
 * How it ended. A refused handshake is one that was answered, but opened no session.
 * @typedef {{code: number, opened: boolean, error: {code: string, message: string} | null}} Closed
 */

/** The relay said no to a request, in OpenAI's error shape. */
export class Refused extends Error {
  /** @param {number} status @param {{code?: string, message?: string}} error */
  constructor(status, error) {
    super(error.message ?? "The relay gave no reason.");
    this.status = status;
    this.code = error.code ?? "unknown";
  }
}

/**
 * Return the personas that whoever has this key may use.
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

/** One session's WebSocket. */
export class Connection {
  #opened = false;
  /** @type {Closed["error"]} the error that the relay told last, with nothing after it */
  #lastError = null;

  /**
   * @param {{persona: string, key: string}} caller
   * @param {{onEvent: (event: Event) => void, onSent: (event: Event) => void, onClose: (closed: Closed) => void}} told
   * @throws {DOMException} the key has characters that a browser cannot send
   */
  constructor({ persona, key }, told) {
    const protocols = ["realtime", "relay.events", ...(key ? [KEY_PROTOCOL + key] : [])];
    this.told = told;
    this.socket = new WebSocket(address(persona), protocols);
    this.socket.onmessage = ({ data }) => this.#receive(JSON.parse(data));
    this.socket.onclose = ({ code }) => told.onClose({ code, opened: this.#opened, error: this.#lastError });
  }

  /** Send an event; one that comes too late is dropped. @param {Event} event */
  send(event) {
    if (this.socket.readyState !== WebSocket.OPEN) return;
    this.socket.send(JSON.stringify(event));
    this.told.onSent(event);
  }

  /** Leave; nothing more is told. */
  close() {
    this.socket.onmessage = this.socket.onclose = null;
    this.socket.close(NORMAL_CLOSURE);
  }

  /** @param {Event} event */
  #receive(event) {
    // A close that is the relay's own follows directly on the error that tells why.
    this.#opened ||= event.type === "session.created";
    this.#lastError = event.type === "error" ? event.error : null;
    this.told.onEvent(event);
  }
}

/** @param {string} persona */
function address(persona) {
  const url = new URL("v1/realtime", document.baseURI);
  url.protocol = url.protocol.replace("http", "ws");
  if (persona) url.searchParams.set("persona", persona);
  return url;
}
