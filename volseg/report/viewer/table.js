"use strict";
// Sorting and finding in the table of cases; without this script it is sorted already, the worst first.
(() => {
  const table = document.getElementById("cases");
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];

  const value = (row, column, kind) => {
    const told = row.cells[column].dataset.value;
    return kind === "text" ? told : told === "" ? null : Number(told);
  };

  const compare = (a, b, kind) =>
    kind === "text" ? a.localeCompare(b, "en", { numeric: true }) : a - b;

  const sort = (head, column) => {
    const kind = head.dataset.sort;
    const rising = head.getAttribute("aria-sort") !== "ascending";
    for (const other of heads) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", rising ? "ascending" : "descending");
    const rows = [...body.rows].map((row) => [value(row, column, kind), row]);
    // what has no figure stays at the end, whichever way
    rows.sort(([a], [b]) =>
      a === null || b === null ? (a === null) - (b === null) : compare(a, b, kind) * (rising ? 1 : -1));
    body.append(...rows.map(([, row]) => row));
  };

  heads.forEach((head, column) => {
    if (!head.dataset.sort) return;
    const button = document.createElement("button");
    button.type = "button";
    button.title = "Sort by this";
    button.append(...head.childNodes);
    button.addEventListener("click", () => sort(head, column));
    head.append(button);
  });

  const find = document.getElementById("find");
  if (find) {
    find.closest("p").hidden = false;
    find.addEventListener("input", () => {
      const wanted = find.value.trim().toLowerCase();
      for (const row of body.rows) row.hidden = !row.textContent.toLowerCase().includes(wanted);
    });
  }
})();
