// Turns a file or a video frame into a photo: upright pixels, a view of them, and the parts that hold a face.

const MAX_BYTES = 32 * 1024 * 1024;
const VIEW_SIDE = 1024;

export class PhotoError extends Error {}

export function canvas(width, height) {
  const made = document.createElement("canvas");
  made.width = width;
  made.height = height;
  return made;
}

export function context(target) {
  return target.getContext("2d", { willReadFrequently: true });
}

// What is seen of a picture on white: what is shown and sent, as the server knows no transparency.
function onWhite(target) {
  const drawing = context(target);
  drawing.fillStyle = "#fff";
  drawing.fillRect(0, 0, target.width, target.height);
  return drawing;
}

// The face's square of a picture at the model's size. `frame` takes the picture's pixels to the square; halved until the
// last step is less than a factor of two, so that no pixel is skipped.
function squareOf(picture, frame, size) {
  const [[a, b, c], [d, e, f]] = frame;
  let from = picture;
  while (Math.hypot(a, d) * (picture.width / from.width) < 0.5 && Math.min(from.width, from.height) > 2) {
    const half = canvas(Math.ceil(from.width / 2), Math.ceil(from.height / 2));
    context(half).drawImage(from, 0, 0, half.width, half.height);
    from = half;
  }
  const [x, y] = [picture.width / from.width, picture.height / from.height];
  const small = canvas(size, size);
  const drawing = context(small);
  drawing.imageSmoothingQuality = "high";
  drawing.setTransform(a * x, d * x, b * y, e * y, c, f);
  drawing.drawImage(from, 0, 0);
  return drawing.getImageData(0, 0, size, size);
}

// Rows of pixels of three numbers from -1 to 1 of the face's square, as `analyze` and `segment` take them.
export function faceRows(picture, frame, size) {
  const { data } = squareOf(picture, frame, size);
  const number = (at) => Math.round((data[at] / 127.5 - 1) * 1e4) / 1e4;
  return Array.from({ length: size }, (_, y) =>
    Array.from({ length: size }, (_, x) => [0, 1, 2].map((c) => number((y * size + x) * 4 + c))));
}

// The frame of the middle square of a picture.
export function middle({ width, height }, size) {
  const side = Math.min(width, height);
  const scale = size / side;
  return [[scale, 0, -scale * Math.floor((width - side) / 2)], [0, scale, -scale * Math.floor((height - side) / 2)]];
}

// The same face's frame in a picture of another width.
export function scaled([[a, b, c], [d, e, f]], by) {
  return [[a / by, b / by, c], [d / by, e / by, f]];
}

const REACH = 0.15; // from how far beyond the square an edit may draw pixels, as a share of its side

// The part of a picture that holds a face's square and what an edit may draw from, with the frame inside it.
export function cutOut(picture, frame, size) {
  const [[a, b, c], [d, e, f]] = frame;
  const area = a * e - b * d;
  const ends = [-REACH * size, (1 + REACH) * size];
  const corners = ends.flatMap((u) => ends.map((v) => [(e * (u - c) - b * (v - f)) / area, (a * (v - f) - d * (u - c)) / area]));
  const span = (axis, limit) => {
    const places = corners.map((one) => one[axis]);
    const least = Math.min(16, limit);
    const low = Math.min(Math.max(Math.floor(Math.min(...places)), 0), limit - least);
    return [low, Math.max(Math.min(Math.ceil(Math.max(...places)), limit), low + least)];
  };
  const [left, right] = span(0, picture.width);
  const [top, bottom] = span(1, picture.height);
  const part = canvas(right - left, bottom - top);
  onWhite(part).drawImage(picture, -left, -top);
  return { part, left, top, frame: [[a, b, c + a * left + b * top], [d, e, f + d * left + e * top]] };
}

