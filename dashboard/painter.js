// A square grid over an image, painted cell by cell with the mouse, a finger or the keyboard. Nothing is sent to the
// server until "Put it on": each stroke would compute a page anew.
export default function ({ parentElement, data, setStateValue }) {
  const root = parentElement.querySelector(".painter");
  const grid = root.querySelector(".grid"), colour = root.querySelector("input[type=color]"), said = root.querySelector(".said");
  const side = data.side, gap = data.gap;
  grid.style.backgroundImage = data.image ? `url("${data.image}")` : "none";
  grid.style.gridTemplateColumns = `repeat(${side}, 1fr)`;
  if (root.dataset.shown !== data.cells || grid.children.length !== side * side) {
    root.dataset.shown = data.cells;
    grid.replaceChildren(...Array.from({ length: side }, (_, row) => {
      const line = document.createElement("div");
      line.setAttribute("role", "row");
      line.append(...Array.from({ length: side }, (_, column) => cell(row, column)));
      return line;
    }));
  }
  const cells = [...grid.querySelectorAll("[role=gridcell]")];

  function cell(row, column) {
    const made = document.createElement("div");
    made.setAttribute("role", "gridcell");
    made.tabIndex = row + column === 0 ? 0 : -1;
    const at = (row * side + column) * gap.length;
    put(made, data.cells.slice(at, at + gap.length) || gap, row, column);
    return made;
  }

  function put(made, value, row, column) {
    made.dataset.value = value;
    made.style.background = value === gap ? "" : `#${value}`;
    made.setAttribute("aria-label", `row ${row + 1}, column ${column + 1}: ${value === gap ? "not painted" : "#" + value}`);
  }

  const paint = (index, value) => put(cells[index], value, Math.floor(index / side), index % side);
  const chosen = () => (root.querySelector("[name=tool]:checked").value === "erase" ? gap : colour.value.slice(1));
  const count = () => {
    said.textContent = `${cells.filter(each => each.dataset.value !== gap).length} of ${side * side} cells painted`;
  };
  const under = event => {
    const box = grid.getBoundingClientRect();
    const [column, row] = [
      Math.floor(((event.clientX - box.left) / box.width) * side),
      Math.floor(((event.clientY - box.top) / box.height) * side),
    ];
    return row < 0 || column < 0 || row >= side || column >= side ? -1 : row * side + column;
  };
  const stroke = event => {
    const index = under(event);
    if (index >= 0) paint(index, chosen());
    count();
  };

  grid.onpointerdown = event => {
    event.preventDefault();
    grid.setPointerCapture(event.pointerId);
    stroke(event);
    const index = under(event);
    if (index >= 0) focus(index);
  };
  grid.onpointermove = event => {
    if (grid.hasPointerCapture(event.pointerId)) stroke(event);
  };
  const focus = index => {
    cells.forEach(each => (each.tabIndex = -1));
    cells[index].tabIndex = 0;
    cells[index].focus({ preventScroll: true });
  };
  const moves = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
  grid.onkeydown = event => {
    const index = cells.indexOf(event.target);
    if (index < 0) return;
    const move = moves[event.key];
    if (move) {
      const row = Math.floor(index / side) + move[0], column = (index % side) + move[1];
      if (row >= 0 && column >= 0 && row < side && column < side) focus(row * side + column);
    } else if (event.key === " " || event.key === "Enter") {
      const value = chosen();
      paint(index, cells[index].dataset.value === value ? gap : value);
    } else if (event.key === "Delete" || event.key === "Backspace") {
      paint(index, gap);
    } else return;
    event.preventDefault();
    event.stopPropagation(); // the Demo page moves its slider by the same arrows
    count();
  };
  root.querySelector(".clear").onclick = () => {
    cells.forEach((_, index) => paint(index, gap));
    count();
  };
  root.querySelector(".use").onclick = () => {
    root.dataset.shown = cells.map(each => each.dataset.value).join("");
    setStateValue("cells", root.dataset.shown);
  };
  count();
}
