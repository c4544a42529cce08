"use strict";
// Tables sort by a click on a header and filter by what is typed; without JavaScript they are complete, only still.
const value = (row, column) => row.cells[column].textContent.trim();

// The first number of a cell: "≥1.2 [0.9, 1.4]" is 1.2, "1e-3" is 0.001, "∞" is infinite; anything else is none.
function number(text) {
  if (text.replace(/^[≥≤~-]/, "") === "∞") return text.startsWith("-") ? -Infinity : Infinity;
  const found = /^[<>≥≤~= ]*(-?\d[\d,]*\.?\d*(?:e[+-]?\d+)?)/i.exec(text);
  return found ? Number(found[1].replace(/,/g, "")) : NaN;
}

function sort(table, column, header) {
  const descending = header.getAttribute("aria-sort") === "ascending";
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", descending ? "descending" : "ascending");
  const rows = [...table.tBodies[0].rows];
  const numeric = rows.some((row) => !Number.isNaN(number(value(row, column))));
  const sign = descending ? -1 : 1;
  rows.sort((a, b) => {
    if (!numeric) return sign * value(a, column).localeCompare(value(b, column));
    const [x, y] = [number(value(a, column)), number(value(b, column))];
    if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y); // what has no number comes last
    return x === y ? 0 : sign * (x < y ? -1 : 1);
  });
  table.tBodies[0].append(...rows);
}

function filterable(table) {
  const field = document.createElement("input");
  field.type = "search";
  field.className = "filter";
  field.placeholder = "Filter rows…";
  field.setAttribute("aria-label", "Filter the rows of the table below");
  field.addEventListener("input", () => {
    const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const row of table.tBodies[0].rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
    }
  });
  table.closest(".table").prepend(field);
}

for (const table of document.querySelectorAll("table")) {
  [...table.tHead.rows[0].cells].forEach((header, column) => {
    if (!header.textContent.trim()) return;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...header.childNodes);
    button.addEventListener("click", () => sort(table, column, header));
    header.append(button);
  });
  const named = [...table.tHead.rows[0].cells].every((header) => header.textContent.trim());
  if (named && table.tBodies[0].rows.length > 8) filterable(table);
}
