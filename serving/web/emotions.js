// The emotion chips and their strength, which set the sliders.

import { capital } from "./sliders.js";

const root = document.querySelector("#presets");
const strength = document.querySelector("#strength");
const output = document.querySelector("#strength-row output");

export function chip(type, name, value, changed) {
  const label = document.createElement("label");
  const input = Object.assign(document.createElement("input"), { type, name, value });
  input.addEventListener("change", changed);
  label.className = "chip";
  label.append(input, capital(value));
  return label;
}

export class Emotions {
  // `changed` is called once the sliders are set.
  constructor({ expression: space, emotions }, sliders, changed) {
    const each = space.one_hot ? space.labels.map((label) => [label, { [label]: space.high * space.scale }]) : [];
    this.known = emotions ?? Object.fromEntries(each); // an earlier export's manifest names none
    this.sliders = sliders;
    this.changed = changed;
    root.hidden = !Object.keys(this.known).length;
    strength.parentElement.hidden = space.one_hot;
    root.querySelector(".chips").replaceChildren(...Object.keys(this.known).map((name) => chip("radio", "emotion", name, () => this.apply())));
    strength.oninput = () => this.apply();
    this.clear();
  }

  get chosen() {
    return root.querySelector("input[name=emotion]:checked");
  }

  apply() {
    this.sliders.preset(this.known[this.chosen.value], strength.value / 100);
    this.show();
    this.changed();
  }

  clear() {
    if (this.chosen) this.chosen.checked = false;
    strength.value = 100;
    this.show();
  }

  show() {
    strength.disabled = !this.chosen;
    strength.style.setProperty("--fill", `${strength.value}%`);
    output.textContent = this.chosen ? `${strength.value} %` : "choose an emotion first";
  }
}
