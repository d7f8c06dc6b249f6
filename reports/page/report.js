"use strict";

// A heading of a table of class "sortable" sorts it.
function sortable(table) {
  const body = table.tBodies[0], headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, column) => {
    const key = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => {
      const up = heading.getAttribute("aria-sort") !== "ascending";
      for (const other of headings) other.removeAttribute("aria-sort");
      heading.setAttribute("aria-sort", up ? "ascending" : "descending");
      const rows = [...body.rows].sort((one, two) => {
        const [a, b] = [key(one), key(two)];
        if (a === "" || b === "") return (a === "") - (b === ""); // missing ones last
        const order = isNaN(a) || isNaN(b) ? a.localeCompare(b) : a - b;
        return up ? order : -order;
      });
      body.append(...rows);
    });
  });
}

// Shares of 1 differ by a number, all else by percent.
function difference(cell, from) {
  const [a, b] = [cell, from].map((one) => parseFloat(one.dataset.value)), small = document.createElement("small");
  const [by, unit] = b < 1 ? [(a - b).toFixed(4), ""] : [(100 * (a / b - 1)).toFixed(1), " %"];
  if (!isNaN(by)) small.textContent = ` ${by[0] === "-" ? "" : "+"}${by}${unit}`;
  return small;
}

// Chosen rows of a leaderboard stand side by side below it, a column each.
function comparable(table) {
  const box = document.createElement("div"), chosen = [];
  box.className = "compare";
  table.parentElement.after(box);
  const draw = () => {
    box.replaceChildren();
    for (const row of table.tBodies[0].rows)
      row.cells[1].querySelector("input").checked = chosen.includes(row);
    const text = document.createElement("p");
    text.className = "soft";
    text.textContent = chosen.length > 1 ? "Chosen candidates, and their differences from the first."
      : "Tick two or more candidates to see them side by side.";
    box.append(text);
    if (chosen.length < 2) return;
    const scroll = box.appendChild(document.createElement("div"));
    scroll.className = "scroll";
    const side = scroll.appendChild(document.createElement("table"));
    [...table.tHead.rows[0].cells].forEach((heading, column) => {
      const line = side.insertRow(), name = document.createElement("th");
      name.textContent = heading.textContent;
      line.append(name);
      for (const row of chosen) {
        const copy = line.appendChild(row.cells[column].cloneNode(true));
        copy.querySelector("input")?.remove();
        if (column > 1 && row !== chosen[0] && copy.matches(".number"))
          copy.append(difference(row.cells[column], chosen[0].cells[column]));
      }
    });
  };
  for (const row of table.tBodies[0].rows) {
    const tick = document.createElement("input");
    tick.type = "checkbox";
    tick.setAttribute("aria-label", `compare candidate ${row.cells[1].textContent}`);
    row.cells[1].dataset.value = row.cells[1].textContent;
    row.cells[1].prepend(tick);
    tick.addEventListener("change", () => {
      if (tick.checked) chosen.push(row); else chosen.splice(chosen.indexOf(row), 1);
      draw();
    });
  }
  draw();
}

// A candidate under the pointer is marked in all figures and tables.
document.addEventListener("mouseover", (event) => {
  const found = event.target.closest?.("[data-candidate]")?.dataset.candidate;
  for (const other of document.querySelectorAll("[data-candidate]"))
    other.classList.toggle("on", other.dataset.candidate === found);
});

for (const line of document.querySelectorAll("pre.command")) {
  const button = document.createElement("button"), text = line.textContent;
  button.type = "button";
  button.textContent = "copy";
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(text);
    button.textContent = "copied";
  });
  line.append(button);
}
document.querySelectorAll("table.board").forEach(comparable);
document.querySelectorAll("table.sortable").forEach(sortable);
