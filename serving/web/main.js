// Wires the page: a photo in, sliders to requests, answers to the picture.

import { ApiError, connect } from "./api.js";
import { openCamera } from "./camera.js";
import { compose } from "./compose.js";
import { capital, presets } from "./expressions.js";
import { Latest } from "./latest.js";
import { paintParts, showLegend } from "./overlay.js";
import { context, decode, PhotoError, readFile, rows, toPhoto } from "./photo.js";
import { Sliders } from "./sliders.js";
import { setUpTheme } from "./theme.js";

const $ = (selector) => document.querySelector(selector);
const edits = new Latest();
let api = null;
let sliders = null;
let photo = null;
let edited = null; // pixels of the small square after the edit; null is the photo itself
let again = null; // what "Try again" does

function say(text) {
  $("#status").textContent = text;
}

function fail(error, retry = null) {
  if (!(error instanceof ApiError || error instanceof PhotoError)) throw error;
  $("#error-text").textContent = error.message;
  $("#error").hidden = false;
  $("#retry").hidden = !retry;
  again = retry;
}

function clearError() {
  $("#error").hidden = true;
}

function draw(target, picture) {
  target.width = picture.width;
  target.height = picture.height;
  context(target).drawImage(picture, 0, 0);
}

async function showEdit() {
  const mine = edited;
  const picture = mine ? await compose(photo.view, photo.pixels, mine) : photo.view;
  if (mine === edited) draw($("#after"), picture);
}

function regions() {
  const chosen = [...document.querySelectorAll("#locks input:checked")].map((one) => one.value);
  return api.model.regions.map((name) => Number(chosen.length ? chosen.includes(name) : name === "whole"));
}

function update() {
  markPreset();
  if (!photo) return;
  if (!sliders.changed) {
    edits.drop();
    edited = null;
    showEdit();
    say("The photo is as it was.");
    return;
  }
  edits.ask(runEdit);
}

async function runEdit(fresh) {
  const began = performance.now();
  try {
    const answer = await decode(await api.edit(photo.png, sliders.vector(), regions()));
    if (!fresh()) return;
    edited = answer;
    await showEdit();
    clearError();
    $("#latency").textContent = `Edited in ${Math.round(performance.now() - began)} ms`;
    say("The picture is updated.");
  } catch (error) {
    if (fresh()) fail(error, update);
  }
}

async function open(makePhoto) {
  try {
    if (!api) await start();
    if (!api) return;
    photo = await makePhoto();
  } catch (error) {
    fail(error);
    return;
  }
  clearError();
  edits.drop();
  edited = null;
  for (const id of ["#empty", "#picture", "#tools"]) $(id).hidden = id === "#empty";
  draw($("#before"), photo.view);
  $("#picture").style.setProperty("--ratio", photo.view.width / photo.view.height);
  $("#overlay").width = photo.view.width;
  $("#overlay").height = photo.view.height;
  sliders.reset();
  showEdit();
  await look();
}

// Asks what is in the photo: its expression, and its parts where they are shown.
async function look() {
  const mine = photo;
  try {
    const image = rows(photo.pixels);
    const seen = await api.analyze(image);
    if (mine !== photo) return;
    sliders.setSeen(seen);
    markPreset();
    $("#controls").classList.add("ready");
    clearError();
    say("The photo is ready. Move a slider or choose an emotion.");
    await showParts();
  } catch (error) {
    if (mine === photo) fail(error, look);
  }
}

async function showParts() {
  const shown = $("#show-overlay").checked;
  $("#overlay").hidden = $("#legend").hidden = !shown;
  if (!shown || !photo) return;
  const mine = photo;
  try {
    const { labels } = await api.segment(rows(photo.pixels));
    if (mine !== photo) return;
    showLegend($("#legend"), paintParts($("#overlay"), labels, api.model.classes));
  } catch (error) {
    if (mine === photo) fail(error, showParts);
  }
}

