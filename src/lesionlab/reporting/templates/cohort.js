// Every table sorts by a click on a column's head; the last one can be searched.
const byText = (one, other) => one.localeCompare(other, undefined, { numeric: true });
function text(row, column) { return row.cells[column].textContent.trim(); }
function sortBy(head) {
  const falling = head.getAttribute("aria-sort") === "ascending";
  for (const other of head.parentElement.children) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", falling ? "descending" : "ascending");
  const body = head.closest("table").tBodies[0];
  const number = (value) => Number(value.replace("−", "-").replaceAll(",", ""));
  const rows = [...body.rows];
  const numeric = head.classList.contains("num");
  const compare = (one, other) => {
    const [a, b] = [text(one, head.cellIndex), text(other, head.cellIndex)];
    if (!numeric) return byText(a, b);
    const [x, y] = [number(a), number(b)];
    return Number.isNaN(x) - Number.isNaN(y) || x - y || 0;
  };
  rows.sort((one, other) => (falling ? -1 : 1) * compare(one, other));
  body.append(...rows);
}
for (const head of document.querySelectorAll("th")) {
  head.classList.add("sortable");
  head.tabIndex = 0;
  head.addEventListener("click", () => sortBy(head));
  head.addEventListener("keydown", (event) => { if (event.key === "Enter") sortBy(head); });
}
const word = document.getElementById("word");
const files = [...document.querySelectorAll("#files tbody tr")];
function update() {
  const wanted = word.value.trim().toLowerCase();
  let shown = 0;
  for (const row of files) {
    row.hidden = !row.textContent.toLowerCase().includes(wanted);
    shown += !row.hidden;
  }
  document.getElementById("count").textContent = `${shown} of ${files.length} shown`;
}
word.addEventListener("input", update);
update();
