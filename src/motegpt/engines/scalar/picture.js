// Fold groups, zoom by wheel, move by dragging, and show what a number was computed from.
(script => {
  const svg = script.ownerSVGElement, whole = svg.getAttribute("viewBox").split(" ").map(Number);
  const cells = [...svg.querySelectorAll(".c")], groups = [...svg.querySelectorAll(".g")];
  let view = whole, frame = 0, start = null, moved = false;
  if (document.documentElement === svg) { svg.setAttribute("width", "100%"); svg.setAttribute("height", "100%"); }
  const show = to => svg.setAttribute("viewBox", (view = to).join(" "));
  const go = (to, from = view, begin = performance.now()) => {
    cancelAnimationFrame(frame);
    if (matchMedia("(prefers-reduced-motion: reduce)").matches) return show(to);
    const step = now => {
      const t = Math.min(1, (now - begin) / 300), s = t * t * (3 - 2 * t);
      show(from.map((x, i) => x + (to[i] - x) * s));
      if (t < 1) frame = requestAnimationFrame(step);
    };
    step(begin);
  };
  const at = event => new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
  const fold = (group, folded) => {
    group.classList.toggle("open", !folded);
    const closed = new Set(groups.flatMap((g, i) => g.classList.contains("open") ? [] : [`${i}`]));
    svg.querySelectorAll(".l").forEach(line =>
      line.classList.toggle("hidden", line.dataset.g.split(" ").some(g => closed.has(g))));
  };
  groups.forEach(group => group.addEventListener("click", event => {
    if (moved) return;
    const {x, y, width, height} = group.querySelector(".b").getBBox(), open = group.classList.contains("open");
    if (group.querySelector(".in") && (!open || event.target.closest(".t"))) fold(group, open);
    go(open && view !== whole ? whole : [x - 10, y - 10, width + 20, height + 20]);
  }));
  svg.addEventListener("wheel", event => {
    event.preventDefault();
    const p = at(event), k = Math.exp(event.deltaY * 0.0015);
    show([p.x + (view[0] - p.x) * k, p.y + (view[1] - p.y) * k, view[2] * k, view[3] * k]);
  }, {passive: false});
  svg.addEventListener("pointerdown", event => { start = at(event); moved = false; });
  svg.addEventListener("pointerup", () => { start = null; });
  svg.addEventListener("pointermove", event => {
    if (!start || !event.buttons) return;
    const p = at(event), scale = svg.getScreenCTM().a;
    moved ||= Math.hypot(p.x - start.x, p.y - start.y) * scale > 4;
    if (moved) show([view[0] + start.x - p.x, view[1] + start.y - p.y, view[2], view[3]]);
  });
  svg.addEventListener("dblclick", () => go(whole));
  svg.ownerDocument.addEventListener("keydown", event => { if (event.key === "Escape") go(whole); });
  const range = text => { const [a, b = a] = text.split("-").map(Number); return cells.slice(a, b + 1); };
  let to = null; // cell -> those computed from it
  const from = cell => (cell.dataset.f || "").split(" ").filter(Boolean).flatMap(range);
  svg.addEventListener("pointerover", event => {
    const cell = event.target.closest(".c");
    svg.querySelectorAll(".from, .to").forEach(other => other.classList.remove("from", "to"));
    if (!cell) return;
    if (!to) {
      to = new Map(cells.map(other => [other, []]));
      cells.forEach(child => from(child).forEach(parent => to.get(parent).push(child)));
    }
    from(cell).forEach(other => other.classList.add("from"));
    to.get(cell).forEach(other => other.classList.add("to"));
  });
})(document.currentScript);