function chip(type, name, text, changed) {
  const label = document.createElement("label");
  const input = Object.assign(document.createElement("input"), { type, name, value: text });
  input.addEventListener("change", changed);
  label.className = "chip";
  label.append(input, capital(text));
  return label;
}

function markPreset() {
  const known = presets(api.model.expression);
  for (const input of document.querySelectorAll("#presets input")) {
    const values = known[input.value];
    const labels = api.model.expression.labels;
    input.checked = Object.keys(sliders.asked).length > 0 && labels.every((label) => (sliders.asked[label] ?? sliders.seen[label]) === (values[label] ?? 0));
  }
}

function buildControls() {
  const space = api.model.expression;
  sliders = new Sliders($("#sliders"), space, update);
  const known = presets(space);
  $("#presets").hidden = !Object.keys(known).length;
  $("#presets .chips").replaceChildren(...Object.entries(known).map(([name, values]) => chip("radio", "emotion", name, () => {
    sliders.preset(values);
    update();
  })));
  $("#locks .chips").replaceChildren(...api.model.regions.filter((name) => name !== "whole").map((name) => chip("checkbox", "region", name, () => {
    const chosen = [...document.querySelectorAll("#locks input:checked")].map((one) => one.value);
    $("#locks-help").textContent = chosen.length ? `What lies outside the ${chosen.join(" and the ")} stays exactly as it is; on large photos the soft edge is as wide as a model pixel.` : "Nothing chosen: the whole face may change.";
    update();
  })));
  const side = api.model.image_size;
  $("#privacy").textContent = `Only the centre square, shrunk to ${side} × ${side} pixels, is sent to the server. Nothing is stored.`;
  const version = api.served ? ` version ${api.served.version}, ${api.served.server} server` : "";
  $("#server").textContent = `Model ${api.name}${version}`;
}

async function download() {
  const picture = edited ? await compose(photo.full, photo.pixels, edited) : photo.full;
  picture.toBlob((blob) => {
    const url = URL.createObjectURL(blob);
    Object.assign(document.createElement("a"), { href: url, download: "edited.png" }).click();
    setTimeout(() => URL.revokeObjectURL(url), 10_000);
    say("The picture is downloaded.");
  }, "image/png");
}

function setUpSources() {
  const file = $("#file");
  const openFile = (one) => one && open(() => readFile(one, api.model));
  file.addEventListener("change", () => {
    openFile(file.files[0]);
    file.value = "";
  });
  $("#sample").addEventListener("click", () => open(async () => {
    try {
      return await readFile(await (await fetch("sample-face.png")).blob(), api.model);
    } catch (error) {
      throw error instanceof PhotoError ? error : new ApiError("The drawn face cannot be loaded: the server does not answer. Try again later.");
    }
  }));
  $("#camera").addEventListener("click", () => openCamera(
    (video) => open(async () => toPhoto(video, video.videoWidth, video.videoHeight, api.model)),
    (text) => fail(new PhotoError(text)),
  ));
  document.addEventListener("paste", (event) => openFile(event.clipboardData.files[0]));
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    $("#drop").classList.add("over");
  });
  document.addEventListener("dragleave", () => $("#drop").classList.remove("over"));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    $("#drop").classList.remove("over");
    openFile(event.dataTransfer.files[0]);
  });
}

function compareAt(percent) {
  $("#picture").style.setProperty("--split", `${percent}%`);
  $("#compare").setAttribute("aria-valuetext", `Before on the left ${percent} percent, after on the rest`);
}

async function start() {
  try {
    api = await connect();
    buildControls();
    clearError();
  } catch (error) {
    $("#server").textContent = "Not connected";
    fail(error, start);
  }
}

setUpTheme();
setUpSources();
$("#controls").addEventListener("submit", (event) => event.preventDefault());
$("#compare").addEventListener("input", (event) => compareAt(event.target.value));
$("#show-overlay").addEventListener("change", showParts);
$("#download").addEventListener("click", download);
$("#retry").addEventListener("click", () => again?.());
$("#reset").addEventListener("click", () => {
  sliders?.reset();
  if (api) update();
});
compareAt(50);
await start();
