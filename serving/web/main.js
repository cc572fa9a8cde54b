// Wires the page: a photo in, sliders to requests, answers to the picture.

import { ApiError, connect } from "./api.js";
import { chip, Emotions } from "./emotions.js";
import { FaceBoxes } from "./faces.js";
import { Latest } from "./latest.js";
import { marked } from "./mark.js";
import { paintParts, showLegend } from "./overlay.js";
import { context, cutOut, decode, faceRows, middle, pasted, PhotoError, scaled, toBase64 } from "./photo.js";
import { Sliders } from "./sliders.js";
import { setUpSources } from "./sources.js";
import { setUpTheme } from "./theme.js";

class NoFace extends PhotoError {}

const $ = (selector) => document.querySelector(selector);
const edits = new Latest();
const boxes = new FaceBoxes($("#boxes"), (i) => choose(photo.faces[i]));
let api = null;
let sliders = null;
let emotions = null;
let photo = null;
let edited = null; // the edited part of the view and its place; null is the photo itself
let again = null; // what "Try again" does

// Empties the live region first, so that the same words are read again.
function say(text) {
  $("#status").textContent = "";
  requestAnimationFrame(() => { $("#status").textContent = text; });
}

function fail(error, retry = null) {
  if (!(error instanceof ApiError || error instanceof PhotoError)) throw error;
  $("#error-text").textContent = error.message;
  again = error instanceof ApiError || error instanceof NoFace ? retry : null;
  $("#retry").textContent = error instanceof NoFace ? "Take the middle as the face" : "Try again";
  $("#retry").hidden = !again;
  $("#error").hidden = false;
}

function clearError() {
  $("#error").hidden = true;
}

function busy(is) {
  $("#picture").setAttribute("aria-busy", is);
}

function draw(target, picture) {
  target.width = picture.width;
  target.height = picture.height;
  context(target).drawImage(picture, 0, 0);
}

function showEdit() {
  draw($("#after"), photo.view);
  if (edited) context($("#after")).drawImage(edited.picture, edited.left, edited.top);
}

// Edits the chosen face of the view or of the full photo; gives the changed part, what was sent of it, and its place.
async function editOf(picture, signal) {
  const frame = scaled(photo.face.frame, picture.width / photo.view.width);
  const cut = cutOut(picture, frame, api.model.image_size);
  const answer = await api.edit(await toBase64(cut.part), cut.frame, sliders.vector(), regions(), signal);
  return { picture: await decode(answer), sent: cut.part, left: cut.left, top: cut.top };
}

function chosenRegions() {
  return [...document.querySelectorAll("#locks input:checked")].map((one) => one.value);
}

function regions() {
  const chosen = chosenRegions();
  return api.model.regions.map((name) => Number(chosen.length ? chosen.includes(name) : name === "whole"));
}

function update() {
  if (!photo?.face) return;
  if (sliders.changed) {
    edits.ask(runEdit);
    return;
  }
  edits.drop();
  edited = null;
  busy(false);
  $("#latency").hidden = true;
  showEdit();
  say("The photo is as it was.");
}

async function runEdit(signal) {
  const began = performance.now();
  busy(true);
  try {
    const answer = await editOf(photo.view, signal);
    if (signal.aborted) return;
    edited = answer;
    showEdit();
    clearError();
    $("#latency").textContent = `Edited in ${Math.round(performance.now() - began)} ms`;
    $("#latency").hidden = false;
    say("The picture is updated.");
  } catch (error) {
    if (!signal.aborted) fail(error, update);
  } finally {
    if (!signal.aborted) busy(false);
  }
}

// `make` gives a photo for the model's description.
async function open(make) {
  try {
    if (!api) await start();
    show(await make(api.model));
  } catch (error) {
    fail(error, () => open(make));
    return;
  }
  await look();
}

function show(made) {
  edits.drop();
  clearError();
  photo = made;
  edited = null;
  $("main").classList.remove("empty");
  $("#picture").hidden = $("#tools").hidden = false;
  $("#latency").hidden = true;
  $("#note").hidden = !photo.note;
  $("#note").textContent = photo.note;
  draw($("#before"), photo.view);
  $("main").style.setProperty("--ratio", photo.view.width / photo.view.height);
  $("#overlay").width = photo.view.width;
  $("#overlay").height = photo.view.height;
  $("#controls").classList.remove("ready");
  sliders.reset();
  emotions.clear();
  boxes.clear();
  showEdit();
}

// Asks where the faces of the photo are and takes the largest.
async function look() {
  const mine = photo;
  busy(true);
  try {
    const faces = await api.locate(await toBase64(photo.view));
    if (mine !== photo) return;
    if (!faces.length) throw new NoFace("No face was found in this photo. Choose one that shows a face upright and not too small.");
    photo.faces = faces;
    boxes.show(photo.view, faces.map((face) => face.box));
    await choose(faces[0]);
  } catch (error) {
    if (mine === photo) fail(error, error instanceof NoFace ? takeMiddle : look);
  } finally {
    if (mine === photo) busy(false);
  }
}

