// Colours the parts of the face that the model sees, and names them.

import { canvas, context } from "./photo.js";

const NAMES = {
  background: "background", skin: "skin", nose: "nose", eye_g: "glasses", l_eye: "left eye", r_eye: "right eye",
  l_brow: "left brow", r_brow: "right brow", l_ear: "left ear", r_ear: "right ear", mouth: "inside of the mouth",
  u_lip: "upper lip", l_lip: "lower lip", hair: "hair", hat: "hat", ear_r: "earring", neck_l: "necklace", neck: "neck", cloth: "clothes",
};
const colour = (id) => `hsl(${(id * 137) % 360} 75% ${40 + (id % 3) * 10}%)`;

export function paintParts(target, labels, classes) {
  const size = labels.length;
  const small = canvas(size, size);
  const drawing = context(small);
  const found = new Set(labels.flat());
  labels.forEach((row, y) => row.forEach((id, x) => {
    if (classes[id] === "background") return;
    drawing.fillStyle = colour(id);
    drawing.fillRect(x, y, 1, 1);
  }));
  const side = Math.min(target.width, target.height);
  const onto = context(target);
  onto.clearRect(0, 0, target.width, target.height);
  onto.imageSmoothingEnabled = false;
  onto.drawImage(small, Math.floor((target.width - side) / 2), Math.floor((target.height - side) / 2), side, side);
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
