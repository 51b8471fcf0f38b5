// The conversation of `OpenAIRealtimeWS` and `OpenAIRealtimeWebSocket`: a turn in text, a turn in
// audio, and a function call.

const HELLO = { type: "message", role: "user", content: [{ type: "input_text", text: "Hello" }] };
const PIRATE = { type: "realtime", instructions: "You are a pirate." };

// `speech` is a list of chunks in base64; the promise resolves to the results.
export async function converse(session, speech) {
  const saw = { answers: [], audio_bytes: 0, called: [] };
  const next = (type) => new Promise((resolve) => session.once(type, resolve));
  session.on("response.output_audio.delta", ({ delta }) => {
    saw.audio_bytes += atob(delta).length;
  });
  session.on("response.output_audio_transcript.done", ({ transcript }) => {
    saw.answers.push(transcript);
  });

  await next("session.created");
  session.send({ type: "session.update", session: PIRATE });
  session.send({ type: "conversation.item.create", item: HELLO });
  session.send({ type: "response.create" });
  await next("response.done");

  for (const audio of speech) session.send({ type: "input_audio_buffer.append", audio });
  const { response } = await next("response.done");
  for (const { call_id, name, arguments: given } of response.output) {
    saw.called.push([name, JSON.parse(given)]);
    const output = JSON.stringify({ stopped_at: "the blue door" });
    const item = { type: "function_call_output", call_id, output };
    session.send({ type: "conversation.item.create", item });
  }
  session.send({ type: "response.create" });
  await next("response.done");

  session.close();
  return saw;
}
