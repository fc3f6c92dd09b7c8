"use strict";
(() => {
  const svg = document.querySelector("svg.graph");
  const nodes = new Map();
  for (const element of svg.querySelectorAll(".node")) nodes.set(element.dataset.node, element);
  const edges = [...svg.querySelectorAll(".edge")];
  const list = (text) => (text ? text.split(" ") : []);

  // Marks a node, what it reads, and the way by which its gradient came.
  function mark(id) {
    for (const element of svg.querySelectorAll(".this, .read, .way")) {
      element.classList.remove("this", "read", "way");
    }
    const node = nodes.get(id);
    svg.classList.toggle("marked", node !== undefined);
    if (!node) return;
    const reads = new Set(list(node.dataset.reads));
    const way = new Set(list(node.dataset.way));
    node.classList.add("this");
    for (const other of reads) nodes.get(other)?.classList.add("read");
    for (const other of way) nodes.get(other)?.classList.add("way");
    for (const edge of edges) {
      const { from, to } = edge.dataset;
      if (to === id && reads.has(from)) edge.classList.add("read");
      else if (way.has(from) && way.has(to)) edge.classList.add("way");
    }
  }

  const steps = [...document.querySelectorAll("li.step")];
  const [back, next, all] = ["back", "next", "all"].map((id) => document.getElementById(id));
  const status = document.getElementById("status");
  // The step that is shown last; all of them while nobody walks.
  let at = steps.length;
  let walking = false;

  function show(target) {
    walking = target !== null;
    at = walking ? Math.min(Math.max(target, 1), steps.length) : steps.length;
    document.documentElement.classList.toggle("walking", walking);
    const later = new Set();
    steps.forEach((step, i) => {
      step.hidden = walking && i >= at;
      step.classList.toggle("now", walking && i === at - 1);
      if (step.hidden) later.add(step.dataset.node);
    });
    for (const [id, node] of nodes) node.classList.toggle("later", later.has(id));
    // What a value's box says of its gradient, too.
    for (const part of svg.querySelectorAll("[data-of]")) {
      part.classList.toggle("unknown", later.has(part.dataset.of));
    }
    for (const edge of edges) edge.classList.toggle("later", later.has(edge.dataset.to) || later.has(edge.dataset.from));
    back.disabled = walking && at === 1;
    next.disabled = walking && at === steps.length;
    all.disabled = !walking;
    const now = steps[at - 1];
    status.textContent = walking
      ? `Step ${at} of ${steps.length}: ${now.dataset.say}`
      : `All ${steps.length} steps`;
    mark(walking ? now.dataset.node : undefined);
    if (walking) now.scrollIntoView({ block: "start", behavior: "instant" });
  }

  const forth = () => show(walking ? at + 1 : 1);
  const back_one = () => show(walking ? at - 1 : steps.length);
  next.addEventListener("click", forth);
  back.addEventListener("click", back_one);
  all.addEventListener("click", () => show(null));
  document.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
    // What scrolls sideways keeps its arrow keys.
    if (event.target.closest?.("[data-scrolls]") && event.target.scrollWidth > event.target.clientWidth) return;
    if (event.key === "ArrowRight") forth();
    else if (event.key === "ArrowLeft") back_one();
    else if (event.key === "Escape" && walking) show(null);
    else return;
    event.preventDefault();
  });

  const resting = () => (walking ? steps[at - 1].dataset.node : undefined);
  for (const [id, node] of nodes) {
    node.addEventListener("pointerenter", () => mark(id));
    node.addEventListener("pointerleave", () => mark(resting()));
    node.addEventListener("focus", () => mark(id));
    node.addEventListener("blur", () => mark(resting()));
    // A node whose step is not yet shown brings the walk there.
    node.addEventListener("click", () => {
      const i = steps.findIndex((step) => step.dataset.node === id);
      if (walking && i >= 0) show(i + 1);
    });
  }
  if (steps.length > 0) document.getElementById("controls").hidden = false;
  show(null);
})();
