// Turns a file or a video frame into a photo: upright pixels, its centre square, and that square at the model's size.

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

// Halves until the last step is less than a factor of two, so that no pixel is skipped.
function shrink(source, box, side) {
  let { x, y, width, height } = box;
  let from = source;
  while (Math.min(width, height) > 2 * side) {
    const half = canvas(Math.ceil(width / 2), Math.ceil(height / 2));
    context(half).drawImage(from, x, y, width, height, 0, 0, half.width, half.height);
    from = half;
    ({ x, y, width, height } = { x: 0, y: 0, width: half.width, height: half.height });
  }
  const small = canvas(side, side);
  const drawing = context(small);
  drawing.imageSmoothingQuality = "high";
  drawing.drawImage(from, x, y, width, height, 0, 0, side, side);
  return small;
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
  drawing.fillStyle = "#fff";
  drawing.fillRect(0, 0, full.width, full.height);
  drawing.imageSmoothingQuality = "high";
  drawing.drawImage(source, 0, 0, full.width, full.height);
  const side = Math.min(full.width, full.height);
  const [x, y] = [Math.floor((full.width - side) / 2), Math.floor((full.height - side) / 2)];
  const small = shrink(full, { x, y, width: side, height: side }, model.image_size);
  const pixels = context(small).getImageData(0, 0, model.image_size, model.image_size);
  const note = scale < 1 ? `This photo was scaled down to ${full.width} × ${full.height} pixels, the most this model takes.` : "";
  return { name, note, full, pixels, view: viewOf(full), png: small.toDataURL("image/png").split(",")[1] };
}

function viewOf(full) {
  const scale = Math.min(1, VIEW_SIDE / Math.max(full.width, full.height));
  const view = canvas(Math.round(full.width * scale), Math.round(full.height * scale));
  const drawing = context(view);
  drawing.imageSmoothingQuality = "high";
  drawing.drawImage(full, 0, 0, view.width, view.height);
  return view;
}

// Rows of pixels of three numbers from -1 to 1.
export function rows({ data, width, height }) {
  const number = (at) => Math.round((data[at] / 127.5 - 1) * 1e4) / 1e4;
  return Array.from({ length: height }, (_, y) =>
    Array.from({ length: width }, (_, x) => [0, 1, 2].map((c) => number((y * width + x) * 4 + c))));
}

export async function decode(b64) {
  const bytes = Uint8Array.from(atob(b64), (letter) => letter.charCodeAt(0));
  const bitmap = await createImageBitmap(new Blob([bytes], { type: "image/png" }));
  const target = canvas(bitmap.width, bitmap.height);
  context(target).drawImage(bitmap, 0, 0);
  return context(target).getImageData(0, 0, bitmap.width, bitmap.height);
}
