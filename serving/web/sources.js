// The ways in for a photo: a file chosen, dropped or pasted, the camera, a drawn face.

import { ApiError } from "./api.js";
import { openCamera } from "./camera.js";
import { PhotoError, readFile, toPhoto } from "./photo.js";

async function fetchFace(name) {
  try {
    const reply = await fetch(name);
    if (reply.ok) return new File([await reply.blob()], name);
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
  }
  throw new ApiError("The drawn face cannot be loaded: the server does not answer. Try again.");
}

// `open` takes a function from the model's description to a photo; `fail` takes an error to show.
export function setUpSources(open, fail) {
  const openFile = (file) => open((model) => readFile(file, model));
  const chooser = document.querySelector("#file");
  chooser.addEventListener("change", () => {
    if (chooser.files[0]) openFile(chooser.files[0]);
    chooser.value = "";
  });
  for (const button of document.querySelectorAll("[data-face]")) {
    button.addEventListener("click", () => open(async (model) => readFile(await fetchFace(button.dataset.face), model)));
  }
  document.querySelector("#camera").addEventListener("click", () => openCamera(
    (video) => open((model) => toPhoto(video, video.videoWidth, video.videoHeight, model, "camera")),
    (text) => fail(new PhotoError(text)),
  ));
  document.addEventListener("paste", ({ clipboardData }) => {
    if (clipboardData.files[0]) openFile(clipboardData.files[0]);
  });
  const over = (is) => document.body.classList.toggle("over", is);
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    over(true);
  });
  document.addEventListener("dragleave", (event) => over(event.relatedTarget !== null));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    over(false);
    const file = event.dataTransfer.files[0];
    if (file) openFile(file);
    else fail(new PhotoError("What you dropped is not a file. Save the picture first, then drop or choose the file."));
  });
}
