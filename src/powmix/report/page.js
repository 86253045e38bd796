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
