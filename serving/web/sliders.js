// The panel: one slider a label, grouped by region, with the mark of what is seen in the photo.

export const capital = (text) => text[0].toUpperCase() + text.slice(1);

const html = (tag, set = {}, ...children) => {
  const made = Object.assign(document.createElement(tag), set);
  made.append(...children);
  return made;
};

export class Sliders {
  // `model` is the manifest's; one of an earlier export names no units, and its labels stand bare.
  constructor(root, model, changed) {
    const space = model.expression;
    this.space = space;
    this.units = model.units ?? {};
    [this.low, this.high] = [space.low * space.scale, space.high * space.scale];
    this.digits = this.high - this.low < 5 ? 2 : 1;
    this.seen = Object.fromEntries(space.labels.map((label) => [label, 0]));
    this.asked = {};
    this.inputs = {};
    root.replaceChildren();
    const ordered = [...Object.keys(this.units), ...space.labels.filter((label) => !(label in this.units))];
    for (const region of space.one_hot ? [] : [...model.regions, "expression"]) {
      const labels = ordered.filter((label) => (this.units[label]?.region ?? "expression") === region && !space.unproven?.includes(label));
      if (labels.length) {
        root.append(html("fieldset", {}, html("legend", { textContent: capital(region) }), ...labels.map((label) => this.#row(label, changed))));
      }
    }
    this.show();
  }

  #row(label, changed) {
    const unit = this.units[label];
    const id = `slider-${label}`;
    const input = html("input", { type: "range", id, min: this.low, max: this.high, step: (this.high - this.low) / 50, value: 0 });
    const output = html("output", { htmlFor: id });
    const parts = unit ? [html("b", { textContent: label }), ` ${capital(unit.name)} `, html("span", { textContent: `(${unit.word})` })] : [label];
    input.addEventListener("input", () => {
      this.asked[label] = Number(input.value);
      this.show();
      changed();
    });
    const back = () => {
      delete this.asked[label];
      this.show();
      changed();
    };
    input.addEventListener("dblclick", back);
    input.addEventListener("keydown", ({ key }) => {
      if (key === "Delete" || key === "Backspace") back();
    });
    this.inputs[label] = { input, output };
    return html("div", { className: "slider" }, html("label", { htmlFor: id }, ...parts), output, input);
  }

  // `values` is the vector that `analyze` returned.
  setSeen(values) {
    const clip = (value) => Math.min(Math.max(value, this.space.low), this.space.high) * this.space.scale;
    this.space.labels.forEach((label, i) => { this.seen[label] = clip(values[i]); });
    this.reset();
  }

  reset() {
    this.asked = {};
    this.show();
  }

  // Asks for these values, or for a share of the way to them; what is not named becomes the neutral 0.
  preset(values, share) {
    const toward = (label) => this.seen[label] + ((values[label] ?? 0) - this.seen[label]) * share;
    this.asked = Object.fromEntries(this.space.labels.map((label) => [label, toward(label)]));
    this.show();
  }

  get changed() {
    return Object.entries(this.asked).some(([label, value]) => Math.abs(value - this.seen[label]) > 1e-6) || (this.space.one_hot && Object.keys(this.asked).length > 0);
  }

  vector() {
    return this.space.labels.map((label) => (this.asked[label] ?? this.seen[label]) / this.space.scale);
  }

  show() {
    for (const [label, { input, output }] of Object.entries(this.inputs)) {
      const value = this.asked[label] ?? this.seen[label];
      const change = value - this.seen[label];
      const moved = Math.abs(change) >= 0.03 * (this.high - this.low);
      const shown = (number) => number.toFixed(this.digits);
      const part = (number) => `${((number - this.low) / (this.high - this.low)) * 100}%`;
      input.value = value;
      input.style.setProperty("--fill", part(value));
      input.style.setProperty("--seen", part(this.seen[label]));
      output.replaceChildren(...(moved ? [html("i", { textContent: `${change > 0 ? "+" : "−"}${shown(Math.abs(change))}` }), " "] : []), shown(value));
      input.setAttribute("aria-valuetext", `${shown(value)} of ${this.high}, ${shown(this.seen[label])} seen in the photo`);
      input.closest(".slider").classList.toggle("moved", moved);
    }
  }
}
