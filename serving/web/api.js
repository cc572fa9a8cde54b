// Talks TensorFlow Serving's REST, and puts what goes wrong into words.

const TIMEOUT_MS = 30_000;
const TRIES_WHEN_BUSY = 4;
const BUSY = [429, 503]; // TensorFlow Serving answers 503 where its batch queue is full

export class ApiError extends Error {}

const GONE = "The server does not answer. Check that it runs (seghgan serve EXPORT) and that you are online, then try again.";

function words(status, text) {
  if (status === 429) return "The server is busy with other photos. Wait a moment, then try again.";
  if (status === 404) return "The server has no such model. Check that it serves this page's export, then reload the page.";
  if (status === 403) return "This server accepts only clients with a certificate, which a page cannot show. Use the seghgan command instead.";
  if (status === 413) return "The picture is too large for this server. Choose a smaller one.";
  if (status === 503 || status === 502) return "The server is starting, stopping or overloaded. Wait a few seconds, then try again.";
  if (status === 504) return "The server took too long. Try again when it is less busy.";
  if (status === 400) return `The server refused the request: ${text.slice(0, 200)}`;
  return `The server failed (code ${status}). Its log says why; try again.`;
}

async function ask(url, options = {}) {
  for (let tries = 1; ; tries += 1) {
    let reply;
    let text;
    try {
      const signals = [AbortSignal.timeout(TIMEOUT_MS), ...(options.signal ? [options.signal] : [])];
      reply = await fetch(url, { ...options, credentials: "same-origin", signal: AbortSignal.any(signals) });
      text = await reply.text();
    } catch (error) {
      if (options.signal?.aborted) throw error;
      throw new ApiError(error.name === "TimeoutError" ? words(504) : GONE);
    }
    if (BUSY.includes(reply.status) && tries < TRIES_WHEN_BUSY) {
      const seconds = Number(reply.headers.get("retry-after")) || 1;
      await new Promise((done) => setTimeout(done, Math.min(seconds, 5) * 1000));
      continue;
    }
    let answer;
    try {
      answer = JSON.parse(text);
    } catch {
      throw new ApiError(reply.ok ? "What answers here is not a SegHGAN server. Check the address of the API." : words(reply.status, text));
    }
    if (!reply.ok) throw new ApiError(words(reply.status, String(answer.error ?? "")));
    return answer;
  }
}

// Reads manifest.json and checks that the model that answers is of its form.
export async function connect() {
  const asked = new URLSearchParams(location.search).get("model");
  const name = asked && /^[A-Za-z0-9_]+$/.test(asked) ? asked : null;
  const manifest = await ask(`manifest.json${name ? `?model=${name}` : ""}`);
  const served = manifest.served?.model ?? name ?? "seghgan";
  const base = document.querySelector('meta[name="seghgan-api"]').content.replace(/\/*$/, "");
  const api = new Api(`${base && `${base}/`}v1/models/${served}`, manifest, served);
  await api.check();
  return api;
}

class Api {
  constructor(url, manifest, name) {
    this.url = url;
    this.name = name;
    this.model = manifest.model;
    this.served = manifest.served;
  }

  async check() {
    const reply = await ask(`${this.url}/metadata`);
    const inputs = reply.metadata.signature_def.signature_def.serving_default.inputs;
    const last = (input) => Number(inputs[input].tensor_shape.dim.at(input === "image" ? 1 : -1).size);
    if (last("image") !== this.model.image_size || last("expression") !== this.model.expression.labels.length) {
      throw new ApiError("The model that answers is another one than manifest.json describes. Copy the export's manifest.json next to this page.");
    }
  }

  async predict(signature, instance, signal) {
    const body = JSON.stringify({ signature_name: signature, instances: [instance] });
    const headers = { "content-type": "application/json" };
    const reply = await ask(`${this.url}:predict`, { method: "POST", headers, body, signal });
    return reply.predictions[0];
  }

  analyze(image, signal) {
    return this.predict("analyze", { image }, signal);
  }

  // The faces of a picture, PNG bytes in base64, largest first: frame, box and the expression seen.
  async locate(png, signal) {
    const { frames, boxes, scores, expressions } = await this.predict("locate", { image_bytes: { b64: png } }, signal);
    return scores.flatMap((score, i) => (score > 0 ? [{ frame: frames[i], box: boxes[i], seen: expressions[i] }] : []));
  }

  segment(image, signal) {
    return this.predict("segment", { image }, signal);
  }

  // Edits PNG bytes in base64 and returns the same.
  async edit(png, frames, expression, regions, signal) {
    const asked = { image_bytes: { b64: png }, frames, expression, regions, jpeg_quality: 0 };
    return (await this.predict("edit_bytes", asked, signal)).b64;
  }
}
