// The boxes of the faces found, as buttons on the picture, where there is more than one.

export class FaceBoxes {
  // `chosen` is called with a face's number from 0.
  constructor(root, chosen) {
    this.root = root;
    this.chosen = chosen;
  }

  clear() {
    this.root.replaceChildren();
  }

  // `boxes` are left, top, right, bottom in pixels of a picture of this width and height.
  show({ width, height }, boxes) {
    this.clear();
    if (boxes.length < 2) return;
    boxes.forEach(([left, top, right, bottom], i) => {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "face-box";
      button.ariaLabel = `Face ${i + 1} of ${boxes.length}`;
      button.ariaPressed = String(i === 0);
      const place = { left: left / width, top: top / height, width: (right - left) / width, height: (bottom - top) / height };
      for (const [side, share] of Object.entries(place)) button.style.setProperty(side, `${share * 100}%`);
      button.addEventListener("click", () => {
        for (const other of this.root.children) other.ariaPressed = String(other === button);
        this.chosen(i);
      });
      this.root.append(button);
    });
  }
}
