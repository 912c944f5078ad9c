// Filter and sort the studies: everything it needs stands in each card's data attributes.
const list = document.getElementById("studies");
const cards = [...list.children];
const word = document.getElementById("word");
const kind = document.getElementById("kind");
const split = document.getElementById("split");
const sort = document.getElementById("sort");
function update() {
  const text = word.value.trim().toLowerCase();
  let shown = 0;
  for (const card of cards) {
    const fits = (!text || card.dataset.name.includes(text)) && (!kind.value || card.dataset.kind === kind.value)
      && (!split.value || card.dataset.split === split.value);
    card.hidden = !fits;
    shown += fits;
  }
  document.getElementById("count").textContent = `${shown} of ${cards.length} shown`;
  const measure = sort.value.startsWith("m:") ? sort.value.slice(2) : null;
  const far = (card) => {
    if (!measure) return Number(card.dataset.rank);
    const row = [...card.querySelectorAll("tr[data-measure]")].find((one) => one.dataset.measure === measure);
    return row ? -Number(row.dataset.z) : Infinity;
  };
  const byName = (one, other) => one.dataset.name.localeCompare(other.dataset.name, undefined, { numeric: true });
  const order = sort.value === "name" ? byName : (one, other) => far(one) - far(other) || byName(one, other);
  list.append(...[...cards].sort(order));
}
for (const control of [word, kind, split, sort]) control.addEventListener("input", update);
update();
