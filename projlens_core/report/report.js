"use strict";
// A drawing is there from the start. When it comes into view it is drawn again, alive: with tooltips and its menu.
// The interpreter (ast) needs no eval, which the page's policy forbids; no loader reaches anything outside the page.
const refuse = () => Promise.reject(new Error("This page loads nothing."));
const options = {
  ast: true,
  renderer: "svg",
  actions: { export: true, source: false, compiled: false, editor: false },
  loader: { load: refuse, sanitize: async (address) => (address.startsWith("data:image/") ? { href: address } : refuse()) },
};
const enliven = async (figure) => {
  const spec = JSON.parse(document.getElementById(figure.dataset.spec).textContent);
  const place = document.createElement("div");
  const drawing = figure.querySelector(".drawing");
  await vegaEmbed(place, spec, { ...options, downloadFileName: figure.dataset.name });
  drawing.replaceChildren(place);
};
const watch = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    if (entry.isIntersecting) {
      watch.unobserve(entry.target);
      enliven(entry.target);
    }
  }
}, { rootMargin: "200px" });
for (const figure of document.querySelectorAll("figure[data-spec]")) watch.observe(figure);
