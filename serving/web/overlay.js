// Colours the parts of the face that the model sees, and names them.

import { canvas, context } from "./photo.js";

const NAMES = {
  background: "background", skin: "skin", nose: "nose", eye_g: "glasses", l_eye: "left eye", r_eye: "right eye",
  l_brow: "left brow", r_brow: "right brow", l_ear: "left ear", r_ear: "right ear", mouth: "inside of the mouth",
  u_lip: "upper lip", l_lip: "lower lip", hair: "hair", hat: "hat", ear_r: "earring", neck_l: "necklace", neck: "neck", cloth: "clothes",
};
const colour = (id) => `hsl(${(id * 137) % 360} 75% ${40 + (id % 3) * 10}%)`;

// `frame` takes the target's pixels to the square that was segmented.
export function paintParts(target, labels, classes, frame) {
  const size = labels.length;
  const small = canvas(size, size);
  const drawing = context(small);
  const found = new Set(labels.flat());
  labels.forEach((row, y) => row.forEach((id, x) => {
    if (classes[id] === "background") return;
    drawing.fillStyle = colour(id);
    drawing.fillRect(x, y, 1, 1);
  }));
  const [[a, b, c], [d, e, f]] = frame;
  const area = a * e - b * d;
  const onto = context(target);
  onto.setTransform(1, 0, 0, 1, 0, 0);
  onto.clearRect(0, 0, target.width, target.height);
  onto.imageSmoothingEnabled = false;
  onto.setTransform(e / area, -d / area, -b / area, a / area, (b * f - c * e) / area, (c * d - a * f) / area);
  onto.drawImage(small, 0, 0);
  return [...found].filter((id) => classes[id] !== "background").sort((a, b) => a - b)
    .map((id) => [NAMES[classes[id]] ?? classes[id], colour(id)]);
}

export function showLegend(list, parts) {
  list.replaceChildren(...parts.map(([name, fill]) => {
    const item = document.createElement("li");
    const swatch = document.createElement("i");
    swatch.style.background = fill;
    item.append(swatch, name);
    return item;
  }));
}
