// Filter and sort the studies and the rows of their table: all it needs stands in the page's data attributes.
const list = document.getElementById("studies");
const body = document.querySelector("#table tbody");
const heads = [...document.querySelectorAll("#table th")];
const rows = new Map([...(body ? body.rows : [])].map((row) => [row.dataset.card, row]));
const cards = [...list.children].map((card) => ({ card, row: rows.get(card.id), ...card.dataset }));
const [word, verdict, split, stage, sort] = ["word", "verdict", "split", "stage", "sort"].map((id) => document.getElementById(id));
const FIXED = 3; // columns before the measures
let falling = false;
const named = (one, other) => one.name.localeCompare(other.name, undefined, { numeric: true });
function measured(one) {
  const text = one.row?.cells[FIXED + Number(sort.value)]?.dataset.value;
  return text ? Number(text) : NaN;
}
function compare(one, other) {
  if (sort.value === "name") return named(one, other);
  if (sort.value === "rank") return one.rank - other.rank;
  if (sort.value === "split") return one.split.localeCompare(other.split) || named(one, other);
  return measured(one) - measured(other);
}
function ordered() {
  const missing = (one) => /^\d+$/.test(sort.value) && Number.isNaN(measured(one)); // last, whichever way
  const way = falling ? -1 : 1;
  return [...cards].sort((one, other) => missing(one) - missing(other) || (missing(one) ? 0 : way * compare(one, other)) || named(one, other));
}
function update() {
  const text = word.value.trim().toLowerCase();
  let shown = 0;
  for (const one of cards) {
    const fits = (!text || one.name.includes(text)) && (!verdict.value || one.verdict === verdict.value)
      && (!split.value || one.split === split.value);
    one.card.hidden = !fits;
    if (one.row) one.row.hidden = !fits;
    shown += fits;
  }
  document.getElementById("count").textContent = `${shown} of ${cards.length} shown`;
  for (const one of ordered()) {
    list.append(one.card);
    if (one.row) body.append(one.row);
  }
  for (const head of heads) head.classList.toggle("sorted", head.dataset.column === sort.value);
}
function narrow() {
  for (const cell of document.querySelectorAll("#table [data-stage]")) cell.hidden = Boolean(stage.value) && cell.dataset.stage !== stage.value;
}
function sortBy(column) {
  falling = sort.value === column && !falling;
  if (![...sort.options].some((option) => option.value === column)) sort.add(new Option(column, column));
  sort.value = column;
  update();
}
for (const control of [word, verdict, split]) control.addEventListener("input", update);
sort.addEventListener("input", () => { falling = false; update(); });
stage.addEventListener("input", narrow);
for (const head of heads) {
  head.addEventListener("click", () => sortBy(head.dataset.column));
  head.addEventListener("keydown", (event) => { if (event.key === "Enter") sortBy(head.dataset.column); });
}
update();
