// Adds the change of a small square to a picture at its own size, as the server's edit_bytes does.

import { canvas, context } from "./photo.js";

const KEEPS = 0.6; // slope up to which a change leaves the photo's own detail alone; at 1 it takes it away
const NOISE = 10; // variance of a window below which nothing is there to be wiped out
const STRIP_PIXELS = 2 ** 20; // between strips the page may answer the user

// Two neighbours and the weight of the second, for each of `count` pixels over `size` (half-pixel centres).
function taps(count, size) {
  return Array.from({ length: count }, (_, i) => {
    const at = Math.min(Math.max(((i + 0.5) * size) / count - 0.5, 0), size - 1);
    const low = Math.floor(at);
    return [low, Math.min(low + 1, size - 1), at - low];
  });
}

// Mean of the 3 x 3 pixels around each one, of those that exist.
function windowMeans(values, size) {
  const means = new Float32Array(size * size);
  for (let y = 0; y < size; y += 1) {
    for (let x = 0; x < size; x += 1) {
      let [sum, count] = [0, 0];
      for (let v = Math.max(y - 1, 0); v <= Math.min(y + 1, size - 1); v += 1) {
        for (let u = Math.max(x - 1, 0); u <= Math.min(x + 1, size - 1); u += 1) {
          sum += values[v * size + u];
          count += 1;
        }
      }
      means[y * size + x] = sum / count;
    }
  }
  return means;
}

// How far the change wipes out what was there, by pixel: 0, the photo's detail stays, to 1, it goes (see docs/web.md).
function wiped(before, change, size) {
  const covariance = new Float32Array(size * size);
  const variance = new Float32Array(size * size);
  for (let k = 0; k < 3; k += 1) {
    const means = (value) => windowMeans(Float32Array.from(covariance, (_, i) => value(i * 4 + k)), size);
    const [mean, meanChange] = [means((at) => before[at]), means((at) => change[at])];
    const [product, square] = [means((at) => before[at] * change[at]), means((at) => before[at] ** 2)];
    covariance.forEach((_, i) => {
      covariance[i] += product[i] - mean[i] * meanChange[i];
      variance[i] += square[i] - mean[i] ** 2;
    });
  }
  const gone = windowMeans(covariance.map((value, i) => {
    const flattened = Math.min(Math.max((-value / (variance[i] + NOISE) - KEEPS) / (1 - KEEPS), 0), 1);
    return flattened * flattened * (3 - 2 * flattened);
  }), size);
  return gone.map((value, i) => ([0, 1, 2].some((k) => change[i * 4 + k]) ? value : 0));
}

// Rows of the small square, widened to `side` pixels of [red, green and blue to add, share of the photo that goes].
function widen(before, after, side) {
  const size = before.width;
  const change = Int16Array.from(before.data, (value, i) => after.data[i] - value);
  const gone = wiped(before.data, change, size);
  const small = Float32Array.from(change, (value, i) => {
    const share = gone[i >> 2];
    return i % 4 === 3 ? share : value + share * before.data[i];
  });
  const steps = taps(side, size);
  return Array.from({ length: size }, (_, y) => {
    const row = new Float32Array(side * 4);
    steps.forEach(([left, right, weight], x) => {
      for (let k = 0; k < 4; k += 1) {
        const [a, b] = [small[(y * size + left) * 4 + k], small[(y * size + right) * 4 + k]];
        row[x * 4 + k] = a + (b - a) * weight;
      }
    });
    return row;
  });
}

// Where nothing changed, pixels keep their exact values. Large pictures are done in strips, so that the page stays alive.
export async function compose(picture, before, after) {
  const result = canvas(picture.width, picture.height);
  const drawing = context(result);
  drawing.drawImage(picture, 0, 0);
  const side = Math.min(picture.width, picture.height);
  const [left, top] = [Math.floor((picture.width - side) / 2), Math.floor((picture.height - side) / 2)];
  const rows = widen(before, after, side);
  const steps = taps(side, before.width);
  const height = Math.max(1, Math.floor(STRIP_PIXELS / side));
  for (let from = 0; from < side; from += height) {
    if (from) await new Promise((done) => setTimeout(done));
    const strip = drawing.getImageData(left, top + from, side, Math.min(height, side - from));
    fade(strip, steps.slice(from, from + strip.height), rows);
    drawing.putImageData(strip, left, top + from);
  }
  return result;
}

function fade({ data, width }, steps, rows) {
  steps.forEach(([upper, lower, weight], y) => {
    const [above, below] = [rows[upper], rows[lower]];
    for (let x = 0; x < width * 4; x += 4) {
      const at = y * width * 4 + x;
      const kept = 1 - (above[x + 3] + (below[x + 3] - above[x + 3]) * weight);
      for (let k = 0; k < 3; k += 1) {
        data[at + k] = data[at + k] * kept + above[x + k] + (below[x + k] - above[x + k]) * weight;
      }
    }
  });
}
