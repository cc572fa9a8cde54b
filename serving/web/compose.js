// Adds the change of a small square to a picture at its own size, as the server's edit_bytes does.

import { canvas, context } from "./photo.js";

// Two neighbours and the weight of the second, for each of `count` pixels over `size` (half-pixel centres).
function taps(count, size) {
  return Array.from({ length: count }, (_, i) => {
    const at = Math.min(Math.max(((i + 0.5) * size) / count - 0.5, 0), size - 1);
    const low = Math.floor(at);
    return [low, Math.min(low + 1, size - 1), at - low];
  });
}

// Where nothing changed, pixels keep their exact values.
export function compose(picture, before, after) {
  const result = canvas(picture.width, picture.height);
  const drawing = context(result);
  drawing.drawImage(picture, 0, 0);
  const size = before.width;
  const change = Int16Array.from(before.data, (value, i) => after.data[i] - value);
  const side = Math.min(picture.width, picture.height);
  const [left, top] = [Math.floor((picture.width - side) / 2), Math.floor((picture.height - side) / 2)];
  const square = drawing.getImageData(left, top, side, side);
  const steps = taps(side, size);
  for (let y = 0; y < side; y += 1) {
    const [y0, y1, fy] = steps[y];
    for (let x = 0; x < side; x += 1) {
      const [x0, x1, fx] = steps[x];
      const [a, b, c, d] = [(y0 * size + x0) * 4, (y0 * size + x1) * 4, (y1 * size + x0) * 4, (y1 * size + x1) * 4];
      const at = (y * side + x) * 4;
      for (let k = 0; k < 3; k += 1) {
        const upper = change[a + k] + (change[b + k] - change[a + k]) * fx;
        const lower = change[c + k] + (change[d + k] - change[c + k]) * fx;
        square.data[at + k] += upper + (lower - upper) * fy;
      }
    }
  }
  drawing.putImageData(square, left, top);
  return result;
}
