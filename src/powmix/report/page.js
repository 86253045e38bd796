document.querySelectorAll("table.sortable").forEach((table) => {
  const value = (row, i) => {
    const cell = row.cells[i];
    const number = parseFloat(cell.dataset.value ?? cell.textContent.replace("−", "-"));
    return Number.isNaN(number) ? cell.textContent.trim().toLowerCase() : number;
  };
  const sort = (head, i) => {
    const ascending = head.getAttribute("aria-sort") !== "ascending";
    table.querySelectorAll("thead th").forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
    const body = table.tBodies[0];
    const groups = [];
    [...body.rows].forEach((row) => (row.dataset.with ? groups.at(-1).push(row) : groups.push([row])));
    groups.sort(([a], [b]) => {
      const [x, y] = [value(a, i), value(b, i)];
      const order = typeof x === typeof y ? (x > y) - (x < y) : typeof x === "number" ? -1 : 1;
      return ascending ? order : -order;
    });
    body.append(...groups.flat());
  };
  table.querySelectorAll("thead th").forEach((head, i) => {
    head.tabIndex = 0;
    head.addEventListener("click", () => sort(head, i));
    head.addEventListener("keydown", (event) => { if (event.key === "Enter") sort(head, i); });
  });
});
const reveal = () => {
  const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target) { target.closest("details")?.setAttribute("open", ""); target.scrollIntoView(); }
};
addEventListener("hashchange", reveal);
reveal();
const theme = document.getElementById("theme");
const kept = () => { try { return localStorage.getItem("powmix-theme"); } catch { return null; } };
const prefers = matchMedia("(prefers-color-scheme: dark)");
const show = (name) => { document.documentElement.dataset.theme = name; };
show(kept() ?? (prefers.matches ? "dark" : "light"));
prefers.addEventListener("change", () => kept() ?? show(prefers.matches ? "dark" : "light"));
theme.addEventListener("click", () => {
  const name = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
  show(name);
  try { localStorage.setItem("powmix-theme", name); } catch { /* a page from a file may not keep anything */ }
});
const copied = (text) => {
  const area = document.body.appendChild(document.createElement("textarea"));
  area.value = text;
  area.select();
  const done = document.execCommand("copy");  // navigator.clipboard is refused to pages from files
  area.remove();
  return done;
};
document.querySelectorAll("[data-copy]").forEach((button) => button.addEventListener("click", () => {
  const texts = JSON.parse(button.parentElement.querySelector("script").textContent);
  button.textContent = copied(texts[button.dataset.copy]) ? "copied" : "not allowed";
  setTimeout(() => { button.textContent = button.dataset.copy; }, 1500);
}));