async function takeMiddle() {
  const mine = photo;
  clearError();
  busy(true);
  try {
    const frame = middle(photo.view, api.model.image_size);
    const seen = await api.analyze(faceRows(photo.view, frame, api.model.image_size));
    if (mine === photo) await choose({ frame, seen });
  } catch (error) {
    if (mine === photo) fail(error, takeMiddle);
  } finally {
    if (mine === photo) busy(false);
  }
}

// Takes a face to edit; what was done to another is undone.
async function choose(face) {
  edits.drop();
  edited = null;
  photo.face = face;
  sliders.setSeen(face.seen);
  if (emotions.chosen) emotions.apply();
  showEdit();
  $("#controls").classList.add("ready");
  clearError();
  say(photo.faces.length > 1 ? `Face ${photo.faces.indexOf(face) + 1} of ${photo.faces.length} is chosen.` : "The photo is ready. Choose an emotion or move a slider.");
  await showParts();
}

async function showParts() {
  const shown = $("#show-overlay").checked;
  $("#overlay").hidden = $("#legend").hidden = !shown;
  if (!shown || !photo?.face) return;
  const mine = photo;
  try {
    const { frame } = photo.face;
    const { labels } = await api.segment(faceRows(photo.view, frame, api.model.image_size));
    if (mine !== photo || frame !== photo.face.frame) return;
    showLegend($("#legend"), paintParts($("#overlay"), labels, api.model.classes, frame));
  } catch (error) {
    if (mine === photo) fail(error, showParts);
  }
}

function lock() {
  const chosen = chosenRegions();
  $("#locks-help").textContent = chosen.length
    ? `What lies outside the ${chosen.join(" and the ")} stays exactly as it is; on large photos the soft edge is as wide as a model pixel.`
    : "Nothing chosen: the whole face may change.";
  update();
}

function buildControls() {
  sliders = new Sliders($("#sliders"), api.model, () => {
    emotions.clear();
    update();
  });
  emotions = new Emotions(api.model, sliders, update);
  $("#tuning").hidden = api.model.expression.one_hot;
  $("#locks .chips").replaceChildren(...api.model.regions.filter((name) => name !== "whole").map((name) => chip("checkbox", "region", name, lock)));
  $("#privacy").textContent = "The photo, shrunk to at most 1,024 pixels, is sent to the server to find faces; then the chosen face's part of it, at its full size for a download. Nothing is stored.";
  const version = api.served ? ` version ${api.served.version}, ${api.served.server} server` : "";
  $("#server").textContent = `Model ${api.name}${version}`;
}

// The photo at its own size as a PNG, edited as the view is.
async function fileOf(full) {
  let picture = full;
  if (edited) {
    busy(true);
    try {
      picture = pasted(full, photo.full.width === photo.view.width ? edited : await editOf(full));
    } finally {
      busy(false);
    }
  }
  const blob = await new Promise((done) => picture.toBlob(done, "image/png"));
  if (!blob) throw new PhotoError("Your browser has not enough memory for a picture of this size. Choose a smaller photo.");
  return edited ? marked(blob) : blob;
}

async function download() {
  const { name, full } = photo;
  let blob;
  try {
    blob = await fileOf(full);
  } catch (error) {
    fail(error, download);
    return;
  }
  const url = URL.createObjectURL(blob);
  Object.assign(document.createElement("a"), { href: url, download: `${name}-edited.png` }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
  say("The picture is downloaded.");
}

function compareAt(percent) {
  $("#picture").style.setProperty("--split", `${percent}%`);
  $("#compare").setAttribute("aria-valuetext", `Before on the left ${percent} percent, after on the rest`);
}

async function start() {
  try {
    api = await connect();
  } catch (error) {
    $("#server").textContent = "Not connected";
    throw error;
  }
  buildControls();
  clearError();
}

async function firstStart() {
  try {
    await start();
  } catch (error) {
    fail(error, firstStart);
  }
}

setUpTheme();
setUpSources(open, fail);
$("#controls").addEventListener("submit", (event) => event.preventDefault());
$("#compare").addEventListener("input", (event) => compareAt(event.target.value));
$("#show-overlay").addEventListener("change", showParts);
$("#download").addEventListener("click", download);
$("#retry").addEventListener("click", () => again());
$("#dismiss").addEventListener("click", clearError);
$("#reset").addEventListener("click", () => {
  sliders.reset();
  emotions.clear();
  update();
});
compareAt(50);
await firstStart();
