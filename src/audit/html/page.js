"use strict";
// Sorts and filters the table of accounts. Without it the table stands in the order of weight.
(() => {
  const table = document.getElementById("table");
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const heads = [...table.tHead.rows[0].cells];

  const text = (row, column) => row.cells[column].textContent.trim();
  const key = (row, column, isNumber) => {
    const time = row.cells[column].querySelector("time");
    // The younger, the smaller: the column says how long ago.
    if (time) return -Date.parse(time.dateTime);
    return isNumber ? Number(text(row, column).replace(/[^0-9]/g, "")) : text(row, column);
  };
  const compare = (a, b) => (typeof a === "number" ? a - b : a.localeCompare(b, "en", { numeric: true }));

  heads.forEach((head, column) => {
    const isNumber = head.classList.contains("n");
    const button = document.createElement("button");
    button.type = "button";
    // Paper shows this in its place: a heading with a button in it is not repeated on each page.
    head.dataset.name = head.textContent;
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const was = head.getAttribute("aria-sort");
      // Numbers begin with the largest, ages and words with the first.
      const first = isNumber && !rows[0]?.cells[column].querySelector("time") ? "descending" : "ascending";
      const order = !was ? first : was === "ascending" ? "descending" : "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", order);
      const sign = order === "ascending" ? 1 : -1;
      const keys = new Map(rows.map((row) => [row, key(row, column, isNumber)]));
      rows.sort((a, b) => sign * compare(keys.get(a), keys.get(b)));
      body.append(...rows);
    });
  });

  const find = document.getElementById("find");
  const verdict = document.getElementById("verdict");
  const shown = document.getElementById("shown");
  const filter = () => {
    const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    for (const row of rows) {
      const all = row.textContent.toLowerCase();
      const isVerdict = !verdict.value || text(row, 0).endsWith(verdict.value);
      row.hidden = !(isVerdict && words.every((word) => all.includes(word)));
      if (!row.hidden) count += 1;
    }
    shown.textContent = count + " of " + rows.length;
  };
  const form = document.getElementById("filter");
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", filter);
  form.hidden = false;
  filter();
})();
