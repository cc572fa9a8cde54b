// Light, dark, or what the system prefers; the choice is the only thing this page stores.

const select = document.querySelector("#theme");

export function setUpTheme() {
  const show = () => { document.documentElement.dataset.theme = select.value; };
  try {
    select.value = localStorage.getItem("theme") ?? "auto";
  } catch {
    select.value = "auto";
  }
  show();
  select.addEventListener("change", () => {
    show();
    try {
      localStorage.setItem("theme", select.value);
    } catch {
      // Storage is switched off: the choice lasts as long as the page.
    }
  });
}
