// A picture opens in its full size at a click.
const zoom = document.createElement("dialog");
document.body.append(zoom);
zoom.addEventListener("click", () => zoom.close());
document.querySelectorAll("img.zoomable").forEach((picture) => picture.addEventListener("click", () => {
  const large = new Image();
  large.src = picture.src;
  large.alt = picture.alt;
  zoom.replaceChildren(large);
  zoom.showModal();
}));
// On paper nothing is folded away.
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((part) => { part.open = true; }));
