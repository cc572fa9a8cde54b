// Wires the page: a photo in, sliders to requests, answers to the picture.

import { ApiError, connect } from "./api.js";
import { compose } from "./compose.js";
import { chip, Emotions } from "./emotions.js";
import { Latest } from "./latest.js";
import { paintParts, showLegend } from "./overlay.js";
import { context, decode, PhotoError, rows } from "./photo.js";
import { Sliders } from "./sliders.js";
import { setUpSources } from "./sources.js";
import { setUpTheme } from "./theme.js";

const $ = (selector) => document.querySelector(selector);
const edits = new Latest();
let api = null;
let sliders = null;
let emotions = null;
let photo = null;
let edited = null; // pixels of the small square after the edit; null is the photo itself
let again = null; // what "Try again" does

// Empties the live region first, so that the same words are read again.
function say(text) {
  $("#status").textContent = "";
  requestAnimationFrame(() => { $("#status").textContent = text; });
}

function fail(error, retry = null) {
  if (!(error instanceof ApiError || error instanceof PhotoError)) throw error;
  $("#error-text").textContent = error.message;
  again = error instanceof ApiError ? retry : null;
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

async function showEdit() {
  const mine = edited;
  const picture = mine ? await compose(photo.view, photo.pixels, mine) : photo.view;
  if (mine === edited) draw($("#after"), picture);
}

function chosenRegions() {
  return [...document.querySelectorAll("#locks input:checked")].map((one) => one.value);
}

function regions() {
  const chosen = chosenRegions();
  return api.model.regions.map((name) => Number(chosen.length ? chosen.includes(name) : name === "whole"));
}

function update() {
  if (!photo) return;
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
    const answer = await decode(await api.edit(photo.png, sliders.vector(), regions(), signal));
    if (signal.aborted) return;
    edited = answer;
    await showEdit();
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
  showEdit();
}

// Asks what is in the photo: its expression, and its parts where they are shown.
async function look() {
  const mine = photo;
  busy(true);
  try {
    const seen = await api.analyze(rows(photo.pixels));
    if (mine !== photo) return;
    sliders.setSeen(seen);
    if (emotions.chosen) emotions.apply();
    $("#controls").classList.add("ready");
    clearError();
    say("The photo is ready. Choose an emotion or move a slider.");
    await showParts();
  } catch (error) {
    if (mine === photo) fail(error, look);
  } finally {
    if (mine === photo) busy(false);
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

function lock() {
  const chosen = chosenRegions();
  $("#locks-help").textContent = chosen.length
    ? `What lies outside the ${chosen.join(" and the ")} stays exactly as it is; on large photos the soft edge is as wide as a model pixel.`
    : "Nothing chosen: the whole face may change.";
  update();
}

function buildControls() {
  const space = api.model.expression;
  sliders = new Sliders($("#sliders"), space, () => {
    emotions.clear();
    update();
  });
  emotions = new Emotions(space, sliders, update);
  $("#tuning").hidden = space.one_hot;
  $("#locks .chips").replaceChildren(...api.model.regions.filter((name) => name !== "whole").map((name) => chip("checkbox", "region", name, lock)));
  const side = api.model.image_size;
  $("#privacy").textContent = `Only the centre square, shrunk to ${side} × ${side} pixels, is sent to the server. Nothing is stored.`;
  const version = api.served ? ` version ${api.served.version}, ${api.served.server} server` : "";
  $("#server").textContent = `Model ${api.name}${version}`;
}

async function download() {
  const { name, full, pixels } = photo;
  const picture = edited ? await compose(full, pixels, edited) : full;
  const blob = await new Promise((done) => picture.toBlob(done, "image/png"));
  if (!blob) {
    fail(new PhotoError("Your browser has not enough memory for a picture of this size. Choose a smaller photo."));
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