// A picture with an edited part of it in its place, as clear as it was; `sent` is the part before the edit, both on white.
export function pasted(picture, { picture: edited, sent, left, top }) {
  const made = canvas(picture.width, picture.height);
  const drawing = context(made);
  drawing.drawImage(picture, 0, 0);
  const [own, was, now] = [[made, left, top], [sent, 0, 0], [edited, 0, 0]].map(([from, x, y]) =>
    context(from).getImageData(x, y, sent.width, sent.height));
  for (let at = 0; at < own.data.length; at += 1) {
    const opacity = own.data[at | 3] / 255;
    if (now.data[at] !== was.data[at]) own.data[at] = 255 - (255 - now.data[at]) / opacity;
  }
  drawing.putImageData(own, left, top);
  return made;
}

export async function toBase64(picture) {
  const blob = await new Promise((done) => picture.toBlob(done, "image/png"));
  if (!blob) throw new PhotoError("Your browser has not enough memory for a picture of this size. Choose a smaller photo.");
  const url = await new Promise((done, failed) => {
    const reader = new FileReader();
    reader.onload = () => done(reader.result);
    reader.onerror = () => failed(reader.error);
    reader.readAsDataURL(blob);
  });
  return url.split(",")[1];
}

// Words for a file that does not decode, by its first bytes.
async function unreadable(file) {
  const head = String.fromCharCode(...new Uint8Array(await file.slice(0, 12).arrayBuffer()));
  if (!file.size) return "This file is empty. Choose a JPEG, PNG or WebP photo.";
  if (/^....ftyp(hei|hev|mif1|msf1)/s.test(head)) {
    return "Your browser cannot read HEIC photos. Choose a JPEG: an iPhone takes them with Settings, Camera, Formats, Most Compatible.";
  }
  return "This file is not a picture that your browser can read. Choose a JPEG, PNG or WebP photo.";
}

export async function readFile(file, model) {
  if (file.size > MAX_BYTES) {
    throw new PhotoError(`This file is too large (${Math.round(file.size / 1048576)} MB). Choose a photo of at most ${MAX_BYTES / 1048576} MB.`);
  }
  let bitmap;
  try {
    bitmap = await createImageBitmap(file, { imageOrientation: "from-image" });
  } catch {
    throw new PhotoError(await unreadable(file));
  }
  try {
    return toPhoto(bitmap, bitmap.width, bitmap.height, model, file.name.replace(/\.[^.]*$/, ""));
  } finally {
    bitmap.close();
  }
}

// `source` is a picture or a video frame, upright. One of more than the model's `max_pixels` is scaled down to them.
export function toPhoto(source, width, height, model, name) {
  if (Math.min(width, height) < 16) throw new PhotoError("This picture is too small. Choose one of at least 16 pixels a side.");
  const scale = Math.min(1, Math.sqrt(model.max_pixels / (width * height)));
  const full = canvas(Math.floor(width * scale), Math.floor(height * scale));
  const drawing = context(full);
  drawing.imageSmoothingQuality = "high";
  drawing.drawImage(source, 0, 0, full.width, full.height);
  const note = scale < 1 ? `This photo was scaled down to ${full.width} × ${full.height} pixels, the most this model takes.` : "";
  return { name, note, full, view: viewOf(full), faces: [], face: null };
}

function viewOf(full) {
  const scale = Math.min(1, VIEW_SIDE / Math.max(full.width, full.height));
  const view = canvas(Math.round(full.width * scale), Math.round(full.height * scale));
  const drawing = onWhite(view);
  drawing.imageSmoothingQuality = "high";
  drawing.drawImage(full, 0, 0, view.width, view.height);
  return view;
}

// A PNG in base64 as a picture.
export async function decode(b64) {
  const bytes = Uint8Array.from(atob(b64), (letter) => letter.charCodeAt(0));
  const bitmap = await createImageBitmap(new Blob([bytes], { type: "image/png" }));
  const target = canvas(bitmap.width, bitmap.height);
  context(target).drawImage(bitmap, 0, 0);
  bitmap.close();
  return target;
}
